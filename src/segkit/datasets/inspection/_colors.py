"""Masks that are colour pictures where class ids, or other colours, are expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from segkit._checks import listed
from segkit.datasets.inspection._split import Seen, Split, everything, items_problem, share_of
from segkit.datasets.inspection.problems import Problem
from segkit.labels import Labels

__all__ = ["check_colors"]


def check_colors(splits: Sequence[Split]) -> Iterator[Problem]:
    """Colour masks that their data set could not read: which colours they hold, and what they may stand for."""
    labels = splits[0].labels
    whole = sum(1 for _, facts in everything(splits) if facts.raw is not None)
    families: dict[str, list[Seen]] = {}
    for split, facts in everything(splits):
        if facts.raw is not None and facts.raw.kind != "ids" and facts.counts is None and not _only_size(facts.error):
            families.setdefault(_family(split, facts.raw.kind, _colors([(split, facts)])), []).append((split, facts))
    for family, where in sorted(families.items()):
        yield _MAKERS[family](where, labels, whole)


def _only_size(error: Exception | None) -> bool:
    from segkit.errors import ShapeError

    return isinstance(error, ShapeError)


def _family(split: Split, kind: str, colors: Counter[int]) -> str:
    if kind == "rgba":
        return "rgba"
    if all(_is_grey(color) for color in colors):
        return "grey"
    known = {_code(color) for color in split.labels.value_palette}
    strange = sum(pixels for color, pixels in colors.items() if color not in known)
    if len(colors) > 64 or (len(colors) > 2 * len(known) and strange < 0.2 * sum(colors.values())):
        return "mixed"
    return "colors"


def _colors(where: Sequence[Seen]) -> Counter[int]:
    found: Counter[int] = Counter()
    for _, facts in where:
        if facts.raw is not None:
            found.update(facts.raw.counts)
    return found


def _rgba(where: list[Seen], labels: Labels, whole: int) -> Problem:
    colors = _colors(where)
    return items_problem(
        "rgba",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_be(where)} RGBA, as a palette mask becomes when a program opens it "
        "and "
        f"saves it again; the ids are lost, their colours are left: {_shown(colors)}",
        where,
        f"{_recover(colors, labels)}. Without their alpha channel they can be read as colours: "
        '`Image.open(path).convert("RGB")`',
    )


def _colored(where: list[Seen], labels: Labels, whole: int) -> Problem:
    colors = _colors(where)
    return items_problem(
        "colors",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} colour codes that the labels do not know; "
        f"{len(colors)} colours: {_shown(colors)}",
        where,
        _recover(colors, labels),
    )


def _grey(where: list[Seen], labels: Labels, whole: int) -> Problem:
    values = Counter({color & 255: pixels for color, pixels in _colors(where).items()})
    inside = all(value < len(labels.value_names) or value == labels.ignore_index for value in values)
    return items_problem(
        "grey_as_rgb",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_be(where)} saved as RGB with three equal channels; the values: "
        f"{listed(sorted(values), 12)}",
        where,
        "Save one channel as 8-bit grey: `Image.fromarray(rgb[:, :, 0])`"
        + ("; its values are the labels' ids" if inside else ""),
    )


def _mixed(where: list[Seen], labels: Labels, whole: int) -> Problem:
    colors = _colors(where)
    return items_problem(
        "interpolated",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} mixed colours, {len(colors)} in all, as after a resize "
        "with "
        f"interpolation or in a JPEG; the most frequent: {_shown(colors)}",
        where,
        "Make the masks again from the originals: resize with nearest neighbour, save as PNG",
    )


_MAKERS = {"rgba": _rgba, "colors": _colored, "grey": _grey, "mixed": _mixed}


def _recover(colors: Counter[int], labels: Labels) -> str:
    """How the ids come back: by the labels' own palette, by Pascal VOC's, or by one that only the user knows."""
    own = {_code(color) for color in labels.value_palette}
    if colors.keys() <= own:
        return "These are the labels' colours: `labels.encode(rgb)` turns them into ids"
    voc = {_code(color): value for value, color in enumerate(voc_palette(256))}
    standing = {color: voc[color] for color in colors if color in voc}
    border = _code((224, 224, 192))
    if colors.keys() <= {*standing, border} and all(
        value < len(labels.value_names) or value == 255 for value in standing.values()
    ):
        ids = ", ".join(
            f"{_triple(color)}: {value}" for color, value in sorted(standing.items(), key=lambda one: one[1])
        )
        return f"These are colours of Pascal VOC's palette, which stand for ids ({ids})"
    return (
        "Give the labels each class's colour, `Labels(names, palette=[...])` in the order of the names, and colours "
        "that "
        "mean 'not labelled' as `ignore_colors`"
    )


def voc_palette(count: int) -> list[tuple[int, int, int]]:
    """Pascal VOC's colours: the bits of the id, dealt to red, green and blue from the highest bit on.

    Source:
        `VOClabelcolormap` of the VOC development kit (Everingham et al. 2010).
    """
    return [(_spread(value), _spread(value >> 1), _spread(value >> 2)) for value in range(count)]


def _spread(value: int) -> int:
    return sum(((value >> (3 * place)) & 1) << (7 - place) for place in range(8))


def _shown(colors: Counter[int]) -> str:
    pixels = sum(colors.values())
    return listed((f"{_triple(color)} {_percent(count / pixels)}" for color, count in colors.most_common()), 8)


def _percent(share: float) -> str:
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _triple(code: int) -> tuple[int, int, int]:
    return code >> 16, (code >> 8) & 255, code & 255


def _code(color: Sequence[int]) -> int:
    red, green, blue = (int(part) for part in color)
    return red << 16 | green << 8 | blue


def _is_grey(code: int) -> bool:
    red, green, blue = _triple(code)
    return red == green == blue


def _hold(where: Sequence[Seen]) -> str:
    return "holds" if len(where) == 1 else "hold"


def _be(where: Sequence[Seen]) -> str:
    return "is" if len(where) == 1 else "are"
