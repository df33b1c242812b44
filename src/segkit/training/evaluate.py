"""Judging a model on a data set: counts on the device, scores with their protocol, pictures on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segkit import kernels
from segkit._checks import listed
from segkit.datasets import Pairs
from segkit.device import Device
from segkit.errors import InputError
from segkit.inference import ExportedModel, predict_batch
from segkit.inference.forward import enlarged_in_argmax, enlarged_labels
from segkit.labels import Labels
from segkit.metrics import Evaluation, Scores
from segkit.models import Segmenter
from segkit.report import measure_objects, position_baseline, write_report
from segkit.training.distributed import Ranks, own_device, ranks
from segkit.training.loader import Loader, item_id

__all__ = ["Result", "check_same_classes", "dataset_labels", "evaluate"]


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation found.

    Attributes:
        scores: of all images together, with their protocol.
        evaluation: the counts of every image.
        labels: what the classes mean.
        info: facts for the report's head.
    """

    scores: Scores
    evaluation: Evaluation
    labels: Labels
    info: Mapping[str, str]
    _model: Segmenter | ExportedModel
    _dataset: Pairs
    _device: Device

    def sample(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Image ``(C, H, W)``, truth ``(H, W)`` and prediction ``(H, W)`` of an image, predicted anew."""
        image, mask = self._dataset[index]
        image, mask = torch.as_tensor(image), torch.as_tensor(mask)
        self._model.eval()
        pred = predict_batch(self._model, image.unsqueeze(0), device=self._device, task=self.labels.task)
        return image, mask, pred[0].cpu()

    def report(self, path: str | Path, *, title: str = "Segmentation report", train: Pairs | None = None) -> Path:
        """Write a page with scores and the worst, median and best images; see `segkit.report.write_report`.

        Args:
            path: the file to write.
            title: the page's heading.
            train: the training data, to show beside the model what knowing the place alone scores; None leaves it out.

        The page also says how much was found of single objects, see `segkit.report.measure_objects`; for that, up to
        200 images are predicted anew. Of several processes the first writes it.
        """
        if not ranks().is_main:
            return Path(path)
        dataset = self._dataset
        return write_report(
            path,
            scores=self.scores,
            evaluation=self.evaluation,
            labels=self.labels,
            sample=self.sample,
            title=title,
            info=self.info,
            baseline=None if train is None else position_baseline(train, dataset, labels=self.labels),
            objects=measure_objects(dataset, self.sample, labels=self.labels),
        )

    def __str__(self) -> str:
        return str(self.scores)

    def _repr_html_(self) -> str:
        return self.scores._repr_html_()


def dataset_labels(dataset: Pairs, num_classes: int, known: Labels | None = None) -> Labels:
    """The labels of a data set; of one that has none the ``known`` ones, or names such as ``class 3``.

    Raises:
        InputError: labels whose number of classes is not that of the model.
    """
    labels = getattr(dataset, "labels", None)
    if not isinstance(labels, Labels):
        if known is not None and known.num_classes == num_classes:
            return known
        if num_classes == 1:
            return Labels(["foreground"], task="binary")
        return Labels([f"class {value}" for value in range(num_classes)])
    if labels.num_classes != num_classes:
        raise InputError(
            f"the model gives {num_classes} classes a pixel and the data set has {labels.num_classes} "
            f"({', '.join(labels.names[:12])}); build the model with num_classes={labels.num_classes}"
        )
    return labels


def check_same_classes(expected: Labels | None, labels: Labels, what: str) -> None:
    """Raise `InputError` where a class that both know has another id in each: every score would be wrong."""
    if expected is None:
        return
    moved = [
        f"{name!r} is {expected.names.index(name)} in the model and {value} in the data"
        for value, name in enumerate(labels.names)
        if name in expected.names and expected.names.index(name) != value
    ]
    if moved:
        raise InputError(
            f"the {what} data numbers the classes in another way than the model learnt: {listed(moved, 5)}; "
            "map its mask values to the model's ids"
        )


def evaluate(
    model: Segmenter | ExportedModel,
    dataset: Pairs,
    *,
    device: Device | torch.device | str | None = None,
    batch_size: int = 4,
    workers: int | str = "auto",
    loader: Loader | None = None,
) -> Result:
    """Predict every image of a data set at its own size and count.

    Processes that torchrun started share the images, each of which is counted once; all of them must call it, and all
    get the result.

    Args:
        model: gives ``num_classes`` logits; it is left in evaluation mode, on ``device``. Or the model of a file that
            was exported, which runs where it was loaded.
        dataset: ``(image, mask)`` items of any sizes.
        device: None for the best one found.
        batch_size: images a batch (of neighbours with one size).
        workers: who reads, as in `Trainer`.
        loader: a loader of this data set to use again, with what it has cached.

    Raises:
        InputError: an empty data set, or one with another number or order of classes than the model; logits that are
            NaN.
        ShapeError: an image with another number of channels than the model takes; the item is named.
    """
    if len(dataset) == 0:
        raise InputError("the data set to evaluate is empty: expected at least one (image, mask) item")
    where, group = own_device(device), ranks()
    labels = dataset_labels(dataset, model.num_classes, known=model.labels)
    check_same_classes(model.labels, labels, "evaluation")
    if labels.task == "multilabel":
        raise InputError("a multilabel task has no single confusion matrix; evaluate its classes one by one as binary")
    own = Loader(
        dataset,
        labels=labels,
        batch_size=batch_size,
        workers=workers,
        cache_bytes=0,
        channels=model.in_channels,
        share=(group.rank, group.size),
    )
    evaluation = Evaluation(labels.num_classes, names=labels.names, ignore_index=labels.ignore_index, task=labels.task)
    model = where.place(model).eval()
    of_all = len(range(group.rank, len(dataset), group.size))
    hidden = None if group.is_main else True
    bar = tqdm(total=of_all, desc="evaluating", unit="image", leave=False, disable=hidden)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with bar, closing(own) if loader is None else nullcontext(loader) as batches:
        for images, masks, indices, *_ in batches.in_order():
            with torch.no_grad(), where, where.autocast():
                matrices = _count(model, where.place(images), where.place(masks), labels).cpu()
            ignored = (masks.long() == labels.ignore_index).sum(dim=(1, 2))
            ids = [item_id(dataset, index) for index in indices]
            _check_all_counted(matrices.sum(dim=(1, 2)) + ignored, masks[0].numel(), ids)
            rows.append((torch.tensor(indices), matrices, ignored.cpu()))
            bar.update(len(indices))
    matrices, ignored = _in_order(rows, labels, group)
    evaluation.add(matrices.numpy(), [item_id(dataset, at) for at in range(len(dataset))], num_ignored=ignored.numpy())
    info = {"Model": _describe(model), "Data": repr(dataset), "Device": f"{where.torch}, {where.precision}"}
    return Result(evaluation.scores(), evaluation, labels, info, model, dataset, where)


def _count(model: Segmenter | ExportedModel, images: Tensor, masks: Tensor, labels: Labels) -> Tensor:
    """The matrices of a batch, ``(B, K, K)``: of what `predict_batch` gives, without its labels where it needs none."""
    if isinstance(model, ExportedModel) and model.output == "labels":
        values = len(labels.value_names)
        return kernels.confusion_matrix(
            model(images), masks, num_classes=values, ignore_index=labels.ignore_index, per_image=True
        )
    if (coarse := enlarged_in_argmax(model, labels.task)) is None:
        return kernels.confusion_matrix_from_logits(
            model(images), masks, ignore_index=labels.ignore_index, per_image=True
        )
    pred, broken = enlarged_labels(coarse, images)
    matrices = kernels.confusion_matrix(
        pred, masks, num_classes=labels.num_classes, ignore_index=labels.ignore_index, per_image=True
    )
    return matrices.masked_fill(broken[:, None, None], 0)  # an image with NaN counts for nothing, and is found out


def _in_order(rows: Sequence[tuple[Tensor, Tensor, Tensor]], labels: Labels, group: Ranks) -> tuple[Tensor, Tensor]:
    """The matrices and ignored pixels of all images, in the data set's order, whoever counted them."""
    values = len(labels.value_names)
    none = torch.zeros(0, dtype=torch.int64), torch.zeros(0, values, values, dtype=torch.int64), torch.zeros(0).long()
    mine = [torch.cat(parts) for parts in zip(none, *rows, strict=True)]
    places, matrices, ignored = (torch.cat(group.gather(part)) for part in mine)
    order = places.argsort()
    return matrices[order], ignored[order]


def _check_all_counted(counted: Tensor, pixels: int, ids: list[str]) -> None:
    # On a device nothing waits to look for NaN: such a pixel is counted nowhere, and its image falls short.
    short = (counted != pixels).nonzero().flatten().tolist()
    if short:
        raise InputError(
            f"the model's logits are NaN for {pixels - int(counted[short[0]])} pixels of image {ids[short[0]]!r}; the "
            "model or its input is broken there"
        )


def _describe(model: Segmenter | ExportedModel) -> str:
    if isinstance(model, ExportedModel):
        return f"an exported file that computes in {model.precision}"
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"{type(model).__name__}, {millions:.1f} million parameters"
