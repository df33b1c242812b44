"""Volumes: arrays with their spacing and affine, from NIfTI files and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int, check_number
from segkit._files import write_atomic
from segkit.datasets._nifti import is_nifti, read_labels, read_voxels, write_nifti
from segkit.errors import InputError, ShapeError

__all__ = ["Volume", "read_label_volume", "read_volume"]


@dataclass(frozen=True, eq=False, init=False)
class Volume:
    """A volume with its place in the scanner.

    Args:
        array: ``(D, H, W)``, or ``(C, D, H, W)`` with channels first; the axes stand as they do in the file.
        spacing: the length of a voxel along each of the three axes, in the file's unit, which is mm.
        affine: ``(4, 4)`` float64, from voxel numbers to millimetres; None for the spacing alone.

    Raises:
        ShapeError: an array of another number of axes, or without a voxel.
        InputError: a spacing that is not three positive numbers, an affine that is not ``(4, 4)``.

    Example:
        >>> volume = Volume(np.zeros((30, 40, 20), np.float32), spacing=(1.0, 1.0, 3.0))
        >>> volume.shape, volume.channels
        ((30, 40, 20), 1)
    """

    array: NDArray[Any]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]

    def __init__(
        self, array: ArrayLike, spacing: Sequence[float] = (1.0, 1.0, 1.0), affine: ArrayLike | None = None
    ) -> None:
        values = np.asarray(array)
        if values.ndim not in (3, 4) or not values.size:
            raise ShapeError(f"a volume must be (D, H, W) or (C, D, H, W), with voxels in it; got {values.shape}")
        if values.dtype.kind not in "iufb":
            raise InputError(f"a volume must hold numbers; got {values.dtype}")
        steps = [check_number("spacing", value, above=0) for value in spacing]
        if len(steps) != 3:
            raise InputError(f"`spacing` must be three numbers, one an axis; got {steps}")
        matrix = np.diag([*steps, 1.0]) if affine is None else np.asarray(affine, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise InputError(f"`affine` must be (4, 4) finite numbers; got {matrix.tolist()}")
        for name, value in (("array", values), ("spacing", tuple(steps)), ("affine", matrix)):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(D, H, W)``, without the channels."""
        depth, height, width = self.array.shape[-3:]
        return depth, height, width

    @property
    def channels(self) -> int:
        """How many values a voxel has."""
        return 1 if self.array.ndim == 3 else len(self.array)

    def take(self, axis: int, index: int) -> NDArray[Any]:
        """The slice at ``index`` along one of the three axes: ``(H, W)``, or ``(C, H, W)`` where there are channels."""
        axis = check_int("axis", axis, minimum=0, maximum=2)
        index = check_int("index", index, minimum=-self.shape[axis], maximum=self.shape[axis] - 1)
        taken: NDArray[Any] = self.array.take(index, axis=axis - 3)
        return taken

    def slice_spacing(self, axis: int) -> tuple[float, float]:
        """The spacing (height, width) of a slice along ``axis``."""
        axis = check_int("axis", axis, minimum=0, maximum=2)
        first, second = (self.spacing[other] for other in range(3) if other != axis)
        return first, second

    def with_labels(self, labels: ArrayLike) -> Volume:
        """A label volume in the place of this one.

        Raises:
            ShapeError: labels of another shape.
        """
        array = np.asarray(labels)
        if array.shape[-3:] != self.shape:
            raise ShapeError(f"the labels are {array.shape}, the volume {self.shape}")
        return Volume(array, self.spacing, self.affine)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a NIfTI file with the same affine, in the array's own type, unscaled.

        Args:
            path: ends in ``.nii`` or ``.nii.gz``.

        Raises:
            InputError: another ending.
            MissingExtraError: nibabel is not installed.
        """
        target = Path(path)
        if not is_nifti(target):
            raise InputError(f"a volume is written as NIfTI; give a name that ends in .nii or .nii.gz, not {target}")
        ending = ".nii.gz" if target.name.lower().endswith(".gz") else ".nii"

        def write(temporary: Path) -> None:  # nibabel goes by the ending, the temporary file has another
            named = temporary.with_name(temporary.name + ending)
            try:
                write_nifti(named, self.array, self.affine)
                named.replace(temporary)
            finally:
                named.unlink(missing_ok=True)

        write_atomic(target, write)
        return target

    def __repr__(self) -> str:
        spacing = " x ".join(f"{step:g}" for step in self.spacing)
        return f"Volume({self.array.shape}, {self.array.dtype}, {spacing} mm)"


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI file.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``; NIfTI-1 or NIfTI-2.

    Returns:
        The volume, its values scaled as the header says: integers as stored where it does not scale them, else
        float32. A fourth axis becomes the channels, in front. NaN stays.

    Raises:
        MissingFileError: no such file.
        DataError: a file that is damaged, no NIfTI, or has an affine that cannot be used.
        MissingExtraError: nibabel is not installed.

    Example:
        >>> read_volume("scan.nii.gz")
        Volume((12, 16, 10), float32, 1 x 1 x 1.5 mm)
    """
    header, array = read_voxels(Path(path))
    return Volume(array, header.spacing, header.affine)


def read_label_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI file of labels: whole numbers, or an error that says what they are.

    Args:
        path: as for `read_volume`.

    Raises:
        LabelError: values that are no whole numbers, such as those of an interpolated volume.
        ShapeError: several channels.
        DataError, MissingFileError, MissingExtraError: as `read_volume`.
    """
    header, array = read_labels(Path(path))
    return Volume(array, header.spacing, header.affine)
