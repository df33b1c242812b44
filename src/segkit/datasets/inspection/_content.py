"""Images and masks that hold nothing to learn from: NaN, one colour, one class, all ignored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segkit._checks import counted
from segkit.datasets.inspection._split import Seen, Split, everything, items_problem, share_of
from segkit.datasets.inspection.problems import Problem

__all__ = ["check_content"]

_BACKGROUNDS = frozenset({"background", "bg", "none", "nothing", "unlabelled", "unlabeled", "other", "_background_"})


def check_content(splits: Sequence[Split]) -> Iterator[Problem]:
    """NaN pixels, constant images, constant and empty masks."""
    yield from _not_finite(splits)
    yield from _constant_images(splits)
    yield from _empty_masks(splits)
    yield from _constant_masks(splits)


def _not_finite(splits: Sequence[Split]) -> Iterator[Problem]:
    where = [seen for seen in everything(splits) if seen[1].image is not None and seen[1].image.not_finite]
    if where:
        values = sum(facts.image.not_finite for _, facts in where if facts.image is not None)
        yield items_problem(
            "nan",
            "error",
            f"{counted(len(where), 'image')} {_has(where)} {counted(values, 'value')} that {_be(values)} NaN or "
            "infinite; "
            "the loss of each batch with one is NaN",
            where,
            "Replace them, for example by 0 or by the image's mean, and set the mask to the ignored value there",
        )


def _constant_images(splits: Sequence[Split]) -> Iterator[Problem]:
    where = [seen for seen in everything(splits) if seen[1].image is not None and seen[1].image.constant]
    if where:
        yield items_problem(
            "constant_image",
            "warning",
            f"{counted(len(where), 'image')} {_has(where)} one colour throughout",
            where,
            "Look whether the files are damaged; a model learns nothing from them",
        )


def _empty_masks(splits: Sequence[Split]) -> Iterator[Problem]:
    where = [seen for seen in everything(splits) if seen[1].counts is not None and seen[1].counts.valid == 0]
    if where:
        whole = _whole(splits)
        yield items_problem(
            "empty_mask",
            "error" if len(where) == whole else "warning",
            f"{share_of(len(where), whole, 'mask')} {_be(len(where))} ignored in every pixel: nothing is learnt from "
            f"{'it' if len(where) == 1 else 'them'}",
            where,
            "Leave them out, or look whether a value was taken for the ignored one that is none",
        )


def _constant_masks(splits: Sequence[Split]) -> Iterator[Problem]:
    """One class alone: usual for a background, where an image may show nothing; odd for anything else."""
    odd: list[Seen] = []
    background: list[Seen] = []
    for split, facts in everything(splits):
        counts = facts.counts
        if counts is None or not counts.valid or split.labels.task == "multilabel":
            continue
        present = counts.pixels.nonzero()[0]
        if len(present) == 1 and counts.valid == counts.size:
            known = split.labels.value_names[0].strip().lower() in _BACKGROUNDS
            (background if known and present[0] == 0 else odd).append((split, facts))
    whole = _whole(splits)
    if odd:
        yield items_problem(
            "constant_mask",
            "warning",
            f"{share_of(len(odd), whole, 'mask')} {_has(odd)} one class in every pixel",
            odd,
            "Look whether the masks are finished",
        )
    if background:
        every = len(background) == whole
        yield items_problem(
            "background_mask",
            "error" if every and whole > 1 else "note",
            f"{share_of(len(background), whole, 'mask')} {_has(background)} background alone",
            background,
            "There is nothing to learn: look whether the masks' values were lost" if every else "",
        )


def _whole(splits: Sequence[Split]) -> int:
    return sum(1 for _, facts in everything(splits) if facts.counts is not None)


def _has(where: Sequence[Seen]) -> str:
    return "has" if len(where) == 1 else "have"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
