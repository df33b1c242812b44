"""Judging a model on whole volumes: overlap and surfaces of each, in millimetres, and their spread."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from segkit._checks import check_choice
from segkit._files import write_json
from segkit.datasets import Pairs, Volume, whole_volumes
from segkit.device import Device
from segkit.errors import InputError, ShapeError
from segkit.inference.exported import ExportedModel
from segkit.inference.volumes import VolumeModel, predict_volume, volume_reading
from segkit.labels import Labels
from segkit.metrics import Evaluation, Scores, confusion_matrix, surface_scores
from segkit.metrics._tables import as_html, as_markdown, as_text
from segkit.models import Segmenter
from segkit.training.evaluate import check_same_classes, dataset_labels

__all__ = ["VolumeResult", "evaluate_volumes"]

Table = NDArray[np.float64]

_SCORES = ("dice", "hd95", "assd", "nsd", "hausdorff")
_TITLES = ("class", "Dice", "sd", "HD95", "sd", "NSD", "sd", "missed")


@dataclasses.dataclass(frozen=True, eq=False)
class VolumeResult:
    """Scores of each volume and class, ``(N, K)`` float64.

    NaN where a volume has the class neither in the truth nor in the prediction; where one side alone has it, the
    distances are inf and Dice and surface Dice are 0.

    Attributes:
        volumes: the names of the volumes.
        names: the names of the classes.
        dice: twice what both have over what each has.
        hd95: the larger of the two sides' 95th percentiles of the distances between surfaces, in the spacing's unit.
        assd: the mean of these distances.
        nsd: the share of both surfaces within `tolerance` of the other (normalised surface Dice).
        hausdorff: the largest of the distances.
        tolerance: of `nsd`, one a class, in the spacing's unit.
        scores: of all voxels of all volumes together.
    """

    volumes: tuple[str, ...]
    names: tuple[str, ...]
    dice: Table
    hd95: Table
    assd: Table
    nsd: Table
    hausdorff: Table
    tolerance: tuple[float, ...]
    scores: Scores

    def mean(self, score: str) -> Table:
        """The mean over volumes ``(K,)`` of ``"dice"``, ``"hd95"``, ``"assd"``, ``"nsd"`` or ``"hausdorff"``.

        Infinite distances are left out (the table says of how many volumes); NaN where nothing is left.
        """
        return _over_volumes(self._table(score), np.mean, least=1)

    def spread(self, score: str) -> Table:
        """The standard deviation over volumes ``(K,)``, of a sample; NaN for fewer than two."""
        return _over_volumes(self._table(score), _deviation, least=2)

    @property
    def num_missed(self) -> NDArray[np.int64]:
        """Of how many volumes one side alone has the class, ``(K,)``."""
        missed: NDArray[np.int64] = np.isinf(self.hausdorff).sum(axis=0)
        return missed

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file, volume by volume; None where a score is undefined or infinite."""
        tables = {score: self._table(score) for score in _SCORES}
        return {
            "names": list(self.names),
            "tolerance": list(self.tolerance),
            "volumes": {
                name: {score: [_plain(value) for value in table[row]] for score, table in tables.items()}
                for row, name in enumerate(self.volumes)
            },
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as a JSON file."""
        write_json(Path(path), self.to_dict())

    def to_markdown(self) -> str:
        """Mean and standard deviation over volumes as a Markdown table."""
        return f"{as_markdown(_TITLES, self._rows(), 3)}\n\n({self._notes()})"

    def __str__(self) -> str:
        return f"{as_text(_TITLES, self._rows(), 3)}\n({self._notes()})"

    def _repr_html_(self) -> str:
        return f"{as_html(_TITLES, self._rows(), 3)}<small>{self._notes()}</small>"

    def _table(self, score: str) -> Table:
        table: Table = getattr(self, check_choice("score", score, _SCORES))
        return table

    def _rows(self) -> list[tuple[str, list[float]]]:
        shown = ("dice", "hd95", "nsd")
        columns = [column for score in shown for column in (self.mean(score), self.spread(score))]
        rows = [
            (name, [*(float(column[k]) for column in columns), float(self.num_missed[k])])
            for k, name in enumerate(self.names)
        ]
        # The background's surface is the others', seen from outside.
        return [row for row in rows if row[0] != "background"] or rows

    def _notes(self) -> str:
        reach = sorted({f"{value:g}" for value in self.tolerance})
        return (
            f"mean and standard deviation over {len(self.volumes)} volumes; distances in mm, of volumes where one side "
            f"alone has the class left out (missed); NSD within {', '.join(reach)} mm"
        )


Method: TypeAlias = Callable[[Volume], ArrayLike]
"""Anything that labels a volume: its class ids ``(D, H, W)``."""


def evaluate_volumes(
    model: VolumeModel | Sequence[VolumeModel] | Method,
    dataset: Pairs,
    *,
    tolerance: float | Sequence[float] = 1.0,
    device: Device | torch.device | str | None = None,
    batch_size: int = 16,
) -> VolumeResult:
    """Predict every volume as a whole and score it against its labels, with its spacing.

    Args:
        model: reads volumes by the recipe that it keeps; of several the probabilities are averaged. Or any function
            from a `segkit.datasets.Volume` to its labels, so that another method is judged in the same way.
        dataset: a data set of volumes such as `segkit.datasets.Decathlon`, or a part of one that holds whole volumes.
        tolerance: of the normalised surface Dice, in mm: one number, or one a class.
        device: None for the best one found.
        batch_size: slices a batch.

    Raises:
        InputError: no data set of volumes, parts of volumes, a model that keeps no recipe for volumes or gives another
            number or order of classes.

    Example:
        >>> from segkit import UNet
        >>> from segkit.datasets import Decathlon
        >>> data = Decathlon("data/Task99_Blobs", volumes=["blobs_000", "blobs_001"])
        >>> model = UNet(3, in_channels=1)
        >>> model.reading = data.reading
        >>> result = evaluate_volumes(model, data, device="cpu")
        >>> result.dice.shape, result.volumes
        ((2, 3), ('blobs_000', 'blobs_001'))
    """
    volumes, numbers = whole_volumes(dataset)
    method, labels = _method(model, dataset, device, batch_size)
    count, ignore_index = len(labels.value_names), labels.ignore_index
    evaluation = Evaluation(labels.num_classes, names=labels.names, ignore_index=ignore_index, task=labels.task)
    tables: list[Table] = []
    for number in tqdm(numbers, desc="evaluating", unit="volume", leave=False, disable=None):
        truth = volumes.label_volume(number)
        pred = np.asarray(method(volumes.volume(number)))
        if pred.shape != truth.shape:
            raise ShapeError(f"the labels of {volumes.volumes[number]} must be {truth.shape}; got {pred.shape}")
        matrix = confusion_matrix(pred, truth.array, num_classes=count, ignore_index=ignore_index)
        surfaces = surface_scores(
            [pred],
            [truth.array],
            num_classes=count,
            ignore_index=ignore_index,
            spacing=truth.spacing,
            tolerance=tolerance,
            dims=3,
        )
        tables.append(
            np.stack([_dice(matrix), surfaces.hd95[0], surfaces.assd[0], surfaces.nsd[0], surfaces.hausdorff[0]])
        )
        evaluation.update(pred[None], truth.array[None], ids=[volumes.volumes[number]])
    dice, hd95, assd, nsd, hausdorff = np.stack(tables, axis=1)
    return VolumeResult(
        volumes=tuple(volumes.volumes[number] for number in numbers),
        names=labels.value_names,
        dice=dice,
        hd95=hd95,
        assd=assd,
        nsd=nsd,
        hausdorff=hausdorff,
        tolerance=surfaces.tolerance,
        scores=evaluation.scores(),
    )


def _method(
    model: VolumeModel | Sequence[VolumeModel] | Method,
    dataset: Pairs,
    device: Device | torch.device | str | None,
    batch_size: int,
) -> tuple[Method, Labels]:
    if callable(model) and not isinstance(model, Segmenter | ExportedModel):
        return model, whole_volumes(dataset)[0].labels
    models = list(model) if isinstance(model, Sequence) else [model]
    if not models:
        raise InputError("`model` is an empty list; expected at least one model")
    for one in models:
        volume_reading(one)
        labels = dataset_labels(dataset, one.num_classes, known=one.labels)
        check_same_classes(one.labels, labels, "evaluation")

    def predict(volume: Volume) -> NDArray[Any]:
        return predict_volume(models, volume, device=device, task=labels.task, batch_size=batch_size).array

    return predict, labels


def _dice(matrix: NDArray[np.int64]) -> Table:
    both, each = 2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    dice: Table = np.divide(both, each, out=np.full(len(matrix), np.nan), where=each > 0)
    return dice


def _over_volumes(table: Table, statistic: Any, *, least: int) -> Table:
    kept = [column[np.isfinite(column)] for column in table.T]
    return np.array([float(statistic(column)) if len(column) >= least else np.nan for column in kept])


def _deviation(values: Table) -> float:
    return float(values.std(ddof=1))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
