"""What `Trainer.save` writes beside the weights: the recipe, the scores, and the model card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit._checks import check_int, counted
from segkit._files import write_json, write_text
from segkit.models import Segmenter
from segkit.models._card import code_text, model_card, table
from segkit.training._samples import chosen, write_samples
from segkit.training.config import TrainConfig
from segkit.training.evaluate import Result
from segkit.training.history import History

__all__ = ["write_card"]

_PICTURE = "samples.jpg"


def write_card(
    folder: Path,
    model: Segmenter,
    *,
    config: TrainConfig,
    history: History,
    result: Result | None,
    data: Mapping[str, str],
    samples: int,
) -> None:
    """Write ``training.json``, ``README.md`` and, where there is a ``result``, the picture of samples.

    Args:
        folder: of the saved model.
        model: what was saved.
        config: how it was trained.
        history: likewise.
        result: the evaluation that the scores and pictures are of; None for none.
        data: what it was trained and validated on, in words.
        samples: how many images to show; 0 for none.
    """
    check_int("samples", samples, minimum=0)
    scores = result.scores.to_dict() if result is not None else None
    write_json(
        folder / "training.json",
        {"config": config.to_dict(), "history": history.to_dict(), "data": dict(data), "scores": scores},
    )
    sections = [_training(config, history, data), _scores(result, history)]
    picture = folder / _PICTURE
    picture.unlink(missing_ok=True)  # of an earlier model in this folder
    if result is not None and samples and (rows := chosen(result, samples)):
        write_samples(picture, result, rows)
        sections.append(
            f"## Samples\n\nFrom the worst to the best of the {counted(len(result.evaluation.ids), 'image')} that the "
            f"scores are of.\n\n![image, truth and prediction]({_PICTURE})"
        )
    assert model.config is not None
    name = folder.resolve().name
    text = model_card(
        model.config,
        model.labels,
        title=name,
        intro=_intro(model, data),
        sections=sections,
        metadata={} if result is None else _metadata(name, result),
    )
    write_text(folder / "README.md", text)


def _intro(model: Segmenter, data: Mapping[str, str]) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    trained = f", trained on {code_text(data['train'])}" if "train" in data else ""
    return f"A semantic-segmentation model ({type(model).__name__}, {count:,} parameters){trained}."


def _training(config: TrainConfig, history: History, data: Mapping[str, str]) -> str:
    if not len(history):
        return "## Training\n\nThe model was saved without a training run of segkit."
    last = history.rows[-1]
    facts = f"{counted(len(history), 'epoch')}, {counted(last.steps, 'step')}, {last.seconds:.0f} seconds"
    notes = "".join(f"\n\nNote: {code_text(note)}." for note in history.notes)
    rows = [[name, code_text(words)] for name, words in data.items()]
    rows += [[f"`{name}`", code_text(str(value))] for name, value in config.to_dict().items()]
    return f"## Training\n\n{facts}.{notes}\n\n{table(['setting', 'value'], rows)}"


def _scores(result: Result | None, history: History) -> str:
    if result is not None:
        scores = result.scores
        rows = [
            [code_text(name), *(_number(float(value)) for value in values)]
            for name, *values in zip(
                scores.names, scores.iou, scores.dice, scores.precision, scores.recall, strict=True
            )
        ]
        note = (
            f"mIoU **{_number(scores.miou)}**, pixel accuracy {_number(scores.pixel_accuracy)}, on "
            f"{counted(len(result.evaluation.ids), 'image')} ({code_text(_kind(result))}). All pixels are counted "
            "together, then the mean is taken over the classes that occur in truth or prediction (segkit's protocol "
            f"`{scores.protocol}`); {scores.num_absent} of {len(scores.names)} classes do not."
        )
        head = ["class", "IoU", "Dice", "precision", "recall"]
        return f"## Scores\n\n{note}\n\n{table(head, rows)}"
    if history.best is not None:
        return (
            f"## Scores\n\nThe best validation of the run had a mIoU of {history.best.val_miou:.4f} (epoch "
            f"{history.best.epoch})."
        )
    return "## Scores\n\nThe model was not evaluated before it was saved."


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _kind(result: Result) -> str:
    """The data set's class: its description may hold paths of the machine."""
    return type(result._dataset).__name__


def _metadata(name: str, result: Result) -> dict[str, Any]:
    """The Hub's record of an evaluation: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    scores, kind = result.scores, _kind(result)
    found = {"mean_iou": scores.miou, "pixel_accuracy": scores.pixel_accuracy, "mean_dice": scores.mean_dice}
    return {
        "metrics": list(found),
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
                        "dataset": {"name": kind, "type": kind.lower()},
                        "metrics": [
                            {"type": metric, "value": round(value, 4)}
                            for metric, value in found.items()
                            if not math.isnan(value)
                        ],
                    }
                ],
            }
        ],
    }
