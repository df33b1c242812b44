"""Files that name the items of each part of a split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit._checks import counted, listed
from segkit._files import read_json, write_json
from segkit.datasets._base import Pairs
from segkit.datasets.splits import Subset
from segkit.errors import DataError, InputError
from segkit.labels import Labels

__all__ = ["load_split", "save_split"]


def save_split(path: str | os.PathLike[str], parts: Mapping[str, Pairs]) -> None:
    """Write a JSON file that names the items of each part by their ids.

    Args:
        path: the file.
        parts: data sets by name, such as ``{"train": train, "val": val}``.

    Raises:
        InputError: a part without ids, an id that occurs twice, or one in two parts.

    Example:
        >>> from segkit.datasets import StreetScenes, random_split
        >>> train, val = random_split(StreetScenes(10), [0.7, 0.3])
        >>> save_split("split.json", {"train": train, "val": val})
        >>> [len(part) for part in load_split("split.json", StreetScenes(10)).values()]
        [7, 3]
    """
    named: dict[str, list[str]] = {}
    for name, part in parts.items():
        ids = getattr(part, "ids", None)
        if ids is None:
            raise InputError(f"the part {name!r} ({type(part).__name__}) has no `ids` to name its items by")
        named[name] = [str(one) for one in ids]
    try:
        _check_parts(named, "the parts")
    except DataError as error:
        raise InputError(str(error)) from None
    write_json(Path(path), named)


def load_split(
    path: str | os.PathLike[str], dataset: Pairs, labels: Labels | None = None, *, partial: bool = False
) -> dict[str, Subset]:
    """Read a file that `save_split` wrote (or ``split.json`` of a run), and take the items that it names.

    Args:
        path: the file.
        dataset: any data set with (image, mask) items; one without ``ids`` is named by the indices.
        labels: as in `Subset`.
        partial: True leaves out items that the file does not name, instead of raising.

    Returns:
        A `Subset` a part, by its name, the items in the file's order.

    Raises:
        MissingFileError: no such file.
        DataError: a file of another kind, an id in two places, ids that the data set does not have, or items of it that
            the file does not name (the first ten are named).
    """
    file = Path(path)
    named = _check_form(read_json(file), file)
    _check_parts(named, str(file))
    places = _places(dataset)
    known = {one for ids in named.values() for one in ids}
    for what, ids in (
        (f"that {type(dataset).__name__} does not have", [one for one in known if one not in places]),
        ("", [] if partial else [one for one in places if one not in known]),
    ):
        if ids and what:
            raise DataError(f"{file} names {counted(len(ids), 'item')} {what}: {listed(sorted(ids))}")
        if ids:
            raise DataError(
                f"{file} does not name {counted(len(ids), 'item')} of {type(dataset).__name__}: {listed(sorted(ids))}; "
                "split anew, or pass `partial=True` to leave them out"
            )
    return {name: Subset(dataset, [places[one] for one in ids], labels) for name, ids in named.items()}


def _check_form(value: object, file: Path) -> dict[str, list[str]]:
    named = value if isinstance(value, dict) else {}
    fits = all(isinstance(ids, list) and all(isinstance(one, str) for one in ids) for ids in named.values())
    if not named or not fits:
        raise DataError(f'{file} is no split; expected lists of ids by name, such as {{"train": ["a"], "val": ["b"]}}')
    return named


def _check_parts(named: Mapping[str, Sequence[str]], where: str) -> None:
    for name, ids in named.items():
        twice = sorted(one for one, count in Counter(ids).items() if count > 1)
        if twice:
            raise DataError(f"{where}: {name!r} names {listed(twice)} more than once")
    seen: dict[str, str] = {}
    for name, ids in named.items():
        for one in ids:
            if one in seen:
                raise DataError(f"{where}: {one!r} is both in {seen[one]!r} and in {name!r}; an item is in one part")
            seen[one] = name


def _places(dataset: Pairs) -> dict[str, int]:
    """Where each id stands."""
    ids = getattr(dataset, "ids", None)
    names = [str(index) for index in range(len(dataset))] if ids is None else [str(one) for one in ids]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"{type(dataset).__name__} has several items of one id, {listed(twice)}; a file cannot name them"
        )
    return {name: index for index, name in enumerate(names)}
