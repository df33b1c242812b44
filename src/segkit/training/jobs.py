"""Whole jobs, as the commands run them: from names and folders to weights, scores and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segkit._checks import check_choice, check_number, listed
from segkit._files import check_writable, folder_lock, write_atomic, write_json
from segkit.datasets import SegmentationDataset, create_dataset, read_image, read_volume
from segkit.datasets._nifti import is_nifti
from segkit.device import Device
from segkit.errors import InputError
from segkit.inference import load
from segkit.labels import Labels
from segkit.models import UNet
from segkit.report import overlay
from segkit.training.balance import balanced_weights
from segkit.training.evaluate import Result, evaluate
from segkit.training.folders import Folders
from segkit.training.history import History
from segkit.training.loop import LAST
from segkit.training.recipes import recipe_settings
from segkit.training.trainer import Trainer

__all__ = ["evaluate_model", "label_files", "named", "parts_of", "split_of", "train"]

# Published data sets with a training and a validation split.
_IN_ROOT = ("ade20k", "camvid", "cityscapes", "pascal_voc")

# Generated scenes have no folders; each split is so many scenes from a seed of its own.
_SCENES = {"train": (800, 0), "val": (50, 1), "test": (50, 2)}


def split_of(
    dataset: str, root: str | Path | None, split: str, *, resize: tuple[int, int] | None = None
) -> SegmentationDataset:
    """Open a split of a data set by name: ``street_scenes``, or one that lies in ``root``; all items ``resize``d.

    Raises:
        UnknownNameError: no such data set, or no such split.
        InputError: a root that is missing, or given for generated scenes.
    """
    check_choice("dataset", dataset, (*_IN_ROOT, "street_scenes"))
    if dataset == "street_scenes":
        if root is not None:
            raise InputError(f"street_scenes are generated and have no `root`; got {root}")
        count, seed = _SCENES[check_choice("split", split, _SCENES)]
        size = {} if resize is None else {"size": resize}
        return create_dataset(dataset, n=count, seed=seed, **size)
    if root is None:
        raise InputError(f"the data set {dataset!r} needs `root`, the folder that it lies in")
    return create_dataset(dataset, root=root, split=split, resize=resize)


def train(
    dataset: str | Folders,
    root: str | Path | None,
    out: str | Path,
    *,
    recipe: str = "plain",
    encoder: str = "plain",
    encoder_weights: str | None = None,
    seed: int = 0,
    resume: bool = False,
    **settings: Any,
) -> tuple[History, Result]:
    """Train a U-Net on a data set's train split, judged on its val split.

    Args:
        dataset: see `split_of`; or `Folders`, without a ``root``.
        root: likewise.
        out: the run's folder: checkpoints, ``model/``, ``report.html``, and for folders ``split.json``, which says what
            was trained on.
        recipe: the settings to begin with, see `segkit.training.recipes`: ``"plain"`` or ``"street"``.
        encoder: of the U-Net.
        encoder_weights: likewise.
        seed: of weights, order and augmentation.
        resume: go on with the run in ``out``.
        settings: arguments of `Trainer` that replace the recipe's; ``augment="none"`` for none.
    """
    out = Path(out)
    chosen = recipe_settings(recipe, settings)
    parts = parts_of(dataset, root, seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = UNet(
            parts[0].num_classes,
            in_channels=parts[0][0][0].shape[0],
            encoder=encoder,
            encoder_weights=encoder_weights,
        )
    if chosen["augment"] == "none":
        chosen |= {"augment": None, "size": settings.get("size")}  # one that was given is refused, not dropped
    balance = check_number("balance", chosen.pop("balance"), minimum=0, maximum=1)
    if balance:
        chosen["class_weights"] = balanced_weights(parts[0], parts[0].labels, power=balance)
    trainer = Trainer(model, seed=seed, out=out, **chosen)
    if isinstance(dataset, Folders):
        _write_split(out, parts)
    history = trainer.fit(*parts, resume=resume)
    result = trainer.evaluate(parts[1])
    trainer.save(out / "model")
    result.report(out / "report.html", title=f"{named(dataset)}: val", train=parts[0])
    return history, result


def _write_split(out: Path, parts: tuple[SegmentationDataset, SegmentationDataset]) -> None:
    """Before the training, so that a run that is cut short has it too."""
    if (out / LAST).exists():  # of a run that goes on, or that will not be replaced
        return
    with folder_lock(check_writable(out)):
        write_json(out / "split.json", {"train": list(parts[0].ids), "val": list(parts[1].ids)})


def evaluate_model(
    model: str | Path,
    dataset: str | Folders,
    root: str | Path | None,
    *,
    split: str = "val",
    report: str | Path | None = None,
    device: Device | torch.device | str | None = None,
) -> Result:
    """Score a saved model on a split (of `Folders` on all there is), and write the report if a path is given."""
    if report is not None:
        check_writable(Path(report).parent)
    predictor = load(model, device=device)
    if isinstance(dataset, Folders):
        data, title = dataset.whole(predictor.labels), named(dataset)
    else:
        data, title = split_of(dataset, root, split), f"{dataset}: {split}"
    result = evaluate(predictor.model, data, device=predictor.device)
    if report is not None:
        result.report(report, title=title)
    return result


def parts_of(
    dataset: str | Folders, root: str | Path | None, seed: int, *, resize: tuple[int, int] | None = None
) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Training and validation data: the splits of those names, or those of folders (keyed by ``seed``)."""
    if isinstance(dataset, Folders):
        return dataset.parts(seed, resize=resize)
    return split_of(dataset, root, "train", resize=resize), split_of(dataset, root, "val", resize=resize)


def named(dataset: str | Folders) -> str:
    """What a page calls the data."""
    return str(dataset.images) if isinstance(dataset, Folders) else dataset


def label_files(
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    device: Device | torch.device | str | None = None,
) -> Iterator[Path]:
    """Label image files; yields each mask's path as it is written.

    For ``street.jpg`` there will be ``street.png``, an index mask that shows its classes' colours, and
    ``street.overlay.jpg`` to look at; for ``scan.nii.gz`` a label volume of the same name and affine.

    Raises:
        InputError: two images of one name, whose masks would replace each other.
        DataError: an image that cannot be read, or a folder that cannot be written.
    """
    paths = [Path(path) for path in images]
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise InputError(
            f"several images are named {listed(twice)}; their masks would replace each other: use a folder for each"
        )
    folder = check_writable(Path(out))
    written = {(folder / f"{stem}{ending}").resolve() for stem in stems for ending in (".png", ".overlay.jpg")}
    written |= {(folder / path.name).resolve() for path in paths if is_nifti(path)}
    replaced = [str(path) for path in paths if path.resolve() in written]
    if replaced:
        raise InputError(f"the masks would replace the images {listed(replaced)}; choose another folder than {folder}")
    predictor = load(model, device=device)
    for path in paths:
        if is_nifti(path):
            yield predictor.predict(read_volume(path)).save(folder / path.name)
            continue
        image = read_image(path)
        mask = predictor.predict(path)
        labels = predictor.labels or Labels([f"class {value}" for value in range(max(predictor.model.num_classes, 2))])
        _write_mask(folder / f"{path.stem}.png", mask, labels)
        picture = Image.fromarray(overlay(image, mask, labels))
        write_atomic(folder / f"{path.stem}.overlay.jpg", lambda name, picture=picture: picture.save(name, "jpeg"))  # type: ignore[misc]
        yield folder / f"{path.stem}.png"


def _write_mask(path: Path, mask: NDArray[Any], labels: Labels) -> None:
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(
            f"only masks of one class a pixel, up to 256 classes, are written as PNG; got {mask.dtype} {mask.shape}"
        )
    picture = Image.fromarray(mask)
    picture.putpalette([part for color in labels.value_palette for part in color])
    write_atomic(path, lambda name: picture.save(name, "png"))
