"""Files that are missing, twice there, without a partner, broken, or cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from segkit._checks import counted
from segkit.datasets._pairing import Pairing
from segkit.datasets.inspection._facts import Facts, Fault
from segkit.datasets.inspection._split import Seen, Split, everything, items_problem
from segkit.datasets.inspection.problems import Problem
from segkit.errors import DataError, ShapeError

__all__ = ["check_files"]

_SAYS = {
    "missing": ("not there", "Bring the files back, or take their names off the list"),
    "truncated": ("cut off: the file ends before its format says", "Copy or download them again"),
    "unreadable": ("not readable", "Save or download them again, or leave them out"),
}


def check_files(splits: Sequence[Split]) -> Iterator[Problem]:
    """Faults of single files, and what does not pair."""
    for split in splits:
        pairing = getattr(split.dataset, "pairing", None)
        if isinstance(pairing, Pairing):
            yield from _unpaired(split, pairing)
    yield from _broken(splits)
    yield from _other_errors(splits)


def _unpaired(split: Split, pairing: Pairing) -> Iterator[Problem]:
    of = "" if split.alone else f" of {split.name}"
    for kind, paths, noun, partner in (
        ("image_without_mask", pairing.images_without_mask, "image", "no mask"),
        ("mask_without_image", pairing.masks_without_image, "mask", "no image"),
    ):
        if paths:
            have = "has" if len(paths) == 1 else "have"
            yield Problem(
                kind=kind,
                severity="error",
                message=f"{counted(len(paths), noun)}{of} {have} {partner}",
                suggestion=f"Add what is missing or remove them; {pairing.rule}" if pairing.rule else "",
                items=_names(paths),
            )
    if pairing.duplicates:
        yield Problem(
            kind="duplicate_name",
            severity="error",
            message=f"{counted(len(pairing.duplicates), 'name')}{of} "
            f"{'stands' if len(pairing.duplicates) == 1 else 'stand'} "
            "for several files; only the first is read",
            suggestion="Keep one file of each name",
            items=tuple(" = ".join(_names(paths)) for paths in pairing.duplicates),
        )


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    names = [path.name for path in paths]
    return tuple(names if len(set(names)) == len(names) else [str(path) for path in paths])


def _broken(splits: Sequence[Split]) -> Iterator[Problem]:
    found: dict[str, dict[str, tuple[Fault, Seen]]] = {}
    for split, facts in everything(splits):
        for fault in facts.faults:
            found.setdefault(fault.kind, {}).setdefault(fault.what, (fault, (split, facts)))
    for kind in ("missing", "truncated", "unreadable"):
        faults = list(found.get(kind, {}).values())
        if faults:
            says, suggestion = _SAYS[kind]
            first = "" if kind == "missing" else f"; the first: {faults[0][0].error.partition('; ')[0]}"
            noun = "file" if all("/" in fault.what or fault.is_mask for fault, _ in faults) else "item"
            be = "is" if len(faults) == 1 else "are"
            yield Problem(
                kind=kind,
                severity="error",
                message=f"{counted(len(faults), noun)} {be} {says}{first}",
                suggestion=suggestion,
                items=tuple(fault.what for fault, _ in faults),
                places=tuple((split.number, facts.index) for _, (split, facts) in faults),
            )


def _other_errors(splits: Sequence[Split]) -> Iterator[Problem]:
    """What a data set raised although its files can be read, and though neither values nor sizes explain it."""
    groups: dict[str, list[Seen]] = {}
    for split, facts in everything(splits):
        if facts.error is not None and not facts.faults and not _explained(facts):
            groups.setdefault(type(facts.error).__name__, []).append((split, facts))
    for name, where in groups.items():
        yield items_problem(
            "reader",
            "error",
            f"the data set raised {name} for {counted(len(where), 'item')}; the first: {where[0][1].error}",
            where,
        )


def _explained(facts: Facts) -> bool:
    """Colour masks, strange values, sizes and numbers of channels are found by checks of their own."""
    if facts.strange or (facts.raw is not None and facts.raw.kind != "ids"):
        return True
    if isinstance(facts.error, ShapeError):
        return facts.image is not None and facts.image.shape[1:] != facts.mask_size
    return isinstance(facts.error, DataError) and "channel" in str(facts.error)
