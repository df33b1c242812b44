"""Distances between surfaces: Hausdorff, HD95, average symmetric distance, normalised surface Dice; in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_choice, check_int, check_number
from segkit.errors import InputError
from segkit.metrics._blocks import default_threads
from segkit.metrics._inputs import LabelsLike, check_classes, check_names, image_pairs
from segkit.metrics._surface import find_surfaces
from segkit.metrics._tables import as_html, as_markdown, as_text
from segkit.metrics._threads import share
from segkit.metrics.counting import raise_out_of_range
from segkit.metrics.formulas import mean_defined

__all__ = ["SurfaceScores", "surface_scores"]

Table = NDArray[np.float64]

COST = 64
"""How many times as long as counting a pixel its share of the surfaces takes: each image is worth a thread."""


@dataclass(frozen=True, eq=False)
class SurfaceScores:
    """Surface scores of each image and class, ``(N, K)`` float64.

    NaN where neither side has the class. Where only one has it, distances are inf and the surface Dice is 0.

    Attributes:
        hausdorff: the largest distance of a surface pixel of either side to the other side's surface.
        hd95: the larger of the two sides' 95th percentiles of these distances.
        assd: the mean of all these distances (average symmetric surface distance).
        nsd: the share of both sides' surface pixels within the tolerance of the other's (normalised surface Dice).
        names: one name a class.
        tolerance: of `nsd`, one a class, in units of the spacing.
    """

    hausdorff: Table
    hd95: Table
    assd: Table
    nsd: Table
    names: tuple[str, ...]
    tolerance: tuple[float, ...]

    @property
    def num_missed(self) -> NDArray[np.int64]:
        """How many images of each class ``(K,)`` have it on one side only: their distances are infinite."""
        missed: NDArray[np.int64] = np.isinf(self.hausdorff).sum(axis=0)
        return missed

    def mean(self, score: str) -> NDArray[np.float64]:
        """The mean over images ``(K,)`` of ``"hausdorff"``, ``"hd95"``, ``"assd"`` or ``"nsd"``.

        Of a distance the infinite ones are left out (`num_missed` says how many they are); NaN where nothing is left.
        """
        tables = {"hausdorff": self.hausdorff, "hd95": self.hd95, "assd": self.assd, "nsd": self.nsd}
        values = tables[check_choice("score", score, tables)]
        return mean_defined(np.where(np.isinf(values), np.nan, values), axis=0)

    def _rows(self) -> list[tuple[str, list[float]]]:
        columns = [*(self.mean(score) for score in ("hausdorff", "hd95", "assd", "nsd")), self.num_missed]
        return [(name, [float(column[k]) for column in columns]) for k, name in enumerate(self.names)]

    def _notes(self) -> str:
        return f"means over {len(self.hausdorff)} images; distances of images with the class on one side only left out"

    def __str__(self) -> str:
        return f"{as_text(TITLES, self._rows())}\n({self._notes()})"

    def to_markdown(self) -> str:
        """The means over images as a Markdown table."""
        return f"{as_markdown(TITLES, self._rows())}\n\n({self._notes()})"

    def _repr_html_(self) -> str:
        return f"{as_html(TITLES, self._rows())}<small>{self._notes()}</small>"


TITLES = ("class", "Hausdorff", "HD95", "ASSD", "NSD", "missed")


def surface_scores(
    pred: LabelsLike,
    target: LabelsLike,
    *,
    num_classes: int,
    ignore_index: int = 255,
    names: Iterable[str] | None = None,
    spacing: float | Sequence[float] = 1.0,
    tolerance: float | Sequence[float] = 1.0,
    dims: int = 2,
) -> SurfaceScores:
    """How far the classes' surfaces lie from each other.

    A surface pixel is one of the class that touches another value, by a side, or the border of the image. Ignored
    pixels belong to no class on either side. Only what the nearest offsets do not find needs scipy.

    Args:
        pred: class ids of one image, a batch along the first axis, or a sequence of images.
        target: the truth, of the same form.
        num_classes: how many classes there are.
        ignore_index: the value of ``target`` that is not judged.
        names: one name a class.
        spacing: the distance between neighbouring pixels, in mm say: one number, or one an axis of an image.
        tolerance: of the normalised surface Dice, in the same unit: one number, or one a class.
        dims: how many axes an image has: 2, or 3 for volumes ``(D, H, W)``.

    Raises:
        LabelError: a value outside the classes.
        MissingExtraError: scipy is not installed, and some surfaces lie far from each other.

    Example:
        >>> target = np.zeros((8, 8), int); target[2:6, 2:6] = 1
        >>> pred = np.roll(target, 1, axis=1)
        >>> result = surface_scores(pred, target, num_classes=2, tolerance=0.5)
        >>> result.hausdorff[0].tolist()
        [1.0, 1.0]

    Sources: Huttenlocher et al. 1993 (Hausdorff); Heimann et al. 2009 (ASSD); Nikolov et al. 2021, "Clinically
    applicable segmentation of head and neck anatomy" (surface Dice). Equal to MONAI's pixel surfaces.
    """
    num_classes, ignore_index = check_classes(num_classes, ignore_index)
    dims = check_int("dims", dims, minimum=1, maximum=3)
    steps = np.array(_one_each("spacing", spacing, dims, above=0))
    tolerances = _one_each("tolerance", tolerance, num_classes)
    pairs = image_pairs(pred, target, axes=dims)
    tables = np.full((4, len(pairs), num_classes), np.nan)

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            p, t = pairs[number]
            if p.ndim != dims:
                raise InputError(f"image {number} has {p.ndim} axes; `dims` is {dims}")
            raise_out_of_range(p, t, num_classes, ignore_index, f" of image {number}")
            tables[:, number] = _of_image(p, t, num_classes, ignore_index, steps, tolerances)

    share(work, range(len(pairs)), default_threads(COST * sum(p.size for p, _ in pairs)))
    hausdorff, hd95, assd, nsd = tables
    return SurfaceScores(hausdorff, hd95, assd, nsd, check_names(names, num_classes), tuple(tolerances))


def _one_each(argument: str, value: float | Sequence[float], count: int, above: float | None = None) -> list[float]:
    values = list(value) if isinstance(value, Sequence | np.ndarray) else [value] * count
    if len(values) != count:
        raise InputError(f"`{argument}` must be one number or {count}; got {len(values)}")
    return [check_number(argument, number, minimum=0, above=above) for number in values]


def _of_image(
    p: NDArray[Any],
    t: NDArray[Any],
    num_classes: int,
    ignore_index: int,
    spacing: NDArray[np.float64],
    tolerances: Sequence[float],
) -> Table:
    """Hausdorff, HD95, ASSD and NSD of each class, ``(4, K)``."""
    ignored = t == ignore_index
    ours = find_surfaces(np.where(ignored, num_classes, p), num_classes, spacing)
    theirs = find_surfaces(np.where(ignored, num_classes, t), num_classes, spacing)
    forth, back = ours.distances_to(theirs, spacing), theirs.distances_to(ours, spacing)
    table = np.full((4, num_classes), np.nan)
    for k in range(num_classes):
        one = np.sort(forth[ours.starts[k] : ours.starts[k + 1]])
        two = np.sort(back[theirs.starts[k] : theirs.starts[k + 1]])
        if one.size and two.size:
            number = one.size + two.size
            reach = tolerances[k] * (
                1 + 1e-9
            )  # a distance of exactly the tolerance is within it, however it is rounded
            near = np.searchsorted(one, reach, "right") + np.searchsorted(two, reach, "right")
            hd95 = max(_percentile(one, 0.95), _percentile(two, 0.95))
            table[:, k] = max(one[-1], two[-1]), hd95, (one.sum() + two.sum()) / number, near / number
        elif one.size or two.size:
            table[:, k] = np.inf, np.inf, np.inf, 0
    return table


def _percentile(values: NDArray[np.float64], share: float) -> float:
    """Linear between the two nearest of the sorted values, as numpy's default."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return float(values[low] + (place - low) * (values[high] - values[low]))
