"""The model card: ``README.md`` with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.labels import Labels

__all__ = ["code_text", "model_card", "table"]

_MORE_CLASSES = 100
# What Markdown reads; an underscore inside a word it leaves alone.
_SIGNS = re.compile(r"([\\`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_]))")


def model_card(
    config: Mapping[str, Any],
    labels: Labels | None,
    *,
    title: str,
    intro: str,
    sections: Sequence[str] = (),
    metadata: Mapping[str, Any] = {},
) -> str:
    """Return the card of a saved model as Markdown.

    Args:
        config: ``model`` and ``options``.
        labels: what the classes mean.
        title: the heading.
        intro: a sentence or two below it.
        sections: what follows the usage, as Markdown.
        metadata: more entries for the front matter, such as ``model-index``.
    """
    front = {
        "library_name": "segkit",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "segkit", str(config["model"])],
        **metadata,
    }
    parts = [f"# {code_text(title)}", intro, _USE, *sections, _classes(labels), _preprocessing(config)]
    return f"---\n{_yaml(front)}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


_USE = """## Use

```python
import segkit

predictor = segkit.load("path/to/this/folder")
mask = predictor.predict("image.jpg")  # (H, W) class ids, for an image of any size
```

`segkit.models.Segmenter.from_pretrained("owner/name")` gives the model itself, from the Hugging Face Hub as well; its
arguments `num_classes` and `in_channels` prepare it for fine-tuning."""


def _yaml(front: Mapping[str, Any]) -> str:
    """One key a line; the values as JSON, which YAML reads as it is."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n" for key, value in front.items())


def _classes(labels: Labels | None) -> str:
    if labels is None:
        return ""
    rows = [
        [str(value), code_text(name), "#{:02x}{:02x}{:02x}".format(*color)]
        for value, (name, color) in enumerate(zip(labels.value_names, labels.value_palette, strict=True))
    ]
    more = f"\n\nand {len(rows) - _MORE_CLASSES} more, see `config.json`" if len(rows) > _MORE_CLASSES else ""
    note = f"The task is {labels.task}; the mask value {labels.ignore_index} means that a pixel is not labelled."
    return f"## Classes\n\n{note}\n\n{table(['value', 'class', 'colour'], rows[:_MORE_CLASSES])}{more}"


def _preprocessing(config: Mapping[str, Any]) -> str:
    rows = [[f"`{name}`", code_text(json.dumps(value))] for name, value in config["options"].items()]
    return (
        "## Architecture\n\nImages go in as they come from their files: scaling and normalisation are part of the "
        f"model.\n\n{table(['option', 'value'], [['`model`', code_text(str(config['model']))], *rows])}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code_text(text: str) -> str:
    """Text for a cell or a heading, in which no sign means anything to Markdown or HTML."""
    escaped = _SIGNS.sub(r"\\\1", text.replace("&", "&amp;")).replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.split())
