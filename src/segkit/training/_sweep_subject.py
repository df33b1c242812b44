"""What the results of a sweep depend on, as plain values: a sweep that goes on must have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch

from segkit import __version__
from segkit.datasets import Item, Pairs, is_stream
from segkit.labels import Labels
from segkit.models import Segmenter
from segkit.training._grid import told
from segkit.training.loader import item_id
from segkit.training.trainer import Trainer

__all__ = ["data_facts", "data_words", "settings_facts", "weights_digest"]

# What may change without changing a result, but for the last bits.
_FREE = ("seed", "workers", "cache", "keep", "save_seconds", "on_save_error")


def settings_facts(trainer: Trainer, axes: Mapping[str, Sequence[Any]], hooks: Iterable[object]) -> dict[str, Any]:
    """The version, the axes with their values, and the settings that are the same for all."""
    values = {name: sorted(map(str, map(told, one))) for name, one in axes.items()}
    same = {name: value for name, value in trainer.config.to_dict().items() if name not in (*_FREE, *axes)}
    facts = {"segkit": __version__, **values, **same, "hooks": [type(hook).__name__ for hook in hooks]}
    return cast(dict[str, Any], json.loads(json.dumps(facts)))


def weights_digest(model: Segmenter) -> str:
    """A few letters that tell a model's settings and weights from others."""
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def data_facts(name: str, data: Pairs | Iterable[Item]) -> dict[str, Any]:
    """How many items, which, of which classes, and what three of them hold; of a stream only its kind."""
    if is_stream(data):
        return {f"{name} data": type(data).__name__}
    pairs = cast(Pairs, data)
    labels = getattr(data, "labels", None)
    names = "\n".join(item_id(data, index) for index in range(len(pairs)))
    content = hashlib.sha256()
    for index in sorted({0, len(pairs) // 2, len(pairs) - 1}):
        for part in pairs[index]:
            array = torch.as_tensor(part).contiguous()
            content.update(f"{array.dtype} {tuple(array.shape)}".encode())
            content.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return {
        f"number of {name} items": len(pairs),
        f"ids of the {name} items": hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        f"classes of the {name} items": list(labels.names) if isinstance(labels, Labels) else None,
        f"first, middle and last {name} item": content.hexdigest()[:12],
    }


def data_words(data: Pairs | Iterable[Item]) -> str:
    """A data set in a few words."""
    if is_stream(data):
        return f"a stream of {type(data).__name__}"
    pairs = cast(Pairs, data)
    image = torch.as_tensor(pairs[0][0])
    return f"{len(pairs)} images of {type(data).__name__}, the first of {image.shape[-2]}x{image.shape[-1]}"
