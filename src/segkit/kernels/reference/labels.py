"""Labels outside the classes, named."""

from __future__ import annotations

from torch import Tensor

from segkit.errors import LabelError

__all__ = ["outside"]


def outside(argument: str, values: Tensor, valid: Tensor, num_classes: int, ignore_index: int) -> LabelError | None:
    """The error that names the first valid value outside 0..num_classes-1 and its place, or None if there is none."""
    wrong = valid & ((values < 0) | (values >= num_classes))
    if not wrong.any():
        return None
    place = tuple(wrong.nonzero()[0].tolist())
    also = f" or `ignore_index` (={ignore_index})" if argument == "target" else " where the target is valid"
    return LabelError(
        f"`{argument}` must hold class ids in 0..{num_classes - 1}{also}; got {int(values[place])} at {place} "
        f"({int(wrong.sum())} pixels in all); see `Labels.check`"
    )
