"""Deep supervision: any loss on the outputs of several decoder stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit._checks import check_number
from segkit.errors import InputError, ShapeError
from segkit.losses._prepare import Loss

__all__ = ["DeepSupervision"]


class DeepSupervision(Loss):
    """The weighted mean of a loss over logits of several sizes, finest first.

    Each level is compared with the target brought to its size by taking the nearest pixel, so that ignored pixels stay
    ignored and no class is invented. A single tensor, as a model gives in evaluation, has the plain loss.

    Args:
        loss: what every level is measured with; its task and ``ignore_index`` hold.
        weights: one weight >= 0 a level; they are divided by their sum. None: 1, 1/2, 1/4, ...

    Raises:
        InputError: weights that are negative, or all 0; or no logits.
        ShapeError: as many levels as there are weights were expected.

    Example:
        >>> import torch
        >>> from segkit.losses import create_loss
        >>> loss = DeepSupervision(create_loss("cross_entropy + dice"))
        >>> levels = [torch.zeros(2, 3, size, size) for size in (32, 16, 8)]
        >>> loss(levels, torch.zeros(2, 32, 32, dtype=torch.uint8)).ndim
        0

    Source: Lee et al. 2015, "Deeply-supervised nets"; the weights are those of Isensee et al. 2021, "nnU-Net".
    """

    def __init__(self, loss: Loss, *, weights: Sequence[float] | None = None) -> None:
        if not isinstance(loss, Loss):
            raise InputError(f"`loss` must be a loss, such as `create_loss('dice')`; got {loss!r}")
        super().__init__(task=loss.task, ignore_index=loss.ignore_index)
        self.loss: Loss = loss
        self.weights: list[float] | None = None
        if weights is not None:
            self.weights = [check_number("weights", item, minimum=0.0) for item in weights]
        if self.weights is not None and not sum(self.weights) > 0:
            raise InputError(f"`weights` must have one above 0; got {self.weights}")

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss of one level, or the weighted mean of several."""
        if isinstance(logits, Tensor):
            return self._level(logits, target)
        weights = self._weights(len(logits))
        losses = [self._level(level, target) for level in logits]
        return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()

    def _weights(self, levels: int) -> list[float]:
        if not levels:
            raise InputError("`logits` must be a tensor, or the tensors of the levels; got an empty sequence")
        weights = [0.5**level for level in range(levels)] if self.weights is None else self.weights
        if len(weights) != levels:
            raise ShapeError(f"`weights` has {len(weights)} levels, and `logits` {levels}: give one weight a level")
        return [weight / sum(weights) for weight in weights]

    def _level(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.loss(logits, _nearest(target, logits.shape[-2], logits.shape[-1]))
        return loss


def _nearest(target: Tensor, height: int, width: int) -> Tensor:
    """``(..., height, width)``: the pixel under the centre of each larger one."""
    for axis, size in ((-2, height), (-1, width)):
        whole = target.shape[axis]
        if whole != size:
            places = (torch.arange(size, device=target.device) * 2 + 1) * whole // (2 * size)
            target = target.index_select(axis, places)
    return target
