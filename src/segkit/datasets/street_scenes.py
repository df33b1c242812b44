"""StreetScenes: street scenes drawn on the spot, with exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit._checks import check_int
from segkit.datasets._base import DATASETS, Item, SegmentationDataset, check_index
from segkit.datasets._scene_random import Draws
from segkit.datasets._scene_street import Scene, draw_scene
from segkit.datasets._street_classes import STREET_CLASSES
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["SceneObject", "StreetScenes"]

_SMALLEST, _LARGEST = 32, 4096
_FIRST_OBJECT = 3  # 0, 1 and 2 are sky, road and pavement


@dataclass(frozen=True)
class SceneObject:
    """One thing of a scene that shows at least one pixel.

    Attributes:
        class_id: its class.
        box: ``(y0, x0, y1, x1)`` around its visible pixels, half-open.
        area: its visible pixels.
        full_area: the pixels it would have in the picture if nothing stood before it.
        occluded: the share of ``full_area`` that is hidden, 0 <= occluded < 1.
    """

    class_id: int
    box: tuple[int, int, int, int]
    area: int
    full_area: int
    occluded: float


@DATASETS.register("street_scenes")
class StreetScenes(SegmentationDataset):
    """``n`` street scenes with CamVid's eleven classes, drawn when they are asked for.

    A street in perspective, with lane markings, pavements, buildings, trees, poles, signs, fences, cars, pedestrians
    and bicyclists, in sun, overcast, haze, rain and dusk. Every pixel has a class; none is ignored. Scene ``i`` depends
    on ``seed``, ``i`` and ``size`` alone, and is the same on every machine, in any order and in any worker process.

    Args:
        n: how many scenes.
        size: (height, width) in pixels, 32 to 4096 each; what is seen scales with it.
        seed: another one gives other scenes; 0 or more.

    Raises:
        InputError: an argument out of its range.

    Example:
        >>> scenes = StreetScenes(100, size=(120, 160), seed=1)
        >>> image, mask = scenes[0]
        >>> image.shape, mask.shape
        (torch.Size([3, 120, 160]), torch.Size([120, 160]))
        >>> scenes.labels.names[:4]
        ('sky', 'building', 'pole', 'road')
    """

    def __init__(self, n: int, size: tuple[int, int] = (240, 320), seed: int = 0) -> None:
        count = check_int("n", n, minimum=1)
        self.size = _check_size(size)
        self.seed = check_int("seed", seed, minimum=0)
        super().__init__(
            Labels(STREET_CLASSES, palette=list(STREET_CLASSES.values())), [f"scene-{i:05d}" for i in range(count)]
        )

    def __getitem__(self, index: int) -> Item:
        """The image ``(3, H, W)`` and its mask ``(H, W)``, both uint8."""
        scene = self._scene(index)
        mask = np.array(scene.classes, np.uint8)[scene.owner]
        return torch.from_numpy(scene.image), torch.from_numpy(mask)

    def objects(self, index: int) -> list[SceneObject]:
        """The things of scene ``index`` that can be seen, from far to near; sky, road and pavement are no things.

        Example:
            >>> things = StreetScenes(1, seed=3).objects(0)
            >>> all(thing.area <= thing.full_area for thing in things)
            True
        """
        scene = self._scene(index, measure=True)
        areas = np.bincount(scene.owner.ravel(), minlength=len(scene.classes)).tolist()
        numbers = [number for number in range(_FIRST_OBJECT, len(scene.classes)) if areas[number]]
        return [_object(scene, number, areas[number]) for number in numbers]

    def instances(self, index: int) -> Tensor:
        """``(H, W)`` int32: the place in `objects` of the thing that a pixel belongs to, -1 for none.

        Example:
            >>> scenes = StreetScenes(1, seed=3)
            >>> int((scenes.instances(0) == 0).sum()) == scenes.objects(0)[0].area
            True
        """
        scene = self._scene(index)
        visible = np.bincount(scene.owner.ravel(), minlength=len(scene.classes)) > 0
        visible[:_FIRST_OBJECT] = False
        places = np.where(visible, np.cumsum(visible) - 1, -1).astype(np.int32)
        return torch.from_numpy(places[scene.owner])

    def _scene(self, index: int, measure: bool = False) -> Scene:
        return draw_scene(*self.size, Draws(self.seed, check_index(index, len(self))), measure=measure)


def _object(scene: Scene, number: int, area: int) -> SceneObject:
    rows, columns = np.nonzero(scene.owner == number)
    box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    full = scene.full_areas[number]
    return SceneObject(scene.classes[number], box, area, full, (full - area) / full)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = size
    except (TypeError, ValueError):
        raise InputError(f"`size` must be (height, width), such as (240, 320); got {size!r}") from None
    return (
        check_int("size[0] (height)", height, minimum=_SMALLEST, maximum=_LARGEST),
        check_int("size[1] (width)", width, minimum=_SMALLEST, maximum=_LARGEST),
    )
