"""What users hand in, brought into one form: pairs of integer arrays, one pair an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_int, listed
from segkit.errors import InputError, LabelError, ShapeError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = [
    "LabelsLike",
    "TensorLike",
    "as_array",
    "check_classes",
    "check_names",
    "image_pairs",
    "is_tensor",
    "pixel_pairs",
    "whole_numbers",
]

Pair: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


class TensorLike(Protocol):
    """Anything that turns into an array as a torch tensor does: ``.detach().cpu().numpy()``."""

    def detach(self) -> Self:
        """The same values, outside any graph."""
        ...

    def cpu(self) -> Self:
        """The same values on the host."""
        ...

    def numpy(self) -> NDArray[Any]:
        """The same values as an array."""
        ...


LabelsLike: TypeAlias = ArrayLike | TensorLike | Sequence[ArrayLike | TensorLike]
"""Class ids: an array, nested sequences, a tensor, or a sequence of images of different sizes."""


def is_tensor(value: object) -> TypeIs[TensorLike]:
    """Whether ``value`` turns into an array as a torch tensor does."""
    return hasattr(value, "detach")  # isinstance of a Protocol would cost 50 times as much


def as_array(value: object) -> NDArray[Any]:
    """Return ``value`` as an array, without importing torch."""
    if isinstance(value, np.ndarray):
        return value
    if is_tensor(value):
        value = value.detach().cpu()
        try:
            value = value.numpy()
        except TypeError:  # bfloat16, which numpy does not have, is never class ids
            kind = getattr(value, "dtype", type(value).__name__)
            raise InputError(f"expected whole numbers; got {kind}, which numpy does not have") from None
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError("rows of different lengths; give images of different sizes as a list of arrays") from None


def check_classes(num_classes: int, ignore_index: int) -> tuple[int, int]:
    """Return both as ints; raise if ``ignore_index`` is one of the classes."""
    num_classes = check_int("num_classes", num_classes, minimum=1)
    ignore_index = check_int("ignore_index", ignore_index)
    if 0 <= ignore_index < num_classes:
        outside = 255 if num_classes <= 255 else -1
        raise InputError(
            f"`ignore_index` (={ignore_index}) lies inside 0..{num_classes - 1}; "
            f"use a value outside the classes, such as {outside}"
        )
    return num_classes, ignore_index


def check_names(names: Iterable[str] | None, num_classes: int) -> tuple[str, ...]:
    """Return one name a class; the names of None are ``class 0``, ``class 1``, ..."""
    if names is None:
        return tuple(f"class {index}" for index in range(num_classes))
    if isinstance(names, str):
        raise InputError(f"`names` must be a sequence of class names; got the single string {names!r}")
    names = tuple(str(name) for name in names)
    if len(names) != num_classes:
        raise InputError(f"`names` must hold one name a class ({num_classes}); got {len(names)}")
    if "" in names or len(set(names)) < len(names):  # scores are asked for by name
        raise InputError(f"`names` must be different and not empty; got {listed(map(repr, names))}")
    return names


def pixel_pairs(pred: LabelsLike, target: LabelsLike) -> list[Pair]:
    """Pairs of integer arrays of equal shape: one pair for arrays, one an image for sequences of images."""
    preds, targets = _images(pred, "pred"), _images(target, "target")
    if preds is None or targets is None:
        # One side may be a list of equal-sized images and the other their stack.
        return [_pair(as_array(_stacked(pred, preds)), as_array(_stacked(target, targets)), "")]
    if len(preds) != len(targets):
        raise ShapeError(f"`pred` holds {len(preds)} images and `target` {len(targets)}; they must be the same images")
    return [_pair(p, t, f" of image {n}") for n, (p, t) in enumerate(zip(preds, targets, strict=True))]


def image_pairs(pred: LabelsLike, target: LabelsLike, axes: int = 2) -> list[Pair]:
    """Like `pixel_pairs`, but one pair an image: an array of more than ``axes`` axes is a batch along its first."""
    pairs = pixel_pairs(pred, target)
    if _images(pred, "pred") is not None and _images(target, "target") is not None:
        return pairs
    p, t = pairs[0]
    return pairs if p.ndim <= axes else list(zip(p, t, strict=True))


def _images(value: object, argument: str) -> list[NDArray[Any]] | None:
    """The images of a sequence of them; None where ``value`` is one array (nested rows of numbers are one array)."""
    if isinstance(value, str | bytes):
        raise InputError(f"`{argument}` must hold class ids; got the string {value!r:.50}")
    if not isinstance(value, list | tuple):
        return None
    if not value:
        return []
    if any(isinstance(item, np.ndarray) or is_tensor(item) for item in value):
        return [as_array(item) for item in value]
    try:
        np.asarray(value)
    except ValueError:  # rows of different lengths: images of different sizes as nested lists
        return [as_array(item) for item in value]
    return None


def _stacked(value: object, images: list[NDArray[Any]] | None) -> object:
    if not images:
        return value
    if len({image.shape for image in images}) > 1:
        raise ShapeError("one side is a list of images of different sizes; give the other as a list of images as well")
    return np.stack(images)


def _pair(pred: NDArray[Any], target: NDArray[Any], where: str) -> Pair:
    if pred.dtype.kind in "fc" and pred.size:
        raise InputError(
            f"`pred`{where} must hold class ids; got {pred.dtype} {pred.shape}: take the argmax over the classes first "
            "(`confusion_matrix_from_logits` does both at once)"
        )
    pair = whole_numbers("pred", pred, where), whole_numbers("target", target, where)
    if pred.shape != target.shape:
        raise ShapeError(f"`pred` and `target`{where} must have the same shape; got {pred.shape} and {target.shape}")
    return pair


def whole_numbers(argument: str, values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return ``values`` as integers in the machine's byte order, bools as bytes; raise for anything else."""
    if values.dtype == bool:
        return values.view(np.uint8)
    if values.dtype.kind not in "iu":
        if not values.size:
            return values.astype(np.uint8)
        raise LabelError(f"`{argument}`{where} must hold whole numbers (class ids); got {values.dtype}")
    # A file's foreign byte order would turn every later view into other numbers.
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
