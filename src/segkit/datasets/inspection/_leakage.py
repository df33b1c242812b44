"""What lies on both sides of a split: the same image, nearly the same image, or the same group of images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segkit._checks import counted, listed
from segkit.datasets.inspection._facts import Facts
from segkit.datasets.inspection._groups import GroupRule, guessed_rule, named_groups
from segkit.datasets.inspection._hash import MAX_BITS, MIN_CORRELATION
from segkit.datasets.inspection._split import Split
from segkit.datasets.inspection.problems import Problem

__all__ = ["check_leakage", "near_pairs", "shared_groups"]

_ROWS = 1024  # hashes compared with all others at a time
_MOST_PAIRS = 1000
# A guess from names is believed if the pictures agree: an item's nearest picture of the other split is of its own group
# so often that chance would do it in fewer than one case in a thousand.
_CHANCE = 1e-3


def check_leakage(splits: Sequence[Split], groups: GroupRule | None) -> Iterator[Problem]:
    """Equal images within a data set; equal and near-equal images, and groups, in two of them."""
    for split in splits:
        yield from _duplicates(split)
    for position, first in enumerate(splits):
        for second in splits[position + 1 :]:
            equal = _equal(first, second)
            if equal:
                yield _equal_problem(first, second, equal)
            near = [pair for pair in near_pairs(first.facts, second.facts) if pair not in set(equal)]
            if near:
                yield _near_problem(first, second, near)
            yield from _group_problem(first, second, groups)


def _duplicates(split: Split) -> Iterator[Problem]:
    places: dict[bytes, list[Facts]] = {}
    for facts in split.facts:
        if facts.image is not None and not facts.image.constant:
            places.setdefault(facts.image.digest, []).append(facts)
    pairs = [(same[0], other) for same in places.values() for other in same[1:]]
    if pairs:
        torn = sum(one.mask_digest != other.mask_digest for one, other in pairs)
        yield Problem(
            kind="duplicate_image",
            severity="warning",
            message=f"{counted(len(pairs), 'image')} in {split.name} {'is' if len(pairs) == 1 else 'are'} there twice"
            + (f", {torn} of them with another mask each time" if torn else ""),
            suggestion="Remove one of each" + (", the one with the worse mask" if torn else ""),
            items=tuple(f"{split.named(one.name)} = {other.name}" for one, other in pairs),
            places=tuple((split.number, facts.index) for pair in pairs for facts in pair),
            paired=True,
        )


def _equal(first: Split, second: Split) -> list[tuple[int, int]]:
    """Images with the same pixels, as positions in both. Those of one colour are not: all black ones are equal."""
    known: dict[bytes, int] = {}
    for position, facts in enumerate(first.facts):
        if facts.image is not None and not facts.image.constant:
            known.setdefault(facts.image.digest, position)
    return [
        (known[facts.image.digest], position)
        for position, facts in enumerate(second.facts)
        if facts.image is not None and facts.image.digest in known
    ]


def _equal_problem(first: Split, second: Split, pairs: list[tuple[int, int]]) -> Problem:
    return _pair_problem(
        "leak_equal",
        first,
        second,
        pairs,
        f"{counted(len(pairs), 'image')} of {second.name} {_be(pairs)} in {first.name}, too, pixel by pixel: what is "
        "measured there was learnt by heart",
        "Remove them from one of the two",
    )


def _near_problem(first: Split, second: Split, pairs: list[tuple[int, int]]) -> Problem:
    return _pair_problem(
        "leak_near",
        first,
        second,
        pairs,
        f"{counted(len({one for _, one in pairs}), 'image')} of {second.name} {_look(pairs)} almost like one in "
        f"{first.name} (at most {MAX_BITS} of 64 bits of a perceptual hash differ, and their thumbnails correlate by "
        f"{MIN_CORRELATION} or more): copies at another size or quality, or neighbouring frames",
        "Keep what belongs together on one side: `random_split(groups=...)`",
    )


def _pair_problem(
    kind: str, first: Split, second: Split, pairs: list[tuple[int, int]], message: str, suggestion: str
) -> Problem:
    found = [(first.facts[one], second.facts[other]) for one, other in pairs]
    return Problem(
        kind=kind,
        severity="error" if kind == "leak_equal" else "warning",
        message=message,
        suggestion=suggestion,
        items=tuple(f"{first.named(one.name)} {'=' if kind == 'leak_equal' else '~'} {second.named(other.name)}"
                    for one, other in found),
        places=tuple(
            place for one, other in found for place in ((first.number, one.index), (second.number, other.index))
        ),
        paired=True,
    )  # fmt: skip


def near_pairs(first: Sequence[Facts], second: Sequence[Facts]) -> list[tuple[int, int]]:
    """For each image of ``second`` the nearest of ``first`` by its hash, if it is near enough; as positions in both."""
    ours, our_hashes = _hashes(first)
    theirs, their_hashes = _hashes(second)
    pairs: list[tuple[int, int]] = []
    if not len(ours):
        return pairs
    for start in range(0, len(theirs), _ROWS):
        bits = np.bitwise_count(their_hashes[start : start + _ROWS, None] ^ our_hashes[None])
        for row, column in zip(*np.nonzero(bits <= MAX_BITS), strict=True):
            one, other = int(ours[column]), int(theirs[start + row])
            if _alike(first[one], second[other]):
                pairs.append((one, other))
    best: dict[int, tuple[int, int]] = {}
    for one, other in pairs:
        score = _distance(first[one], second[other])
        if other not in best or score < best[other][0]:
            best[other] = score, one
    return [(one, other) for other, (_, one) in sorted(best.items())][:_MOST_PAIRS]


def _hashes(facts: Sequence[Facts]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    found = [(place, one.image.hash) for place, one in enumerate(facts) if one.image and one.image.hash is not None]
    return np.array([place for place, _ in found], np.int64), np.array([bits for _, bits in found], np.uint64)


def _distance(one: Facts, other: Facts) -> int:
    assert one.image is not None
    assert other.image is not None
    return ((one.image.hash or 0) ^ (other.image.hash or 0)).bit_count()


def _alike(one: Facts, other: Facts) -> bool:
    """Whether the thumbnails agree, whatever the brightness and contrast."""
    assert one.image is not None
    assert other.image is not None
    first, second = _centred(one.image.thumb), _centred(other.image.thumb)
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return scale > 0 and float(first @ second) >= MIN_CORRELATION * scale


def _centred(thumb: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = thumb.astype(np.float64).ravel()
    return np.asarray(values - values.mean())


def _group_problem(first: Split, second: Split, rule: GroupRule | None) -> Iterator[Problem]:
    found = _groups(first, second, rule)
    if found is None:
        return
    ours, theirs, how = found
    shared = shared_groups(ours, theirs)
    if not shared:
        return
    guess = how == "guessed"
    support = _support(first, second, ours, theirs) if guess else ""
    in_first = sum(name in shared for name in ours)
    in_second = sum(name in shared for name in theirs)
    source = {
        "known": "the data set's groups",
        "pattern": "groups by the pattern that was given",
        "guessed": "a guess: groups read off the beginnings of the names",
    }[how]
    doubt = "" if not guess or support else "; the pictures themselves do not confirm it"
    one = len(shared) == 1
    yield Problem(
        kind="leak_group",
        severity="note" if guess and not support else "warning",
        message=f"{second.name} shares {counted(len(shared), 'group')} with {first.name}: {listed(shared)} "
        f"({source}{support}{doubt}). {in_second} of {len(theirs)} items of {second.name} and {in_first} of "
        f"{len(ours)} "
        f"of {first.name} are of {'it' if one else 'them'}, so that scores on {second.name} say little of unseen "
        "groups",
        suggestion="Split by groups, `random_split(dataset, fractions, groups=...)`, or say that the score is one of "
        "seen "
        "groups",
        items=tuple(shared),
        places=_one_pair_a_group(first, second, ours, theirs, shared),
        paired=True,
    )


def _groups(first: Split, second: Split, rule: GroupRule | None) -> tuple[Sequence[str], Sequence[str], str] | None:
    names = [[facts.name for facts in split.facts] for split in (first, second)]
    if rule is not None:
        return named_groups(rule, names[0]), named_groups(rule, names[1]), "pattern"
    ours, theirs = (getattr(split.dataset, "groups", None) for split in (first, second))
    if ours is not None and theirs is not None:
        return [str(name) for name in ours], [str(name) for name in theirs], "known"
    guess = guessed_rule(names)
    return None if guess is None else ([*map(guess, names[0])], [*map(guess, names[1])], "guessed")


def shared_groups(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """The groups on both sides, in order."""
    return sorted(set(ours) & set(theirs))


def _one_pair_a_group(
    first: Split, second: Split, ours: Sequence[str], theirs: Sequence[str], shared: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """An item of each side, to look at: the two of a group that look most alike."""
    places = []
    for name in shared[:3]:
        left = [facts for facts, group in zip(first.facts, ours, strict=True) if group == name and facts.image]
        right = [facts for facts, group in zip(second.facts, theirs, strict=True) if group == name and facts.image]
        pairs = ((one, other) for one in left[:200] for other in right[:50])
        best = min(pairs, key=lambda pair: (_distance(*pair), pair[0].index, pair[1].index), default=None)
        if best is not None:
            places += [(first.number, best[0].index), (second.number, best[1].index)]
    return tuple(places)


def _support(first: Split, second: Split, ours: Sequence[str], theirs: Sequence[str]) -> str:
    """What the pictures say to a guess: how many have their nearest picture of the other split in their own group."""
    left = [(facts, group) for facts, group in zip(first.facts, ours, strict=True) if facts.image is not None]
    right = [(facts, group) for facts, group in zip(second.facts, theirs, strict=True) if facts.image is not None]
    right = [pair for pair in right if pair[1] in set(ours)][:500]
    if not left or not right:
        return ""
    thumbs, names = _unit([facts for facts, _ in left]), np.array([group for _, group in left])
    nearest = (_unit([facts for facts, _ in right]) @ thumbs.T).argmax(axis=1)
    hits = int(sum(names[place] == group for place, (_, group) in zip(nearest, right, strict=True)))
    chance = float(np.mean([(names == group).mean() for _, group in right]))
    if _binomial_tail(hits, len(right), chance) > _CHANCE:
        return ""
    return (
        f"; the pictures confirm it: {hits} of {len(right)} images have their nearest look-alike in their own group, "
        f"{round(chance * len(right))} would by chance"
    )


def _unit(facts: Sequence[Facts]) -> NDArray[np.float64]:
    rows = np.array([_centred(one.image.thumb) for one in facts if one.image is not None])
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _binomial_tail(hits: int, trials: int, chance: float) -> float:
    """The probability of ``hits`` or more."""
    if chance >= 1:
        return 1.0
    return sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1))


def _be(pairs: Sequence[object]) -> str:
    return "is" if len(pairs) == 1 else "are"


def _look(pairs: Sequence[tuple[int, int]]) -> str:
    return "looks" if len(pairs) == 1 else "look"
