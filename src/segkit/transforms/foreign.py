"""Other libraries' transforms in the place of ours."""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segkit.errors import InputError, LabelError, ShapeError
from segkit.labels import IGNORE_INDEX
from segkit.transforms.augment import Transform
from segkit.transforms.recipes import create_transform

__all__ = ["AnyTransform", "Foreign", "as_transform"]

AnyTransform: TypeAlias = str | Transform | Callable[..., Any]
"""A recipe's name, a `Transform`, a callable ``f(image=, mask=) -> dict``, or a torchvision v2 transform."""

# Python's, numpy's and torch's own generators belong to the whole process.
_ONE_AT_A_TIME = threading.Lock()


class Foreign:
    """A transform of another library as ``t(image, mask, rng)``; made by `as_transform`.

    Python's, numpy's and torch's global generators are seeded from ``rng`` for the call, and restored after it. One
    call runs at a time; other threads that draw from the global generators meanwhile would see them, so that the
    loader calls it in worker processes or between the steps, and never in threads.

    Args:
        transform: the callable.
        arrays: whether it takes and gives ``image=`` and ``mask=`` as arrays; else tensors, as torchvision's v2 does.
    """

    is_foreign: bool = True

    def __init__(self, transform: Callable[..., Any], *, arrays: bool) -> None:
        self.transform = transform
        self.arrays = arrays

    def __call__(self, image: Tensor, mask: Tensor, rng: np.random.Generator, /) -> tuple[Tensor, Tensor]:
        """Return the changed image ``(C, h, w)`` and mask ``(h, w)``."""
        with _ONE_AT_A_TIME, _global_generators(rng):
            _seed_its_own(self.transform, rng)
            changed, labels = self._by_arrays(image, mask) if self.arrays else self._by_tensors(image, mask)
        self._check(image, mask, changed, labels)
        return changed, labels if labels.dtype == mask.dtype else labels.to(mask.dtype)

    def _by_arrays(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # Copies: some change what they are given, and a sample is used again.
        pixels = np.array(image.permute(1, 2, 0).numpy(), order="C")
        planes = np.array((mask.permute(1, 2, 0) if mask.ndim == 3 else mask).numpy(), order="C")
        result = self.transform(image=pixels, mask=planes)
        if not isinstance(result, Mapping) or "image" not in result or "mask" not in result:
            raise InputError(
                f"{self.name} must return a dict with 'image' and 'mask'; got "
                f"{sorted(result) if isinstance(result, Mapping) else type(result).__name__}"
            )
        return self._tensor(result["image"], "image"), self._tensor(result["mask"], "mask", mask.ndim)

    def _by_tensors(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        from torchvision import tv_tensors

        result = self.transform(tv_tensors.Image(image.clone()), tv_tensors.Mask(mask.clone()))
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise InputError(f"{self.name} must return (image, mask); got {type(result).__name__}")
        return tuple(torch.as_tensor(part).as_subclass(Tensor) for part in result)  # type: ignore[return-value]

    def _tensor(self, value: Any, what: str, ndim: int = 3) -> Tensor:
        """Arrays are ``(H, W)`` or ``(H, W, C)``, tensors ``(C, H, W)`` already."""
        if isinstance(value, torch.Tensor):
            return value
        if not isinstance(value, np.ndarray) or value.ndim not in (2, 3):
            got = f"shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise InputError(f"{self.name} must return the {what} as an array (H, W) or (H, W, C); got {got}")
        array = torch.from_numpy(np.ascontiguousarray(value))
        if what == "mask" and ndim == 2:
            return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
        return array.unsqueeze(0) if array.ndim == 2 else array.permute(2, 0, 1)

    def _check(self, image: Tensor, mask: Tensor, changed: Tensor, labels: Tensor) -> None:
        if changed.ndim != 3 or labels.ndim != mask.ndim or changed.shape[1:] != labels.shape[-2:]:
            raise ShapeError(
                f"{self.name} must return an image and a mask of one height and width; got {tuple(changed.shape)} and "
                f"{tuple(labels.shape)}. Its mask must take the same steps as its image"
            )
        if labels.dtype.is_floating_point:
            raise LabelError(
                f"{self.name} turned the mask's {mask.dtype} into {labels.dtype}: masks are class ids, which are not "
                "interpolated, scaled or normalised"
            )
        if changed.dtype.is_floating_point and not image.dtype.is_floating_point:
            low, high = float(changed.min()), float(changed.max())
            if low < -1e-3 or high > 1 + 1e-3:
                raise InputError(
                    f"{self.name} turned {image.dtype} into {changed.dtype} from {low:.3g} to {high:.3g}: leave out "
                    "its normalisation, which is the model's (it would be done twice), or keep the image's type"
                )

    @property
    def name(self) -> str:
        """Its class or function, for messages."""
        kind = self.transform if inspect.isroutine(self.transform) else type(self.transform)
        return f"{kind.__module__}.{kind.__qualname__}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transform!r})"


def as_transform(
    transform: AnyTransform, *, size: tuple[int, int] | None = None, ignore_index: int = IGNORE_INDEX
) -> Transform:
    """Make anybody's transform one of ours: ``t(image, mask, rng) -> (image, mask)``.

    Args:
        transform: a recipe's name (see `create_transform`); a callable of three arguments, which is returned as it is;
            a callable ``f(image=, mask=) -> dict`` with arrays ``(H, W, C)`` and ``(H, W)`` (Albumentations and its
            like); or a transform of ``torchvision.transforms.v2``.
        size: (height, width) of the crops of a recipe.
        ignore_index: the mask's value outside the image, for a recipe; others have their own setting.

    Raises:
        InputError: a callable of another form, or a name without ``size``.
        UnknownNameError: no such recipe.

    Example:
        >>> def brighter(image, mask):
        ...     return {"image": image + np.uint8(random.randint(0, 9)), "mask": mask}
        >>> image, mask = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)
        >>> image, mask = as_transform(brighter)(image, mask, np.random.default_rng(0))
    """
    if isinstance(transform, str):
        if size is None:
            raise InputError(f"the recipe {transform!r} needs `size=(height, width)`")
        return create_transform(transform, size=size, ignore_index=ignore_index)
    if not callable(transform):
        raise InputError(f"expected a recipe's name or a transform; got {type(transform).__name__}")
    if any(kind.__module__.startswith("torchvision.transforms.v2") for kind in type(transform).__mro__):
        return Foreign(transform, arrays=False)
    return _by_its_arguments(transform)


def _by_its_arguments(transform: Callable[..., Any]) -> Transform:
    called = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(places) >= 3 and sum(one.default is one.empty for one in places) <= 3:
        return transform
    names = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if {"image", "mask"} <= names or any(one.kind is one.VAR_KEYWORD for one in parameters):
        return Foreign(transform, arrays=True)
    takes = ", ".join(one.name for one in parameters) or "nothing"
    hint = ""
    if type(transform).__module__.startswith("torchvision.transforms"):
        hint = "; torchvision's first transforms change the image alone: take torchvision.transforms.v2"
    raise InputError(
        f"a transform takes (image, mask, rng), or image= and mask= by name; {type(transform).__qualname__} takes "
        f"{takes}{hint}"
    )


@contextmanager
def _global_generators(rng: np.random.Generator) -> Iterator[None]:
    """Seed the three global generators from ``rng``, and give them back as they were."""
    seeds = rng.integers(1 << 32, size=3).tolist()
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    try:
        random.seed(seeds[0])
        np.random.seed(seeds[1])  # noqa: NPY002
        torch.default_generator.manual_seed(seeds[2])  # `torch.manual_seed` would seed the GPUs too
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.default_generator.set_state(states[2])


def _seed_its_own(transform: Callable[..., Any], rng: np.random.Generator) -> None:
    """Albumentations from 1.4.19 on keeps generators of its own, and says how to seed them."""
    seed = getattr(transform, "set_random_seed", None)
    if callable(seed):
        seed(int(rng.integers(1 << 32)))
