"""Which stages of the encoder learn in which epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from segkit._checks import check_int
from segkit.errors import InputError
from segkit.models import Encoder, Segmenter

__all__ = ["check_freezing", "frozen_in", "stages_of"]


def check_freezing(freeze: str | int | None, unfreeze: int | Sequence[int] | None) -> None:
    """Check the values of `Trainer` on their own, without a model.

    Raises:
        InputError: ``freeze`` is neither "encoder" nor a number of stages, or ``unfreeze`` no growing epochs.
    """
    if isinstance(freeze, str):
        if freeze != "encoder":
            raise InputError(
                f'`freeze` must be "encoder", a number of its stages (1 is the stem), or None; got {freeze!r}'
            )
    elif freeze is not None:
        check_int("freeze", freeze, minimum=1)
    if unfreeze is None:
        return
    if freeze is None:
        raise InputError(f"`unfreeze` (={unfreeze!r}) needs `freeze`, which says what is frozen at first")
    epochs: list[Any] = list(unfreeze) if isinstance(unfreeze, tuple | list) else [unfreeze]
    for epoch in epochs:
        check_int("unfreeze", epoch, minimum=1)
    if not epochs or sorted(set(epochs)) != epochs:
        raise InputError(
            "`unfreeze` must be a number of epochs, or several, growing, one a stage from the deepest; got "
            f"{unfreeze!r}"
        )


def stages_of(model: Segmenter, freeze: str | int | None, unfreeze: int | Sequence[int] | None) -> int:
    """How many stages of the encoder are frozen at first.

    Raises:
        InputError: more stages than the encoder has, or more steps of ``unfreeze`` than stages are frozen.
    """
    if freeze is None:
        return 0
    there = len(cast(Encoder, model.encoder).strides)
    stages = there if freeze == "encoder" else int(freeze)
    if stages > there:
        raise InputError(f"`freeze` (={freeze}) must be at most {there}, the stages of this encoder")
    if unfreeze is not None and not isinstance(unfreeze, int) and len(unfreeze) > stages:
        raise InputError(f"`unfreeze` has {len(unfreeze)} epochs for {stages} frozen stages: at most one a stage")
    return stages


def frozen_in(epoch: int, stages: int, unfreeze: int | Sequence[int] | None) -> int:
    """How many of the ``stages`` that are frozen at first still are in an epoch, counted from 0.

    Example:
        >>> [frozen_in(epoch, 5, (1, 3)) for epoch in range(5)]
        [5, 4, 4, 3, 3]
        >>> [frozen_in(epoch, 5, 2) for epoch in range(4)]
        [5, 5, 0, 0]
    """
    if unfreeze is None:
        return stages
    if isinstance(unfreeze, int):
        return 0 if epoch >= unfreeze else stages
    return stages - sum(epoch >= start for start in unfreeze)
