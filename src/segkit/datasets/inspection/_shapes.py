"""Images and masks that do not fit each other, or the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from segkit._checks import counted, listed
from segkit.datasets.inspection._split import Seen, Split, everything, items_problem, share_of
from segkit.datasets.inspection.problems import Problem

__all__ = ["check_shapes"]


def check_shapes(splits: Sequence[Split]) -> Iterator[Problem]:
    """Sizes of image and mask, their orientation, channels and pixel types."""
    yield from _sizes(splits)
    yield from _orientations(splits)
    yield from _channels(splits)
    yield from _types(splits)


def _sizes(splits: Sequence[Split]) -> Iterator[Problem]:
    wrong: list[Seen] = []
    turned: list[Seen] = []
    for split, facts in everything(splits):
        if facts.image is None or not facts.mask_size:
            continue
        height, width = facts.image.shape[1:]
        # A data set may resize what it reads; then its own image and mask agree, and the raw mask has another size.
        if facts.counts is None and (height, width) != facts.mask_size:
            (turned if (width, height) == facts.mask_size else wrong).append((split, facts))
    whole = sum(1 for _, facts in everything(splits) if facts.mask_size)
    if wrong:
        yield items_problem(
            "size",
            "error",
            f"{share_of(len(wrong), whole, 'mask')} {_has(wrong)} another size than the image: {_pairs(wrong)}",
            wrong,
            "Look whether these masks belong to these images; bring each to its image's size without mixing values "
            "(nearest neighbour)",
        )
    if turned:
        yield items_problem(
            "orientation",
            "error",
            f"{share_of(len(turned), whole, 'mask')} {_has(turned)} height and width the other way round than the "
            "image: "
            f"{_pairs(turned)}",
            turned,
            "Turn the mask by 90 degrees as the image is turned, or remove the image's EXIF orientation if the mask "
            "was "
            "drawn on the pixels as they are stored",
        )


def _has(where: Sequence[Seen]) -> str:
    return "has" if len(where) == 1 else "have"


def _pairs(where: Sequence[Seen]) -> str:
    found = Counter((facts.image.shape[1:], facts.mask_size) for _, facts in where if facts.image is not None)
    return (
        listed(
            (f"image {image[0]}x{image[1]} with mask {mask[0]}x{mask[1]}" for (image, mask), _ in found.most_common()),
            3,
        )
        + " (height x width)"
    )


def _orientations(splits: Sequence[Split]) -> Iterator[Problem]:
    """A tag on one of the two alone: sizes tell a quarter turn of an oblong picture, nothing tells the other turns."""
    where = []
    for split, facts in everything(splits):
        first, second = facts.orientations
        if first == second or facts.image is None:
            continue
        square = facts.image.shape[1] == facts.image.shape[2]
        tells = max(first, second) >= 5 and min(first, second) < 5 and not square
        if not tells:
            where.append((split, facts))
    if where:
        first, second = where[0][1].orientations
        yield items_problem(
            "orientation_tag",
            "warning",
            f"{counted(len(where), 'image')} and mask differ in their EXIF orientation (the first: {first} and "
            f"{second}), "
            "and their sizes cannot tell whether the mask was drawn before or after the turn",
            where,
            "Look at each with its mask laid over it; if the mask lies wrong, turn it, or remove the tag",
        )


def _channels(splits: Sequence[Split]) -> Iterator[Problem]:
    found: dict[int, list[Seen]] = {}
    for split, facts in everything(splits):
        if facts.image is not None:
            found.setdefault(facts.image.shape[0], []).append((split, facts))
    if len(found) < 2:
        return
    usual = max(found, key=lambda channels: len(found[channels]))
    for channels, where in sorted(found.items()):
        if channels != usual:
            yield items_problem(
                "channels",
                "error",
                f"{counted(len(where), 'image')} {_has(where)} {counted(channels, 'channel')}, the other "
                f"{len(found[usual])} have {usual}",
                where,
                f"Save all images with {counted(usual, 'channel')}" + _modes(channels, usual),
            )


def _modes(channels: int, usual: int) -> str:
    names = {1: "grey", 3: "RGB", 4: "RGBA"}
    if channels in names and usual in names:
        return f": these are {names[channels]}, the others {names[usual]}"
    return ""


def _types(splits: Sequence[Split]) -> Iterator[Problem]:
    found: dict[str, list[Seen]] = {}
    for split, facts in everything(splits):
        if facts.image is not None:
            found.setdefault(facts.image.dtype, []).append((split, facts))
    if len(found) < 2:
        return
    usual = max(found, key=lambda name: len(found[name]))
    for dtype, where in sorted(found.items()):
        if dtype != usual:
            yield items_problem(
                "pixel_type",
                "warning",
                f"{counted(len(where), 'image')} {_has(where)} pixels of {dtype}, the other {len(found[usual])} of "
                f"{usual}; a "
                "model divides each type by a number of its own, so that equal scenes differ in brightness",
                where,
                f"Save all images as {usual}",
            )
