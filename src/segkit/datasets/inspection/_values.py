"""Values of masks that are no class: the likely cause, and the mapping that would mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, listed
from segkit.datasets.inspection._colors import check_colors
from segkit.datasets.inspection._facts import Facts, RawMask
from segkit.datasets.inspection._split import Seen, Split, everything, items_problem, share_of
from segkit.datasets.inspection.problems import Problem
from segkit.labels import Labels

__all__ = ["check_values", "is_interpolated"]

# Of the borders between values two or more apart, the share that passes through a value in between: in CamVid's masks
# at most 0.021, at most 0.062 at a quarter of the size by nearest neighbour, at least 0.38 after bilinear resizing.
_RAMPS = 0.2
_MIN_STEPS = 40
_MANY = 32
_FLAT = 0.4


def check_values(splits: Sequence[Split]) -> Iterator[Problem]:
    """Values outside the labels by their cause; and the two faults that raise no error: 0/255 and interpolation."""
    yield from _types(splits)
    yield from check_colors(splits)
    families: dict[str, list[Seen]] = {}
    for split, facts in everything(splits):
        if facts.raw is not None and facts.raw.kind == "ids" and facts.strange:
            families.setdefault(_family(facts, facts.raw, split.labels), []).append((split, facts))
    labels, whole = splits[0].labels, _whole(splits)
    makers = {
        "interpolated": _interpolated,
        "zero_255": _zero_255,
        "picture": _picture,
        "next": _next_ids,
        "one_value": _void,
        "unknown": _unknown,
    }
    for family, make in makers.items():
        if family in families:
            yield from make(families[family], labels, whole, splits)
    yield from _silent_interpolation(splits, whole)
    yield from _silent_255(splits)


def is_interpolated(raw: RawMask) -> bool:
    """Whether the mask's borders pass through values in between, as no border that somebody drew does."""
    return raw.steps >= _MIN_STEPS and raw.ramps > _RAMPS * raw.steps


def _whole(splits: Sequence[Split]) -> int:
    return sum(1 for _, facts in everything(splits) if facts.raw is not None)


def _family(facts: Facts, raw: RawMask, labels: Labels) -> str:
    highest = len(labels.value_names) - 1
    if raw.values <= {0, 255}:
        return "zero_255"
    if len(raw.values) > _MANY and not _is_flat(raw, highest + 1):
        return "picture"
    if is_interpolated(raw) or (_is_jpeg(facts) and len(raw.values) > 8):
        return "interpolated"
    if len(facts.strange) == 1:
        return "next" if highest + 1 in facts.strange else "one_value"
    return "unknown"


def _is_flat(raw: RawMask, classes: int) -> bool:
    """Whether as many values as there are classes make up most of the mask; a picture has no such areas."""
    top = sorted(raw.counts.values(), reverse=True)[: classes + 1]
    return sum(top) > _FLAT * raw.size[0] * raw.size[1]


def _is_jpeg(facts: Facts) -> bool:
    return facts.mask_file is not None and facts.mask_file.suffix.lower() in (".jpg", ".jpeg")


def _types(splits: Sequence[Split]) -> Iterator[Problem]:
    where = [seen for seen in everything(splits) if seen[1].mask_dtype.startswith(("float", "complex"))]
    if where:
        yield items_problem(
            "mask_type",
            "error",
            f"{counted(len(where), 'mask')} of {where[0][1].mask_dtype}; expected whole numbers, the class ids",
            where,
            "Round them to class ids: `mask.round().to(torch.uint8)`, or read the masks as ids in the first place",
        )


def _zero_255(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    two = len(labels.value_names) == 2
    yield items_problem(
        "zero_255",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} 0 and 255 alone: a black-and-white picture, where the "
        f"labels know 0..{len(labels.value_names) - 1}",
        where,
        f"Map it: `values={{255: 1}}` makes 255 the class {labels.value_names[1]!r}" if two else _which(labels),
        {255: 1} if two else None,
    )


def _which(labels: Labels) -> str:
    return (
        "Say which class 255 is, such as `values={255: 1}`; where there is one class and its background, use "
        '`Labels([name], task="binary")`'
    )


def _silent_255(splits: Sequence[Split]) -> Iterator[Problem]:
    """Where 255 is the ignored value, a 0/255 mask raises nothing: the object is ignored, all else is class 0."""
    read = [
        (split, facts, facts.raw)
        for split, facts in everything(splits)
        if facts.counts is not None and facts.raw is not None and facts.raw.kind == "ids" and _takes_255_for_void(split)
    ]
    two = [(split, facts) for split, facts, raw in read if raw.values == {0, 255}]
    if not two or any(255 in raw.values and not raw.values <= {0, 255} for *_, raw in read):
        return  # 255 stands beside other classes somewhere: it is void
    every = all(raw.values <= {0, 255} for *_, raw in read)
    labels = splits[0].labels
    mapping = {255: 1} if len(labels.value_names) == 2 and every else {}
    yield items_problem(
        "zero_255",
        "error" if every else "warning",
        f"{share_of(len(two), len(read), 'mask')} {_hold(two)} 0 and 255 alone, and 255 means 'ignored': every pixel "
        "that "
        f"counts is class 0, {labels.value_names[0]!r}, and the object is learnt nowhere",
        two,
        "Map it: `values={255: 1}`" if mapping else _which(labels),
        mapping,
    )


def _takes_255_for_void(split: Split) -> bool:
    return split.labels.ignore_index == 255 and 255 not in (split.labels.values or {})


def _interpolated(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    jpeg = sum(_is_jpeg(facts) for _, facts in where)
    cause = "saved as JPEG, which changes values at every border" if jpeg == len(where) else _resized(jpeg)
    yield items_problem(
        "interpolated",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} values in between the classes along the borders "
        f"({_shown(where)}): {cause}",
        where,
        _mend_interpolated(where, labels),
        _halves(where, labels),
    )


def _resized(jpeg: int) -> str:
    return "resized with interpolation (bilinear or bicubic)" + (", or saved as JPEG" if jpeg else "")


def _mend_interpolated(where: list[Seen], labels: Labels) -> str:
    again = "Make the masks again from the originals: resize with nearest neighbour, save as PNG"
    return f"{again}; or cut at the middle with the mapping below" if _halves(where, labels) else again


def _halves(where: list[Seen], labels: Labels) -> dict[int, int]:
    """For two classes between 0 and 255 the middle is a fair guess; between ids no mapping is."""
    masks = [facts.raw for _, facts in where if facts.raw is not None]
    if len(labels.value_names) != 2 or not all(_mostly_ends(raw) for raw in masks):
        return {}
    return {value: int(value >= 128) for value in range(1, 256)}


def _mostly_ends(raw: RawMask) -> bool:
    ends = sum(pixels for value, pixels in raw.counts.items() if value <= 16 or value >= 239)
    return ends > 0.7 * sum(raw.counts.values()) and max(raw.values) > 200


def _silent_interpolation(splits: Sequence[Split], whole: int) -> Iterator[Problem]:
    where = [
        (split, facts)
        for split, facts in everything(splits)
        if facts.raw is not None and facts.raw.kind == "ids" and not facts.strange and is_interpolated(facts.raw)
    ]
    if where:
        steps, ramps = (sum(getattr(facts.raw, name) for _, facts in where) for name in ("steps", "ramps"))
        # No error, since a class may be drawn as a line around another: background, outline, inside are such ids.
        yield items_problem(
            "interpolated",
            "warning",
            f"{share_of(len(where), whole, 'mask')} {_hold(where)} doubtful classes along the borders: "
            f"{100 * ramps // steps} "
            "% of the borders between two ids pass through an id in between, as after a resize with interpolation",
            where,
            "Unless a class is drawn as a line around others, make the masks again from the originals: resize with "
            "nearest neighbour",
        )


def _picture(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    yield items_problem(
        "picture",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} more than {_MANY} different values: grey pictures, not "
        "class "
        f"ids ({_shown(where)})",
        where,
        "Look whether images lie in the folder of masks, or whether colour masks were saved as grey",
    )


def _next_ids(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    """The value after the last class: a void class that is not mapped, or ids that start at 1?

    Masks that hold both it and 0 have it as void. Of those without 0, the class shares decide where other masks are in
    order: the shift by one fits them better, or it does not. Where none are, a single mask with 0 tells all.
    """
    with_0 = [seen for seen in where if _has_0(seen)]
    without = [seen for seen in where if not _has_0(seen)]
    if without and not _is_shifted(without, bool(with_0), labels, splits):
        with_0, without = where, []
    if without:
        yield _one_too_high(without, labels, whole)
    if with_0:
        yield from _void(with_0, labels, whole, splits)


def _has_0(seen: Seen) -> bool:
    return seen[1].raw is not None and 0 in seen[1].raw.values


def _is_shifted(where: list[Seen], some_with_0: bool, labels: Labels, splits: Sequence[Split]) -> bool:
    classes = len(labels.value_names)
    usual = sum((facts.counts.pixels for _, facts in everything(splits) if facts.counts is not None), np.zeros(classes))
    if not usual.any():
        return not some_with_0
    raw = np.zeros(classes + 1)
    for _, facts in where:
        for value, pixels in (facts.raw.counts if facts.raw is not None else {}).items():
            if value <= classes:
                raw[value] += pixels
    return _distance(raw[1:], usual) + 0.05 < _distance(raw[:-1], usual)


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The total variation between two distributions: 0 for equal ones, 1 for those that share nothing."""
    return 0.5 * float(np.abs(one / max(one.sum(), 1) - other / max(other.sum(), 1)).sum())


def _one_too_high(where: list[Seen], labels: Labels, whole: int) -> Problem:
    classes = len(labels.value_names)
    every = len(where) == whole
    mapping = {0: labels.ignore_index} | {value + 1: value for value in range(classes)} if every else {}
    return items_problem(
        "one_too_high",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} ids that are one too high: 1..{classes} and never 0, "
        "where "
        f"the labels know 0..{classes - 1}",
        where,
        f"Subtract 1: `values={_written(mapping)}`"
        if every
        else "Subtract 1 in these files (a mapping would shift the other masks, too): save `mask - 1`",
        mapping,
    )


def _void(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    if _hides_a_class(where, splits):
        yield _no_void(where, labels, whole, splits)
        return
    values = sorted({value for _, facts in where for value in facts.strange})
    mapping = dict.fromkeys(values, labels.ignore_index)
    yield items_problem(
        "void",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} "
        f"{'the value' if len(values) == 1 else 'one of the values'} "
        f"{listed(values)} outside 0..{len(labels.value_names) - 1} ({_shown(where)}): a void class that is not mapped",
        where,
        f"Ignore it: `values={_written(mapping)}`; or, if it is a class, name it in the labels",
        mapping,
    )


def _classes_left(splits: Sequence[Split]) -> set[int]:
    """The classes that all masks together would hold if each value that is no class were ignored."""
    left: set[int] = set()
    for split, facts in everything(splits):
        if facts.raw is not None and facts.raw.kind == "ids":
            names, no_class = split.labels.values or {}, {*facts.strange, split.labels.ignore_index}
            left |= {names.get(value, value) for value in facts.raw.values} - no_class
    return left


def _hides_a_class(where: list[Seen], splits: Sequence[Split]) -> bool:
    """Whether ignoring the values would leave one class at most; what is negative (-1, -100) is void nevertheless."""
    return all(value > 0 for _, facts in where for value in facts.strange) and len(_classes_left(splits)) < 2


def _no_void(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Problem:
    """Values that cannot be void, since one class at most would be left: such as an object at 128, or at 65535."""
    strange = {value for _, facts in where for value in facts.strange}
    present = sorted(_classes_left(splits) | {value for _, facts in everything(splits) for value in facts.strange})
    mapping: dict[int, int] = {}
    if len(labels.value_names) == len(present) == 2:
        mapping = {value: becomes for becomes, value in enumerate(present) if value != becomes}
    return items_problem(
        "unknown_values",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} values outside 0..{len(labels.value_names) - 1} "
        f"({_shown(where)}): no void, since without {'it' if len(strange) == 1 else 'them'} the masks would hold one "
        "class at most",
        where,
        f"Map {'them' if len(mapping) > 1 else 'it'}: `values={_written(mapping)}`, if {present[1]} means "
        f"{labels.value_names[1]!r}"
        if mapping
        else f"Say which class each is, such as `values={{{max(strange)}: 1}}`",
        mapping,
    )


def _unknown(where: list[Seen], labels: Labels, whole: int, splits: Sequence[Split]) -> Iterator[Problem]:
    if _hides_a_class(where, splits):
        yield _no_void(where, labels, whole, splits)
        return
    values = sorted({value for _, facts in where for value in facts.strange})
    mapping = dict.fromkeys(values, labels.ignore_index)
    yield items_problem(
        "unknown_values",
        "error",
        f"{share_of(len(where), whole, 'mask')} {_hold(where)} values outside 0..{len(labels.value_names) - 1} "
        f"({_shown(where)}): labels that lack these ids",
        where,
        f"Name them, map each to its class, or ignore them: `values={_written(mapping)}`",
        mapping,
    )


def _shown(where: Sequence[Seen]) -> str:
    """The strange values with their pixels, the most frequent first."""
    found: Counter[int] = Counter()
    for _, facts in where:
        if facts.raw is not None:
            found.update({value: facts.raw.counts[value] for value in facts.strange if value in facts.raw.counts})
    return listed((f"{value}: {counted(pixels, 'pixel')}" for value, pixels in found.most_common()), 6)


def _written(mapping: Mapping[int, int]) -> str:
    pairs = [f"{value}: {becomes}" for value, becomes in mapping.items()]
    return "{" + ", ".join(pairs[:6]) + (", ..." if len(pairs) > 6 else "") + "}"


def _hold(where: Sequence[Seen]) -> str:
    return "holds" if len(where) == 1 else "hold"
