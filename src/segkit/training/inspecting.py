"""The check of data as a command runs it: from names and folders to a report and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit._files import check_writable
from segkit.datasets import DatasetReport, FolderDataset, Pairs, inspect_dataset
from segkit.errors import InputError
from segkit.report import write_inspection
from segkit.training.folders import Folders, read_labels
from segkit.training.jobs import split_of

__all__ = ["inspect_data"]


def inspect_data(
    dataset: str | Folders,
    root: str | Path | None,
    *,
    split: str = "train",
    against: Sequence[str] = (),
    groups: str | None = None,
    report: str | Path | None = None,
) -> DatasetReport:
    """Inspect splits of a data set by name, or `Folders`; what does not pair there is found, not refused.

    Args:
        dataset: see `segkit.training.jobs.split_of`; or `Folders`, whose ``val_images`` are held against ``images``.
        root: likewise.
        split: the first split; not for folders.
        against: other splits to compare it with; not for folders.
        groups: a pattern that finds the group in an item's name; see `segkit.inspect_dataset`.
        report: a page to write; None writes none.

    Raises:
        InputError: folders without labels, or options of a data set for folders.
        DataError: a page that cannot be written, or no pair at all.
    """
    if report is not None:
        check_writable(Path(report).parent)
    if isinstance(dataset, Folders):
        if against:
            raise InputError("`against` names splits of a known data set; give folders to compare with as `val_images`")
        names, parts = _folders(dataset)
        title = f"Inspection of {dataset.images}"
    else:
        names = [split, *against]
        parts = [split_of(dataset, root, name) for name in names]
        title = f"Inspection of {dataset}: {', '.join(names)}"
    found = inspect_dataset(*parts, names=names, groups=groups)
    if report is not None:
        write_inspection(report, found, title=title)
    return found


def _folders(folders: Folders) -> tuple[list[str], list[Pairs]]:
    if folders.labels is None:
        raise InputError(
            "`labels` are needed to judge masks: class names in the order of their ids, such as 'road,car', or a JSON "
            "file that Labels.save wrote"
        )
    if (folders.val_images is None) != (folders.val_masks is None):
        raise InputError("validation images and masks belong together: give both `val_images` and `val_masks`")
    labels = read_labels(folders.labels)
    pairs = [("train", folders.images, folders.masks)]
    if folders.val_images is not None and folders.val_masks is not None:
        pairs.append(("val", folders.val_images, folders.val_masks))
    parts: list[Pairs] = [
        FolderDataset(images, masks, labels, mask_suffix=folders.mask_suffix, values=folders.values, strict=False)
        for _, images, masks in pairs
    ]
    return [name if len(pairs) > 1 else str(folders.images) for name, *_ in pairs], parts
