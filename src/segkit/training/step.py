"""One step of training: forward and backward over one batch or several, and the update."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit.device import Device
from segkit.errors import ShapeError
from segkit.labels import Labels
from segkit.models import Segmenter
from segkit.training.config import TrainConfig
from segkit.training.loader import Batch, finish

__all__ = ["NotFiniteError", "Stepper"]


class NotFiniteError(ArithmeticError):
    """A loss that is NaN or infinite; the weights are as they were."""

    def __init__(self, value: float, batch: Batch) -> None:
        super().__init__(f"the loss is {value}")
        self.value = value
        self.batch = batch


class Stepper:
    """Moves the weights by what one batch, or several together, say.

    Several batches are one larger batch in memory's place: each one's loss counts by the weight of its valid pixels, so
    that a mean over pixels is the mean over all of them (losses of regions are taken a batch).

    Args:
        model: trained in place.
        loss: ``loss(logits, target)``, a scalar.
        optimizer: over the model's parameters; each of its groups has an ``lr_factor``.
        labels: which pixels are ignored.
        config: of its values class weights and ``grad_clip``.
        device: where the model is.
    """

    def __init__(
        self,
        model: Segmenter,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        labels: Labels,
        config: TrainConfig,
        device: Device,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.device = device
        self.scaler: torch.amp.GradScaler = torch.amp.GradScaler(device.torch.type, enabled=device.precision == "fp16")
        self._labels = labels
        self._grad_clip = config.grad_clip
        self._fresh = False
        self._class_weights: Tensor | None = None
        if config.class_weights is not None:
            self._class_weights = torch.tensor(config.class_weights, device=device.torch)

    def __call__(self, batches: Sequence[Batch], lr: float) -> float:
        """Take a step, and return its loss; 0.0, and no step, where every pixel is ignored.

        Raises:
            NotFiniteError: the loss is NaN or infinite; no step was taken.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        parts = [finish(batch, self.device, self._labels.ignore_index) for batch in batches]
        weights = [self._weight(masks) for _, masks in parts]
        total = sum(weights)
        if total == 0:
            return 0.0  # nothing to learn: momentum, weight decay and batch statistics must not move either
        self._fresh = False  # the gradients are of the step before until a loss is known to be a number
        value = 0.0
        for batch, (images, masks), weight in zip(batches, parts, weights, strict=True):
            if weight:
                value += self._backward(batch, images, masks, weight / total)
        self._update()
        return value

    def _weight(self, masks: Tensor) -> float:
        """How much a mean over pixels hears of a batch: its valid pixels, by their classes' weights."""
        valid = masks.long() != self._labels.ignore_index
        if self._class_weights is None or self._labels.task == "multilabel":
            return float(valid.sum())
        return float(self._class_weights[masks[valid].long()].sum())

    def _backward(self, batch: Batch, images: Tensor, masks: Tensor, share: float) -> float:
        with self.device:
            with self.device.autocast():
                logits = self._logits(images)
            loss: Tensor = self.loss(logits, masks)
        if share != 1:
            loss = loss * share
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError(value, batch)
        if not self._fresh:
            self.optimizer.zero_grad()
            self._fresh = True
        torch.autograd.backward(self.scaler.scale(loss))
        return value

    def _update(self) -> None:
        if self._grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _logits(self, images: Tensor) -> Tensor:
        try:
            logits: Tensor = self.model(images)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            count, _, height, width = images.shape
            raise ShapeError(
                f"batch normalisation needs more than one value a channel; a batch of {count} with images of "
                f"{height}x{width} leaves it a single one. Use a larger `batch_size`, larger images or crops (`size`), "
                'or another norm in the model, such as norm="group"'
            ) from error
        return logits
