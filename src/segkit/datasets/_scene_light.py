"""Light and weather: from a part's own colour to what the eye sees, and from that to what the camera keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_random import Draws

__all__ = ["SHADES", "Color", "Light", "Packed", "choose_light", "pack"]

Color: TypeAlias = tuple[float, float, float]
Packed: TypeAlias = NDArray[np.uint32]
"""Colours as four bytes, red first in memory; the last byte is unused."""

SHADES = (0.5 + 0.0625 * np.arange(16.0))[:, None]
"""How light each of a code's sixteen shades is, (16, 1); shade 8 is 1."""


def pack(colors: NDArray[Any]) -> Packed:
    """Turn colours ``(..., 3)`` of 0 and more into packed ones ``(...)``, cut at 255."""
    four = np.zeros((*colors.shape[:-1], 4), np.uint8)
    four[..., :3] = np.minimum(colors, 255.0)
    packed: Packed = four.view(np.uint32)[..., 0]
    return packed


@dataclass(frozen=True)
class Light:
    """The light of one scene.

    ``ambient`` multiplies every colour; ``sun`` is the side it comes from (-1 left, 1 right) and ``strength`` how much
    the lit and the unlit side of things differ (0 overcast); ``haze`` is the colour that things take with distance,
    half of it at ``visibility`` metres. At night lamps and windows glow.
    """

    ambient: Color
    sun: int
    strength: float
    haze: Color
    visibility: float
    sky: tuple[Color, Color]
    cloud: Color
    clouds: float
    night: bool
    rain: float
    gain: Color
    contrast: float
    noise: int
    softness: int

    def facing(self, side: float) -> float:
        """How lit a face is that looks to ``side`` (-1 left, 0 to the eye, 1 right)."""
        return 1.0 + 0.35 * self.strength * side * self.sun

    def palette(self, colors: Sequence[Color], z: float, lit: float = 1.0, glow: Sequence[int] = ()) -> Packed:
        """The 256 packed colours of codes whose parts 1, 2, ... have ``colors``, at distance ``z``.

        The parts in ``glow`` shine by themselves.
        """
        share = z / (z + self.visibility)
        clear = 1.0 - share
        (red, green, blue), bright = self.ambient, lit * clear
        red, green, blue = red * bright, green * bright, blue * bright
        seen = [(r * red, g * green, b * blue) for r, g, b in colors]
        for part in glow:
            r, g, b = colors[part - 1]
            seen[part - 1] = r * clear, g * clear, b * clear
        table = np.array(seen)[:, None, :] * SHADES
        table += [part * share for part in self.haze]
        four = np.zeros((16, 16, 4), np.uint8)
        np.minimum(table, 255.0, out=four[1 : len(seen) + 1, :, :3], casting="unsafe")
        packed: Packed = four.view(np.uint32).reshape(256)
        return packed

    def color(self, color: Color, z: float, lit: float = 1.0) -> int:
        """One packed colour at distance ``z``."""
        return int(self.palette([color], z, lit)[24])


_WEATHERS = ("sunny", "sunny", "sunny", "overcast", "overcast", "haze", "rain", "dusk")


def choose_light(draws: Draws) -> Light:
    """Draw the weather, the hour and the camera."""
    weather = draws.pick(_WEATHERS)
    warm = draws.uniform(-0.08, 0.08)
    camera = draws.uniform(0.84, 1.14)
    ambient, sky, cloud, haze = _mood(weather, draws)
    return Light(
        ambient=ambient,
        sun=draws.sign(),
        strength={"sunny": draws.uniform(0.6, 1.0), "dusk": 0.25, "haze": 0.25}.get(weather, 0.1),
        haze=haze,
        visibility={"haze": draws.uniform(45, 110), "rain": draws.uniform(90, 220), "dusk": 350.0}.get(weather, 700.0),
        sky=sky,
        cloud=cloud,
        clouds=1.0 if weather in ("overcast", "rain") else draws.uniform(0.0, 0.9),
        night=weather == "dusk",
        rain=draws.uniform(0.4, 1.0) if weather == "rain" else 0.0,
        gain=(camera * (1 + warm), camera * (1 + draws.uniform(-0.04, 0.04)), camera * (1 - warm)),
        contrast=draws.uniform(-0.3, 0.35),
        noise=draws.integer(7) + (2 if weather == "dusk" else 0),
        softness=draws.integer(3),
    )


def _mood(weather: str, draws: Draws) -> tuple[Color, tuple[Color, Color], Color, Color]:
    """Ambient light, sky (above, at the horizon), clouds and haze."""
    k = draws.uniform(0.9, 1.1)
    if weather == "sunny":
        above: Color = (draws.uniform(60, 130) * k, draws.uniform(120, 165) * k, draws.uniform(190, 235) * k)
        low: Color = (200 * k, 215 * k, 230 * k)
        return (1.06 * k, 1.03 * k, 0.97 * k), (above, low), (245, 245, 248), (190, 205, 225)
    if weather == "dusk":
        above = (draws.uniform(40, 90), draws.uniform(50, 90), draws.uniform(90, 130))
        low = (draws.uniform(190, 240), draws.uniform(130, 170), draws.uniform(80, 140))
        return (0.56 * k, 0.5 * k, 0.56 * k), (above, low), (150, 110, 110), (140, 110, 110)
    grey = draws.uniform(150, 235) if weather != "rain" else draws.uniform(130, 190)
    sky = ((grey * 0.92, grey * 0.96, grey), (grey * 1.05, grey * 1.05, grey * 1.04))
    dark = 0.72 if weather == "rain" else 0.88
    return (dark * k, dark * k, 0.98 * dark * k), sky, (grey * 0.82, grey * 0.84, grey * 0.88), (grey, grey, grey)
