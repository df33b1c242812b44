"""From image and mask files to tensors: what every reader shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._resample import check_size, resize_image, resize_mask
from segkit.datasets import _images
from segkit.datasets._base import Item
from segkit.datasets._header import ImageHeader, shown_size
from segkit.datasets._masks import class_ids, merged_ids
from segkit.errors import SegkitError, ShapeError
from segkit.labels import Labels

__all__ = ["ImageHeader", "PathLike", "as_item", "check_same_size", "image_header", "read_image", "read_mask"]

PathLike: TypeAlias = str | os.PathLike[str]


def read_image(path: PathLike | Sequence[PathLike]) -> Tensor:
    """Read an image file as ``(C, H, W)`` in the file's own type, upright.

    Args:
        path: a PNG, JPEG, TIFF, BMP, WebP or GIF file, or an array ``(H, W)`` or ``(H, W, C)`` in a ``.npy`` or
            ``.npz`` file (alone in it, or called ``image``); or several files, whose channels follow one another.

    Returns:
        uint8, uint16 or float32, with as many channels as the file has: grey 1, grey with alpha 2, RGB 3, RGBA 4, a
        TIFF as many as its samples and pages. Palettes become colours, black and white 0 and 255, other integers and
        doubles float32. Nothing is narrowed: what Pillow would cut to 8 bits is read with tifffile or imagecodecs. The
        EXIF orientation is applied.

    Raises:
        DataError: a file that is broken, moves, is larger than ``PIL.Image.MAX_IMAGE_PIXELS`` allows, or holds what has
            no such type.
        MissingExtraError: a file for which the ``images`` extra is needed; it is named.
        MissingFileError: no such file.
        ShapeError: several files of different sizes.

    Example:
        >>> read_image("street.jpg").shape
        torch.Size([3, 360, 480])
    """
    paths = Path(path) if isinstance(path, str | os.PathLike) else [Path(one) for one in path]
    return torch.from_numpy(_images.image_array(paths)).permute(2, 0, 1)


def read_mask(
    path: PathLike | Sequence[PathLike] | Mapping[str, PathLike],
    labels: Labels,
    *,
    ignore_colors: Iterable[Sequence[int]] = (),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Read a mask in any of the encodings in use, as class ids.

    Args:
        path: a file of ids (grey or palette, 1 to 16 bits, also 32 in a TIFF or an array), of the palette's colours, of
            outlines (Cityscapes' ``.json``, YOLO's ``.txt``), or one file a class: a list in the order of the classes,
            or a mapping of their names.
        labels: what the values mean, with ``labels.values`` for files whose values are not the ids.
        ignore_colors: colours of a colour mask that mean "not labelled".
        size: (height, width) of the image; needed for YOLO's text, which does not say it.

    Returns:
        ``(H, W)`` of `Labels.mask_dtype`, or ``(K, H, W)`` for a multilabel task. The EXIF orientation is applied.

    Raises:
        DataError: a broken file, or one that is no mask.
        LabelError: values or colours that the labels do not hold; the file is named.
        MissingExtraError: a file for which the ``images`` extra is needed.
        MissingFileError: no such file.
        ShapeError: files of different sizes, or another number of channels than classes.

    Example:
        >>> labels = Labels([*"abcdefghijk"], values={11: 255})
        >>> read_mask("data/camvid/trainannot/0001TP_000000.png", labels).shape
        torch.Size([360, 480])
    """
    size = None if size is None else check_size("size", size)
    if isinstance(path, str | os.PathLike):
        return torch.from_numpy(class_ids(Path(path), labels, ignore_colors=ignore_colors, size=size))
    if isinstance(path, Mapping):
        return torch.from_numpy(merged_ids({name: Path(one) for name, one in path.items()}, labels))
    return torch.from_numpy(merged_ids([Path(one) for one in path], labels))


def image_header(path: PathLike) -> ImageHeader:
    """Say what an image file holds, without decoding its pixels.

    Raises:
        DataError: not an image, or one with a damaged header.
        MissingFileError: no such file.

    Example:
        >>> image_header("street.jpg")
        ImageHeader(size=(360, 480), channels=3, dtype=dtype('uint8'), format='JPEG', orientation=1)
    """
    return _images.image_header(Path(path))


def check_same_size(image: NDArray[Any], mask: NDArray[Any], image_path: Path, mask_path: Path) -> None:
    """Raise `ShapeError` unless ``(H, W, C)`` and ``(H, W, ...)`` agree."""
    if image.shape[:2] != mask.shape[:2]:
        raise ShapeError(
            f"an image and its mask must have one size; got {shown_size(image)} in {image_path} and "
            f"{shown_size(mask)} in {mask_path} (height x width){_turned_hint(image_path, mask_path, mask)}"
        )


def _turned_hint(image_path: Path, mask_path: Path, mask: NDArray[Any]) -> str:
    """What a wrong size is likely to come from: an orientation that only one of the two files has."""
    for path, other in ((image_path, "mask"), (mask_path, "image")):
        try:
            header = _images.image_header(path)
        except SegkitError:
            continue
        if header.orientation >= 5 and (other == "image" or header.size[::-1] == mask.shape[:2]):
            return (
                f". {path.name} has EXIF orientation {header.orientation}, by which it was turned, and its {other} was "
                "made of the picture as stored: give both the orientation, or turn the pixels of both and remove it"
            )
    return ": is it this image's mask? Bring both to one size, the mask without mixing values (nearest neighbour)"


def as_item(image: NDArray[Any], mask: NDArray[Any], resize: tuple[int, int] | None) -> Item:
    """Turn an image ``(H, W, C)`` and a mask ``(..., H, W)`` into tensors ``(C, h, w)`` and ``(..., h, w)``."""
    if resize is not None and resize != image.shape[:2]:
        image, mask = resize_image(image, resize), resize_mask(mask, resize)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)
