"""The recipe by which slices of a volume become images: what a data set and a predictor share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segkit._checks import check_int, check_number, check_unknown_options
from segkit.datasets._turn import turn, turn_back, turned_shape
from segkit.datasets.volumes import Volume
from segkit.errors import ConfigError, DataError, InputError

__all__ = ["VolumeReading"]


@dataclass(frozen=True, init=False)
class VolumeReading:
    """How the slices of a volume become images: the part of preprocessing that needs the whole volume.

    A data set reads by it, a trained model keeps it, and `segkit.inference.Predictor.predict` reads by it again.

    Args:
        axes: along which axes slices are taken: 0, 1 or 2, or several. With several a model learns the slices of all,
            and its prediction for a volume is the mean of the probabilities along each.
        neighbours: so many slices on both sides are further channels (2.5-D), the lowest slice first; beyond the
            volume its last slice is repeated.
        percentiles: values below and above these of the volume, a channel, are clipped; None clips nothing.
        zscore: the mean of the volume is taken off and its standard deviation divided by, a channel.
        canonical: the axes are turned to point right, anterior and superior, as nearly as the affine allows, so that
            an axis means the same in every file. Predictions are turned back.
        mirror: axes along which the volume is also predicted flipped, and the probabilities averaged.

    Values that are not finite count for no statistics and become the lowest value.

    Raises:
        InputError: a value out of range.

    Example:
        >>> reading = VolumeReading(axes=2, neighbours=1)
        >>> prepared = reading.prepare(Volume(np.arange(60.0).reshape(3, 4, 5)))
        >>> reading.image(prepared, axis=2, index=0).shape
        (3, 3, 4)
        >>> reading.to_dict()["volume"]["axes"]
        [2]
    """

    axes: tuple[int, ...]
    neighbours: int
    percentiles: tuple[float, float] | None
    zscore: bool
    canonical: bool
    mirror: tuple[int, ...]

    def __init__(
        self,
        *,
        axes: int | Sequence[int] = 2,
        neighbours: int = 0,
        percentiles: Sequence[float] | None = (0.5, 99.5),
        zscore: bool = True,
        canonical: bool = True,
        mirror: Sequence[int] = (),
    ) -> None:
        settled = {
            "axes": _check_axes("axes", axes if isinstance(axes, Sequence) else [axes]),
            "neighbours": check_int("neighbours", neighbours, minimum=0),
            "percentiles": None if percentiles is None else _check_percentiles(percentiles),
            "zscore": _check_bool("zscore", zscore),
            "canonical": _check_bool("canonical", canonical),
            "mirror": _check_axes("mirror", mirror),
        }
        if not settled["axes"]:
            raise InputError("`axes` must name at least one axis: 0, 1 or 2")
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def prepare(self, volume: Volume, where: str = "") -> NDArray[np.float32]:
        """The whole volume as its slices are cut from: turned, clipped and scaled, ``(C, D, H, W)``.

        Raises:
            DataError: a channel without a finite value; the message has ``where``.
        """
        array = np.asarray(volume.array).reshape(volume.channels, *volume.shape)
        turned = self.turned(array, volume.affine)
        return np.stack([self._scaled(channel, f" in {where}" if where else "") for channel in turned])

    def turned(self, array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
        """An array whose last three axes are a volume's, turned as `prepare` does."""
        return turn(array, affine) if self.canonical else array

    def turned_back(self, array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
        """The opposite of `turned`."""
        return turn_back(array, affine) if self.canonical else array

    def turned_shape(self, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> tuple[int, int, int]:
        """The shape that a volume has once turned."""
        return turned_shape(shape, affine) if self.canonical else shape

    def image(self, prepared: NDArray[np.float32], axis: int, index: int) -> NDArray[np.float32]:
        """The slice at ``index`` along ``axis`` with its neighbours, ``((2 * neighbours + 1) * C, H, W)``."""
        last = prepared.shape[axis + 1] - 1
        numbers = [min(max(index + step, 0), last) for step in range(-self.neighbours, self.neighbours + 1)]
        slices = np.moveaxis(prepared.take(numbers, axis=axis + 1), axis + 1, 0)  # (2n + 1, C, H, W)
        return np.ascontiguousarray(slices.reshape(-1, *slices.shape[2:]))

    def channels(self, volume_channels: int) -> int:
        """How many channels an image has: the ``in_channels`` of a model."""
        return (2 * self.neighbours + 1) * volume_channels

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the key ``"volume"``, for `segkit.models.Segmenter.reading`."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {"volume": {name: list(value) if isinstance(value, tuple) else value for name, value in values}}

    @classmethod
    def from_dict(cls, reading: Mapping[str, Any]) -> Self:
        """Build the recipe from what `to_dict` returned; what cannot be used raises `ConfigError`."""
        values = reading.get("volume")
        if not isinstance(values, Mapping):
            raise ConfigError(f"the recipe of a volume must be an object `volume`; got {str(reading)[:200]}")
        try:
            check_unknown_options("VolumeReading", values, [field.name for field in fields(cls)])
            return cls(**values)
        except (InputError, TypeError) as error:
            raise ConfigError(f"this recipe of a volume cannot be used: {error}") from error

    def _scaled(self, channel: NDArray[Any], where: str) -> NDArray[np.float32]:
        values = channel.astype(np.float32)
        finite = np.isfinite(values)
        known = values[finite]
        if not known.size:
            raise DataError(f"every value{where} is NaN or infinite; export the volume again")
        low, high = known.min(), known.max()
        if self.percentiles is not None:
            low, high = np.percentile(known, self.percentiles).astype(np.float32)
        values = np.where(finite, values, low).clip(low, high)
        if not self.zscore:
            return values
        known = known.clip(low, high).astype(np.float64)
        deviation = known.std()
        # A constant volume has nothing to scale.
        scaled = (values - known.mean()) / (deviation if deviation > 0 else 1.0)
        return np.asarray(scaled, np.float32)


def _check_bool(argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"`{argument}` must be True or False; got {value!r}")
    return value


def _check_axes(argument: str, axes: Sequence[int]) -> tuple[int, ...]:
    checked = tuple(check_int(argument, axis, minimum=0, maximum=2) for axis in axes)
    if len(set(checked)) < len(checked):
        raise InputError(f"`{argument}` names an axis twice: {list(checked)}")
    return checked


def _check_percentiles(percentiles: Sequence[float]) -> tuple[float, float]:
    if not isinstance(percentiles, Sequence) or len(percentiles) != 2:
        raise InputError(f"`percentiles` must be (lowest, highest), such as (0.5, 99.5); got {percentiles!r}")
    low, high = (check_number("percentiles", value, minimum=0, maximum=100) for value in percentiles)
    if low >= high:
        raise InputError(f"`percentiles` must be (lowest, highest), such as (0.5, 99.5); got {percentiles!r}")
    return low, high
