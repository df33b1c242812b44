"""The checks that every data set must pass, ours and anyone's."""

from __future__ import annotations

import copyreg
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int
from segkit.datasets._base import Pairs
from segkit.datasets._each import item_name
from segkit.errors import LabelError
from segkit.labels import Labels

__all__ = ["check_dataset"]

_IMAGE_TYPES = ("uint8", "uint16", "float32")
_THREADS = 4


def check_dataset(dataset: Pairs, *, labels: Labels | None = None, items: int = 8) -> None:
    """Check that a data set keeps the contract of this package; for the tests of whoever writes one.

    Checked are: an item is an image ``(C, H, W)`` of uint8, uint16 or finite float32 and a mask ``(H, W)`` (multilabel:
    ``(K, H, W)``) of whole numbers that the labels know, of one size; all images have one number of channels; ``ids``
    (if there are any) are one a item and all different, ``groups`` one an item, ``files`` files that are there; an item
    is the same each time it is read, also by several threads at once and in a copy as worker processes get it; and an
    index behind the last item raises `IndexError`.

    Args:
        dataset: anything with a length and (image, mask) items, tensors or arrays.
        labels: what mask values may occur; the data set's own if None. Without any, values are not looked at.
        items: how many are read, evenly over the data set; its first and last are among them.

    Raises:
        AssertionError: it does not keep it; the message names the item and what went wrong.

    Example:
        >>> from segkit.datasets import StreetScenes
        >>> check_dataset(StreetScenes(20, size=(48, 64)), items=3)
    """
    count = check_int("items", items, minimum=1)
    _expect(len(dataset) > 0, f"{type(dataset).__name__} is empty; expected at least one item")
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()
    labels = _check_labels(dataset, labels)
    _check_names(dataset, indices)
    found = {index: _read(dataset, index) for index in indices}
    for index, (image, mask) in found.items():
        _check_item(image, mask, labels, f"item {index} ({item_name(dataset, index)})")
    channels = {index: image.shape[0] for index, (image, _) in found.items()}
    _expect(len(set(channels.values())) == 1, f"images have different numbers of channels, by item: {channels}")
    _check_again(dataset, found)
    _check_ends(dataset, found)


def _expect(kept: bool, message: str) -> None:
    # Not the statement: these checks are the product, also under `python -O`.
    if not kept:
        raise AssertionError(message)


def _read(dataset: Pairs, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
    where = f"item {index} ({item_name(dataset, index)})"
    item: Any = dataset[index]
    _expect(
        isinstance(item, tuple | list) and len(item) == 2,
        f"{where} must be (image, mask); got {type(item).__name__}"
        + (f" of {len(item)}" if isinstance(item, Sequence) else ""),
    )
    return _array(item[0], f"the image of {where}"), _array(item[1], f"the mask of {where}")


def _array(value: Any, what: str) -> NDArray[Any]:
    if isinstance(value, Tensor):
        _expect(value.device.type == "cpu", f"{what} lies on {value.device}; expected the CPU: models move it")
        value = value.detach().numpy()
    _expect(isinstance(value, np.ndarray), f"{what} must be a tensor or a numpy array; got {type(value).__name__}")
    array: NDArray[Any] = value
    return array


def _check_labels(dataset: Pairs, given: Labels | None) -> Labels | None:
    own = getattr(dataset, "labels", None)
    _expect(own is None or isinstance(own, Labels), f"`labels` must be segkit.Labels; got {type(own).__name__}")
    return own if given is None else given


def _check_names(dataset: Pairs, indices: Sequence[int]) -> None:
    for attribute in ("ids", "groups"):
        names = getattr(dataset, attribute, None)
        if names is None:
            continue
        _expect(len(names) == len(dataset), f"`{attribute}`: {len(names)} for {len(dataset)} items; expected as many")
        wrong = [name for name in names if not isinstance(name, str)]
        _expect(not wrong, f"`{attribute}` must be strings; got {wrong[:3]}")
    ids = getattr(dataset, "ids", None)
    if ids is not None and len(set(ids)) < len(ids):
        raise AssertionError(
            f"`ids` must all be different; repeated: {sorted({i for i in ids if list(ids).count(i) > 1})}"
        )
    files = getattr(dataset, "files", None)
    if not callable(files):
        return
    for index in indices:
        paths = files(index)
        kept = isinstance(paths, tuple) and all(isinstance(path, Path) and path.is_file() for path in paths)
        _expect(kept, f"`files({index})` must be a tuple of paths of files that are there; got {paths}")


def _check_item(image: NDArray[Any], mask: NDArray[Any], labels: Labels | None, where: str) -> None:
    _expect(image.ndim == 3, f"the image of {where} must be (C, H, W); got shape {image.shape}")
    _expect(
        str(image.dtype) in _IMAGE_TYPES,
        f"the image of {where} must be {', '.join(_IMAGE_TYPES)}; got {image.dtype}: give the file's own type, and "
        "leave the scaling to the model",
    )
    _expect(image.dtype.kind != "f" or bool(np.isfinite(image).all()), f"the image of {where} holds NaN or infinity")
    planes = labels.num_classes if labels is not None and labels.task == "multilabel" else None
    wanted = "(H, W)" if planes is None else f"({planes}, H, W)"
    expected = image.shape[1:] if planes is None else (planes, *image.shape[1:])
    _expect(
        mask.shape == expected,
        f"the mask of {where} must be {wanted}, of the image's size, {expected}; got shape {mask.shape}",
    )
    _expect(mask.dtype.kind in "bui", f"the mask of {where} must hold whole numbers; got {mask.dtype}")
    if labels is not None:
        try:
            labels.check(mask, where=where)
        except LabelError as error:
            raise AssertionError(str(error)) from error


def _check_again(dataset: Pairs, found: dict[int, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    kept = {index: (image.copy(), mask.copy()) for index, (image, mask) in found.items()}
    for index in kept:
        _expect_same(kept[index], _read(dataset, index), f"item {index} is another one when it is read again")
    order = [*kept, *reversed(kept)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for index, item in zip(order, pool.map(lambda i: _read(dataset, i), order), strict=True):
            _expect_same(kept[index], item, f"item {index} is another one when {_THREADS} threads read")
    try:
        copy = _copy_for_worker(dataset)
    except Exception as error:
        raise AssertionError(
            f"{type(dataset).__name__} cannot be given to a worker process: {error}; keep no open files, locks or "
            "lambdas in it"
        ) from error
    for index in kept:
        _expect_same(kept[index], _read(copy, index), f"item {index} is another one in the copy of a worker process")


def _copy_for_worker(dataset: Pairs) -> Pairs:
    # The bytes are our own, and never come from a file. Tensors go by value: torch's way of sharing them would move the
    # data set's own into other memory, under arrays that look at it.
    buffer = io.BytesIO()
    pickler = ForkingPickler(buffer)
    pickler.dispatch_table = copyreg.dispatch_table
    pickler.dump(dataset)
    copy: Pairs = ForkingPickler.loads(buffer.getvalue())
    return copy


def _expect_same(first: tuple[NDArray[Any], ...], second: tuple[NDArray[Any], ...], message: str) -> None:
    same = all(
        one.dtype == other.dtype and np.array_equal(one, other) for one, other in zip(first, second, strict=True)
    )
    _expect(same, f"{message}: leave augmentation to the trainer, and chance out of the data set")


def _check_ends(dataset: Pairs, found: dict[int, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    last = len(dataset) - 1
    try:
        dataset[last + 1]
    except IndexError:
        pass
    except Exception as error:
        raise AssertionError(f"item {last + 1} of 0..{last} must raise IndexError; got {error!r}") from error
    else:
        raise AssertionError(f"item {last + 1} of 0..{last} must raise IndexError; it gave an item: a loop never ends")
    try:
        item = _read(dataset, -1)
    except Exception:  # that it counts from the end is nobody's duty, that it gives no other item is
        return
    _expect_same(found[last], item, "item -1 is neither the last one nor an error")
