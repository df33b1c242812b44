"""NIfTI files through nibabel: what the header says, checked before any voxel is read, and the voxels as they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, listed
from segkit._extras import needed
from segkit.errors import DataError, LabelError, MissingFileError, SegkitError, ShapeError

__all__ = [
    "NIFTI_ENDINGS",
    "Header",
    "is_nifti",
    "nifti_header",
    "nifti_name",
    "read_labels",
    "read_voxels",
    "write_nifti",
]

NIFTI_ENDINGS = (".nii", ".nii.gz")

# What gzip can inflate a byte to at most is 1032; a header that promises more than that is damaged.
_MOST_INFLATED = 1100


@dataclass(frozen=True, eq=False)
class Header:
    """What stands before the voxels of a file.

    Attributes:
        shape: of the volume, three axes.
        channels: of a fourth axis; 1 where there is none.
        affine: ``(4, 4)``, from voxel numbers to the scanner's millimetres.
        spacing: the length of a voxel along each axis, as the affine has it.
    """

    shape: tuple[int, int, int]
    channels: int
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]


def is_nifti(path: object) -> bool:
    """Whether a path ends as NIfTI files do."""
    return isinstance(path, str | Path) and str(path).lower().endswith(NIFTI_ENDINGS)


def nifti_name(path: Path) -> str:
    """The name without the ending, of both parts of which a stem would keep one."""
    return path.name[: path.name.lower().rfind(".nii")] or path.name


def nifti_header(path: Path) -> Header:
    """Read the header alone.

    Raises:
        MissingFileError: no such file.
        DataError: not a NIfTI file, a damaged one, or a header that contradicts itself.
    """
    return _header(path, _opened(path))


def read_voxels(path: Path) -> tuple[Header, NDArray[Any]]:
    """The header and the values ``(D, H, W)``, or ``(C, D, H, W)``: integers as stored, all else float32."""
    image = _opened(path)
    header = _header(path, image)
    with _explained(path), np.errstate(all="ignore"):
        values = np.asanyarray(image.dataobj)
    if values.dtype.kind not in "iu":
        with np.errstate(all="ignore"):  # beyond float32 lies infinity, which counts as no value
            values = values.astype(np.float32)
    return header, _channels_first(values.astype(values.dtype.newbyteorder("="), copy=False), header)


def read_labels(path: Path) -> tuple[Header, NDArray[Any]]:
    """The header and whole numbers ``(D, H, W)``, as the header's scale means them, never rounded by more than it did.

    Raises:
        LabelError: values that are no whole numbers.
        ShapeError: several channels.
    """
    image = _opened(path)
    header = _header(path, image)
    if header.channels > 1:
        raise ShapeError(
            f"{path} has {header.channels} channels; a label volume has one value a voxel: save the classes as one map"
        )
    with _explained(path), np.errstate(all="ignore"):
        slope = abs(float(image.dataobj.slope))
        values = np.asanyarray(image.dataobj)
    labels = values.reshape(header.shape)
    if labels.dtype.kind in "iu":
        return header, labels.astype(labels.dtype.newbyteorder("="), copy=False)
    return header, _whole(labels, 1e-3 if slope == 1 else min(slope / 2, 0.25), path)


def write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write ``(D, H, W)``, or ``(C, D, H, W)``, as NIfTI-1 with both its transforms set to the affine, unscaled."""
    library = _nibabel("writing NIfTI")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = library.Nifti1Image(np.moveaxis(array, 0, -1) if array.ndim == 4 else array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):  # sheared: a quaternion cannot hold it
        image.set_qform(None)
    image.to_filename(path)


def _nibabel(purpose: str) -> Any:  # a typed package of untyped functions
    with needed("medical", purpose):
        import nibabel
    return nibabel


def _opened(path: Path) -> Any:
    library = _nibabel("reading NIfTI")
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no file {path}")
    if not is_nifti(path):
        raise DataError(f"{path} is not named as a NIfTI file; expected an ending {' or '.join(NIFTI_ENDINGS)}")
    with _explained(path), np.errstate(all="ignore"):
        image = library.load(path, mmap=False)
    if not isinstance(image, library.Nifti1Image):  # NIfTI-2 is a kind of it; pairs and Analyze are not
        raise DataError(f"{path} holds {type(image).__name__}, not NIfTI in one file; convert it")
    return image


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Make one error of the many that nibabel, gzip and numpy have for a damaged file."""
    try:
        yield
    except SegkitError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(f"{path} is damaged or not a NIfTI file ({why}); fetch or export it again") from error


def _header(path: Path, image: Any) -> Header:
    shape = tuple(int(size) for size in image.shape)
    dtype = image.dataobj.dtype
    if dtype.kind not in "iuf":
        raise DataError(f"{path} holds voxels of {dtype}; expected numbers: convert colours or complex values")
    if not shape or min(shape) < 1:
        raise DataError(f"{path} has the shape {shape}: there is no voxel in it")
    size = path.stat().st_size
    if math.prod(shape) * dtype.itemsize > size * _MOST_INFLATED:
        raise DataError(f"{path} is damaged: its header promises {shape} voxels of {dtype}, in a file of {size} bytes")
    depth, height, width = (*shape, 1, 1)[:3]
    more = [length for length in shape[3:] if length > 1]
    if len(more) > 1:
        raise ShapeError(f"{path} has the axes {shape}; expected three, and a fourth one for channels")
    affine = np.asarray(image.affine, np.float64)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(affine).all() or spacing.min() <= 0 or _flat(affine / np.append(spacing, 1)):
        raise DataError(
            f"{path} has an affine that cannot be used: {affine[:3].round(3).tolist()}; expected three directions "
            "that are no zeros and do not lie in one plane. Mend its header"
        )
    return Header(
        (depth, height, width),
        more[0] if more else 1,
        affine,
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def _flat(directions: NDArray[np.float64]) -> bool:
    return bool(abs(np.linalg.det(directions[:3, :3])) < 1e-3)


def _channels_first(values: NDArray[Any], header: Header) -> NDArray[Any]:
    if header.channels == 1:
        return values.reshape(header.shape)
    return np.ascontiguousarray(np.moveaxis(values.reshape(*header.shape, header.channels), -1, 0))


def _whole(values: NDArray[Any], slack: float, path: Path) -> NDArray[Any]:
    """Floats as int32: a scaled file holds 1.004 for 1, half a step of its scale away at most."""
    nearest = np.rint(values)
    wrong = ~(np.abs(values - nearest) <= slack) | (np.abs(nearest) >= 2**31)
    if wrong.any():
        found = np.unique(values[wrong])
        raise LabelError(
            f"{path} holds {counted(int(wrong.sum()), 'voxel')} of no whole number "
            f"({listed(map('{:g}'.format, found), 5)}); likely a volume that was interpolated, or an image instead of "
            "labels: resample labels with nearest neighbour"
        )
    labels: NDArray[Any] = nearest.astype(np.int32)
    return labels
