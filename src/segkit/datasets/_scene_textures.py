"""Textures of the scenes: fractal noise and tiles of walls, fences, hedges; whole numbers only, made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_sheet import Codes

__all__ = ["TILE", "facades", "fences", "fractal", "grain", "hedge", "roof"]

TILE = 256
_SEED = 20090
WALL, GLASS, BRIGHT_GLASS, FRAME, DOOR, BOARD, LIT_GLASS, BAND = range(1, 9)
"""Parts of a facade."""


def _cells(key: int, count: int) -> NDArray[np.int64]:
    draws = Draws(_SEED, key, count)
    return np.array([draws.integer(256) for _ in range(count * count)], np.int64).reshape(count, count)


def _stretch(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bilinear, wrapping, in whole numbers: (n, n) to (256, 256)."""
    count = len(cells)
    place = np.arange(TILE, dtype=np.int64) * count
    low, share = place // TILE, place % TILE
    high = (low + 1) % count
    rows = cells[low] * (TILE - share)[:, None] + cells[high] * share[:, None]
    total = rows[:, low] * (TILE - share) + rows[:, high] * share
    return np.asarray(total // (TILE * TILE), np.int64)


@lru_cache(maxsize=16)
def fractal(key: int, coarsest: int = 4, octaves: int = 6) -> NDArray[np.uint8]:
    """Wrapping noise (256, 256) over 0..255, the sum of ever finer and weaker octaves."""
    total = np.zeros((TILE, TILE), np.int64)
    for octave in range(octaves):
        total += _stretch(_cells(key, min(coarsest << octave, TILE))) << (octaves - octave)
    total -= total.min()
    return (total * 255 // int(total.max())).astype(np.uint8)


@lru_cache(maxsize=1)
def grain() -> NDArray[np.int16]:
    """Noise of a sensor (256, 256): the sum of four dice, about normal, standard deviation about 16."""
    total = sum(_cells(900 + i, TILE) for i in range(4))
    return np.asarray((total - 510) * 16 // 148, np.int16)


def _shade(noise: NDArray[Any], strength: int) -> NDArray[np.int64]:
    """Noise 0..255 as shades around neutral, ``strength`` shades to each side."""
    return 8 + ((noise.astype(np.int64) - 128) * strength + 64) // 128


def _brick(strength: int, key: int) -> NDArray[np.int64]:
    rows, columns = np.arange(TILE)[:, None], np.arange(TILE)[None, :]
    stone = _cells(key, 64)[rows // 4, ((columns + (rows // 4 % 2) * 4) // 8) % 32]
    mortar = (rows % 4 == 3) | ((columns + (rows // 4 % 2) * 4) % 8 == 7)
    return np.where(mortar, 10, _shade(stone, strength))


def _facade(key: int) -> Codes:
    """One wall of whole floors and bays: windows with frames, sills and panes, a shop or doors below."""
    draws = Draws(_SEED, 100, key)
    floors, bays = 2 + key % 5, 2 + draws.integer(4)
    noise = fractal(1 + key % 3)
    shade = _brick(2, 50 + key) if draws.chance(0.45) else _shade(noise, draws.pick((1, 2, 3)))
    codes = (WALL * 16 + shade + _shade(fractal(4), 2) - 8).clip(WALL * 16, WALL * 16 + 15).astype(np.uint8)
    floor, bay = TILE // floors, TILE // bays
    wide, tall = draws.uniform(0.3, 0.8), draws.uniform(0.4, 0.7)
    panes, shop = draws.pick((1, 2, 2, 3)), draws.chance(0.5)
    for row in range(floors):
        for column in range(bays):
            box = (row * floor, column * bay, floor, bay)
            if row == floors - 1 and shop:
                _shop(codes, box, draws)
            elif row == floors - 1 and draws.chance(0.3):
                _door(codes, box)
            else:
                _window(codes, box, (wide, tall, panes), draws)
    if draws.chance(0.5):
        for row in range(floors):
            codes[row * floor : row * floor + 4] = BAND * 16 + 9
    codes[:5] = BAND * 16 + 11
    return codes


def _window(codes: Codes, box: tuple[int, int, int, int], shape: tuple[float, float, int], draws: Draws) -> None:
    top, left, floor, bay = box
    wide, tall, panes = shape
    h, w = int(floor * tall), int(bay * wide)
    y, x = top + (floor - h) // 2, left + (bay - w) // 2
    rim = 3
    codes[y - rim : y + h + rim, x - rim : x + w + rim] = FRAME * 16 + 8
    codes[y + h + rim : y + h + rim + 3, x - rim - 2 : x + w + rim + 2] = FRAME * 16 + 4
    glass = draws.pick((GLASS, GLASS, GLASS, BRIGHT_GLASS, LIT_GLASS))
    pane = 8 + (np.arange(h)[:, None] * -5 // h) + draws.integer(4) + np.zeros((1, w), np.int64)
    codes[y : y + h, x : x + w] = glass * 16 + np.clip(pane, 0, 15)
    if draws.chance(0.25):  # a curtain or a blind
        codes[y : y + h * (1 + draws.integer(3)) // 4, x : x + w] = FRAME * 16 + 6
    for bar in range(1, panes):
        at = x + w * bar // panes
        codes[y : y + h, at - 1 : at + 2] = FRAME * 16 + 8
    codes[y + h // 2 : y + h // 2 + 2, x : x + w] = FRAME * 16 + 7


def _door(codes: Codes, box: tuple[int, int, int, int]) -> None:
    top, left, floor, bay = box
    w = bay * 2 // 5
    x, y = left + (bay - w) // 2, top + floor // 4
    codes[y - 3 : top + floor, x - 3 : x + w + 3] = FRAME * 16 + 8
    codes[y : top + floor, x : x + w] = DOOR * 16 + 7
    codes[y : y + floor // 6, x : x + w] = GLASS * 16 + 6
    codes[y + floor // 3 : top + floor - 6, x + w // 2 : x + w // 2 + 2] = DOOR * 16 + 3


def _shop(codes: Codes, box: tuple[int, int, int, int], draws: Draws) -> None:
    top, left, floor, bay = box
    codes[top + floor // 8 : top + floor, left : left + bay] = DOOR * 16 + 8
    codes[top + floor // 8 : top + floor // 3, left : left + bay] = BOARD * 16 + 8
    y0, y1 = top + floor // 6, top + floor // 4
    for letter in range(left + bay // 6, left + bay * 5 // 6, 8):  # letters nobody can read
        codes[y0 : y1 + draws.integer(4), letter : letter + 3 + draws.integer(3)] = FRAME * 16 + 12
    glass = draws.pick((GLASS, BRIGHT_GLASS, LIT_GLASS))
    y0, y1 = top + floor * 3 // 8, top + floor * 7 // 8
    pane = 9 - np.arange(y1 - y0)[:, None] * 5 // (y1 - y0) + np.zeros((1, bay - 10), np.int64)
    codes[y0:y1, left + 5 : left + bay - 5] = glass * 16 + pane
    for _ in range(4):  # goods and people behind the pane
        x, h = left + 8 + draws.integer(max(bay - 30, 1)), (y1 - y0) * (1 + draws.integer(3)) // 4
        codes[y1 - h : y1, x : x + 6 + draws.integer(8)] = draws.pick((BOARD, DOOR, FRAME)) * 16 + draws.integer(10)


@lru_cache(maxsize=1)
def facades() -> tuple[Codes, ...]:
    """Walls of 2 to 6 floors, four of each; a wall of index i has ``2 + i % 5`` floors."""
    return tuple(_facade(key) for key in range(20))


def _boards(key: int) -> Codes:
    columns = np.arange(TILE)
    board = _cells(key, 16).ravel()[columns // 12]
    shade = _shade(board[None, :], 2) + _shade(fractal(5), 2) - 8
    codes = 16 + shade.clip(2, 14)
    codes[:, columns % 12 == 0] = 16 + 2
    codes[TILE // 6 : TILE // 5] = 32 + 6
    codes[TILE * 4 // 5 : TILE * 5 // 6] = 32 + 6
    return codes.astype(np.uint8)


def _bars(step: int, bar: int) -> Codes:
    """Railings: part 15 is the gap between the bars, which shows what is behind, darkened."""
    columns = np.arange(TILE)
    codes = np.full((TILE, TILE), 15 * 16 + 8, np.int64)
    codes[:, columns % step < bar] = 16 + 8
    codes[:, columns % step == 0] = 16 + 12
    codes[:, columns % 64 < bar + 4] = 32 + 7
    for top in (0, TILE - 40):
        codes[top : top + 22] = 32 + 9
    return codes.astype(np.uint8)


def _mesh() -> Codes:
    rows, columns = np.arange(TILE)[:, None], np.arange(TILE)[None, :]
    codes = np.where(((rows + columns) % 20 < 7) | ((rows - columns) % 20 < 7), 16 + 8, 15 * 16 + 8)
    codes[:, np.arange(TILE) % 64 < 8] = 32 + 8
    codes[:18] = 32 + 10
    return codes.astype(np.uint8)


@lru_cache(maxsize=1)
def fences() -> tuple[Codes, ...]:
    """Boards, railings and mesh; 256 columns are 4 m."""
    return _boards(70), _boards(71), _bars(16, 7), _bars(24, 9), _bars(12, 6), _mesh()


@lru_cache(maxsize=1)
def hedge() -> Codes:
    """Leaves: part 1 and, in the light, part 2."""
    leaves = fractal(6, 16, 5).astype(np.int64)
    tall = np.arange(TILE)[:, None] * 4 // TILE
    codes = (1 + (leaves > 150)) * 16 + (_shade(leaves, 6) + 1 - tall).clip(0, 15)
    return np.asarray(codes, np.uint8)


@lru_cache(maxsize=1)
def roof() -> Codes:
    """Rows of tiles, part 1."""
    rows = np.arange(TILE)[:, None]
    shade = _shade(fractal(7, 32, 4), 3) - 3 * (rows % 16 < 3)
    return (16 + shade.clip(0, 15)).astype(np.uint8)
