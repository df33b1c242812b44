"""Volumes in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from segkit._checks import check_choice, counted, did_you_mean, listed
from segkit._files import contained, read_json
from segkit.datasets._base import DATASETS, Item, SegmentationDataset
from segkit.datasets._nifti import is_nifti, nifti_name
from segkit.datasets.volume_reading import VolumeReading
from segkit.datasets.volume_slices import VolumeDataset
from segkit.errors import DataError, InputError, MissingFileError, UnknownNameError
from segkit.labels import IGNORE_INDEX, Labels

__all__ = ["Decathlon"]

_LIST = "dataset.json"


@DATASETS.register("decathlon")
class Decathlon(SegmentationDataset):
    """The slices of a task of the Medical Segmentation Decathlon, or of own volumes in its layout, grouped by volume.

    ``root/dataset.json`` names the classes and the files: ``imagesTr`` with ``labelsTr``, and ``imagesTs`` without.

    Args:
        root: the folder that holds ``dataset.json``, such as ``Task04_Hippocampus``.
        split: ``"train"``: the volumes with labels, or ``"test"``: those without, whose masks are all ignored.
        axis: along which axis slices are taken, or several.
        neighbours: so many slices on both sides are further channels.
        percentiles: values beyond these of a volume are clipped; None clips nothing.
        zscore: whether each volume is brought to mean 0 and deviation 1.
        volumes: the names of those that are wanted, such as ``["hippocampus_004"]``; None for all.
        reading: a whole `VolumeReading` in place of the four settings above.
        groups: the group of a volume's name; by default each volume is its own.

    Attributes:
        url: where the tasks are brought from.
        licence: on which terms.
        slices: the `VolumeDataset` that it is, which has the volumes as wholes.
        groups: the volume that each slice is of.

    Raises:
        MissingFileError: no such root, no ``dataset.json``, or listed files that are not there.
        DataError: a list that cannot be used, or that leads out of the root.
        UnknownNameError: a split or a volume that there is not.

    Example:
        >>> data = Decathlon("data/Task99_Blobs", axis=2, neighbours=1)
        >>> data
        Decathlon(40 items, 3 classes)
        >>> data[0][0].shape, data.labels.names, data.volumes[0]
        (torch.Size([3, 12, 16]), ('background', 'front', 'back'), 'blobs_000')

    Source:
        Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 2022. CC-BY-SA 4.0.
    """

    url: ClassVar[str] = "http://medicaldecathlon.com"
    licence: ClassVar[str] = "CC-BY-SA 4.0; cite Antonelli et al., Nature Communications 2022"

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        axis: int | Sequence[int] = 2,
        neighbours: int = 0,
        percentiles: Sequence[float] | None = (0.5, 99.5),
        zscore: bool = True,
        volumes: Iterable[str] | None = None,
        reading: VolumeReading | None = None,
        groups: Callable[[str], str] | None = None,
        cache_bytes: int = 2**30,
    ) -> None:
        self.root: Path = Path(root)
        self.split: str = check_choice("split", split, ("train", "test"))
        content = _content(self.root)
        pairs = _listed(self.root, content, split)
        if volumes is not None:
            pairs = _chosen(pairs, volumes)
        self._check_there(pairs)
        self.slices: VolumeDataset = VolumeDataset(
            [image for image, _ in pairs],
            [mask for _, mask in pairs],
            _labels(self.root / _LIST, content),
            reading=reading or VolumeReading(axes=axis, neighbours=neighbours, percentiles=percentiles, zscore=zscore),
            groups=groups,
            cache_bytes=cache_bytes,
        )
        slices = self.slices
        super().__init__(slices.labels, slices.ids, slices.groups, [slices.files(k) for k in range(len(slices))])
        self.reading = slices.reading

    def __getitem__(self, index: int) -> Item:
        """The slice ``((2 * neighbours + 1) * C, H, W)`` float32, and its mask ``(H, W)``."""
        return self.slices[index]

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of the volumes."""
        return self.slices.volumes

    @property
    def in_channels(self) -> int:
        """How many channels an image has: a model's ``in_channels``."""
        return self.slices.in_channels

    def _check_there(self, pairs: Sequence[tuple[Path, Path | None]]) -> None:
        files = [path for pair in pairs for path in pair if path is not None]
        missing = [str(path.relative_to(self.root)) for path in files if not path.is_file()]
        if missing:
            raise MissingFileError(
                f"{self.root / _LIST} names {counted(len(missing), 'file')} not found in {self.root}: {listed(missing)}"
            )


def _content(root: Path) -> Mapping[str, Any]:
    if not root.is_dir():
        raise MissingFileError(
            f"no folder {root}: expected one with {_LIST}, imagesTr and labelsTr; {Decathlon.url} has the tasks"
        )
    if not (root / _LIST).is_file():
        inner = sorted(path.parent.name for path in root.glob(f"*/{_LIST}"))
        near = f"; did you mean {root / inner[0]}?" if inner else ""
        raise MissingFileError(f"no {_LIST} in {root}, which names the classes and the files of a task{near}")
    content = read_json(root / _LIST)
    if not isinstance(content, Mapping):
        raise DataError(f"{root / _LIST} must be an object with `labels` and `training`; got {str(content)[:100]}")
    return content


def _labels(path: Path, content: Mapping[str, Any]) -> Labels:
    """Class ids are the ranks of the values: ``{"0": "background", "4": "tumour"}`` gives 0 and 1.

    The Decathlon writes value: name; nnU-Net writes name: value, and calls what is not labelled ``ignore``.
    """
    given = content.get("labels")
    if not isinstance(given, Mapping) or not given:
        raise DataError(f'{path}: `labels` must be such as {{"0": "background", "1": "liver"}}; got {given!r}')
    names = _by_value(given.items()) or _by_value((value, name) for name, value in given.items())
    if names is None or len(names) < len(given):
        raise DataError(f"{path}: `labels` must give each class one whole number of its own; got {dict(given)}")
    classes = [value for value in sorted(names) if names[value].lower() != "ignore"]
    ids = {value: rank for rank, value in enumerate(classes)}
    ids |= {value: IGNORE_INDEX for value in names if value not in ids}
    plain = all(value == becomes for value, becomes in ids.items())
    try:
        return Labels([names[value] for value in classes], values=None if plain else ids)
    except InputError as error:
        raise DataError(f"{path}: its `labels` cannot be used: {error}") from error


def _by_value(pairs: Iterable[tuple[Any, Any]]) -> dict[int, str] | None:
    """Names by their values; None where what should be a value is none."""
    names: dict[int, str] = {}
    for value, name in pairs:
        if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdecimal())):
            return None
        names[int(value)] = str(name)
    return names


def _listed(root: Path, content: Mapping[str, Any], split: str) -> list[tuple[Path, Path | None]]:
    key = {"train": "training", "test": "test"}[split]
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{root / _LIST} lists no `{key}` volumes; expected a list of files, got {entries!r}")
    return [_pair(root, f"`{key}`, entry {number}", entry) for number, entry in enumerate(entries)]


def _pair(root: Path, where: str, entry: Any) -> tuple[Path, Path | None]:
    image, mask = (entry.get("image"), entry.get("label")) if isinstance(entry, Mapping) else (entry, None)
    wrong = [name for name in (image, mask) if name is not None and not is_nifti(name)]
    if image is None or wrong or (mask is None and where.startswith("`training`")):
        raise DataError(
            f'{root / _LIST}, {where}: expected {{"image": "./imagesTr/A.nii.gz", "label": "./labelsTr/A.nii.gz"}}'
            f", or a path alone for a test volume; got {entry!r}"
        )
    return contained(root, image), None if mask is None else contained(root, mask)


def _chosen(pairs: list[tuple[Path, Path | None]], volumes: Iterable[str]) -> list[tuple[Path, Path | None]]:
    known = {nifti_name(pair[0]): pair for pair in pairs}
    wanted = [volumes] if isinstance(volumes, str) else list(volumes)
    for name in wanted:
        if name not in known:
            raise UnknownNameError(
                f"no volume is named {name!r}{did_you_mean(str(name), known)} (there is {listed(known)})"
            )
    return [known[name] for name in wanted]
