"""One step of training: forward and backward over one batch or several, and the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from segkit._checks import counted
from segkit.device import Device
from segkit.errors import ShapeError, TrainingError
from segkit.labels import Labels
from segkit.models import Segmenter
from segkit.training.config import TrainConfig
from segkit.training.loader import Batch, finish

__all__ = ["Alone", "Group", "NotFiniteError", "Stepper"]


class Group(Protocol):
    """The processes that take a step together."""

    size: int

    def sum_(self, tensor: Tensor) -> None:
        """Replace a small tensor by its sum over the processes."""
        ...

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; one that is None counts as zeros."""
        ...


class Alone:
    """A group of one process."""

    size = 1

    def sum_(self, tensor: Tensor) -> None:
        """It is its own sum."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """They are their own sums."""


class NotFiniteError(ArithmeticError):
    """A loss or a gradient that is NaN or infinite; the weights are as they were.

    Attributes:
        what: ``"loss"`` or ``"gradient"``.
        value: of the loss.
        indices: the items of the batch, or of all batches of the step.
        lr: of the step.
        late: whether it is the step before that it was found in.
        norms: then, those of that step's gradients, in the order of the parameters that have one.
    """

    def __init__(
        self, what: str, value: float, indices: Sequence[int], lr: float, *, norms: list[Tensor] | None = None
    ) -> None:
        super().__init__(f"the {what} is not finite")
        self.what = what
        self.value = value
        self.indices: list[int] = list(indices)
        self.lr = lr
        self.late: bool = norms is not None
        self.norms = norms


class _Part(NamedTuple):
    """What goes through the model at once; ``weight`` is how much a mean over pixels hears of it."""

    images: Tensor
    masks: Tensor
    indices: list[int]
    weight: Tensor | float  # a number of Python's where that makes nobody wait


class _Pending(NamedTuple):
    """A step that was taken, and of which nothing is known yet."""

    found: Tensor  # whether it was not finite, and the loss
    norms: list[Tensor]  # of its gradients, in the order of the parameters that had one
    ready: torch.Event | None
    indices: list[int]
    lr: float


class Stepper:
    """Moves the weights by what one batch, or several together, say.

    Several batches are one larger batch in memory's place, and so are those of several processes: each one's loss
    counts by its share of the valid pixels of all, so that a mean over pixels is the mean over all of them, and
    gradients are added up (losses of regions are taken a batch).

    A loss or a gradient that is not finite moves nothing. On a CPU that is looked at at once. On a GPU, with an
    optimiser whose update the device itself can withhold (fused Adam and AdamW), nobody waits for it: the update of
    that step and of those after it is withheld there, and the loss is read a step later. (Batch statistics, which
    a forward pass moves, then have seen it; and so have they images without a valid pixel.)

    Where the memory does not suffice, what goes through the model at once is halved, from then on: the step is begun
    anew, with the random numbers and batch statistics that it began with.

    Args:
        model: trained in place.
        loss: ``loss(logits, target)``, a scalar.
        optimizer: over the model's parameters; each of its groups has an ``lr_factor``.
        labels: which pixels are ignored.
        config: of its values class weights and ``grad_clip``.
        device: where the model is.
        group: the processes that take each step together.
        note: told, once, what keeps the run from being repeated bit for bit.
        late: whether losses are read a step later; None for what the device and the optimiser can.
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
        group: Group | None = None,
        note: Callable[[str], object] = lambda text: None,
        late: bool | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.device = device
        self.group: Group = Alone() if group is None else group
        self.scaler: torch.amp.GradScaler = torch.amp.GradScaler(device.torch.type, enabled=device.precision == "fp16")
        self.late: bool = device.torch.type == "cuda" and self._can_wait() if late is None else late
        self._labels = labels
        self._grad_clip = config.grad_clip
        self.moved: bool | Tensor = True  # whether the last step was taken: 0 or 1 where only the device knows
        self._note = note
        self._fresh = False
        self._most: int | None = None  # images at once, after the memory did not suffice
        self._pending: _Pending | None = None
        self._class_weights: Tensor | None = None
        if config.class_weights is not None:
            self._class_weights = torch.tensor(config.class_weights, device=device.torch)
        self._one = torch.ones((), device=device.torch)
        self._bad = torch.zeros((), device=device.torch)
        self._buffers = list(model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]

    def _can_wait(self) -> bool:
        # (Fused SGD whose first step is withheld would go on from momenta that nobody has set.)
        adam = isinstance(self.optimizer, torch.optim.Adam | torch.optim.AdamW)
        return adam and bool(self.optimizer.defaults.get("fused")) and not self.scaler.is_enabled()

    def __call__(self, batches: Sequence[Batch], lr: float) -> float | None:
        """Take a step, and return its loss; 0.0, and no step, where every pixel is ignored.

        Where losses are read late, the loss is that of the step before, and None for the first; see `settle`.

        Raises:
            NotFiniteError: the loss or a gradient is NaN or infinite; no step was taken.
            TrainingError: the memory does not suffice for a single image.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        before, self.moved = self._pending, True
        parts = [
            piece
            for batch in batches
            for piece in self._pieces(*finish(batch, self.device, self._labels.ignore_index), batch.indices)
        ]
        total = self._total(parts)
        if not self.late and float(total) == 0:
            self.moved = False
            return 0.0  # nothing to learn: momentum, weight decay and batch statistics must not move either
        value = self._forward_backward(parts, total, lr)
        indices = [index for part in parts for index in part.indices]
        if not self.late:
            self._update(float(value), indices, lr)
            return float(value)
        self._update_withheld(self._tensor(value), self._tensor(total), indices, lr)
        return self._read(before)

    def settle(self) -> float | None:
        """Wait for the step whose loss was not read yet, and return that; None if there is none.

        Raises:
            NotFiniteError: as for a step.
        """
        pending, self._pending = self._pending, None
        return self._read(pending)

    def _read(self, pending: _Pending | None) -> float | None:
        if pending is None:
            return None
        if pending.ready is not None:
            pending.ready.synchronize()
        bad, value = pending.found.tolist()
        if bad:
            self._pending = None
            self._bad.zero_()
            what = "gradient" if math.isfinite(value) else "loss"
            raise NotFiniteError(what, value, pending.indices, pending.lr, norms=pending.norms)
        return float(value)

    def _pieces(self, images: Tensor, masks: Tensor, indices: list[int]) -> list[_Part]:
        """A batch as what goes through the model at once: all of it, or less where the memory wants it."""
        most = self._most or len(images)
        return [
            _Part(images[some], masks[some], indices[some], self._weight(masks[some]))
            for some in (slice(start, start + most) for start in range(0, len(images), most))
        ]

    def _total(self, parts: Sequence[_Part]) -> Tensor | float:
        """The weight of all parts of all processes."""
        if self.group.size == 1:
            return sum((part.weight for part in parts), 0.0)
        total = self._tensor(sum((part.weight for part in parts), 0.0))
        self.group.sum_(total)
        return total if self.late else float(total)

    def _tensor(self, value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=self._wide, device=self.device.torch)

    def _weight(self, masks: Tensor) -> Tensor | float:
        """The valid pixels, by their classes' weights."""
        ignored = self._labels.ignore_index
        fits = masks.dtype in (torch.int32, torch.int64) or (masks.dtype == torch.uint8 and 0 <= ignored <= 255)
        valid = (masks if fits else masks.long()) != ignored
        if self._class_weights is None or self._labels.task == "multilabel":
            weight = valid.sum()
        else:
            weight = self._class_weights[masks[valid].long()].sum(dtype=self._wide)
        return weight.to(self._wide) if self.late else float(weight)

    @property
    def _wide(self) -> torch.dtype:
        return torch.float32 if self.device.torch.type == "mps" else torch.float64

    def _forward_backward(self, parts: list[_Part], total: Tensor | float, lr: float) -> Tensor | float:
        """Add up the gradients, in smaller and smaller parts while the memory does not suffice; the step's loss."""
        state = self._keep_state()
        while True:
            try:
                return self._add_up(parts, total, lr)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not _is_out_of_memory(error):
                    _explain_deterministic(error)
                    raise
                self._halve(parts, error)
            # Outside the handler, where the error no longer holds the tensors of its frames.
            parts = [piece for part in parts for piece in self._pieces(part.images, part.masks, part.indices)]
            self._restore_state(state)
            if self.device.torch.type == "cuda":
                torch.cuda.empty_cache()

    def _add_up(self, parts: Sequence[_Part], total: Tensor | float, lr: float) -> Tensor | float:
        self._fresh = False  # the gradients are of the step before until a loss is known to be a number
        value: Tensor | float = 0.0
        broken: NotFiniteError | None = None
        try:
            for part in parts:
                if self.late or part.weight:
                    value = value + self._backward(part, part.weight / total, lr)
        except NotFiniteError as error:
            broken = error
        if self.group.size > 1:
            found = torch.stack([self._tensor(value), self._tensor(float(broken is not None))])
            self.group.sum_(found)
            value = found[0] if self.late else float(found[0])
            if broken is None and not self.late and float(found[1]):
                broken = NotFiniteError("loss", math.nan, [], lr)  # another process has the items
        if broken is not None:
            raise broken
        return value

    def _backward(self, part: _Part, share: Tensor | float, lr: float) -> Tensor | float:
        with self.device:
            with self.device.autocast():
                logits = self._logits(part.images)
            loss: Tensor = self.loss(logits, part.masks)
        if isinstance(share, Tensor):
            # Of a step without a valid pixel the share is 0/0.
            loss = loss * torch.where(share.isfinite(), share, 0).to(loss.dtype)
        elif share != 1:
            loss = loss * share
        value: Tensor | float = loss.detach()
        if not self.late:
            value = float(value)
            if not math.isfinite(value):
                raise NotFiniteError("loss", value, part.indices, lr)
        self._clear()
        torch.autograd.backward(self.scaler.scale(loss))
        return value

    def _clear(self) -> None:
        """Let no gradient of the step before count."""
        if not self._fresh:
            self.optimizer.zero_grad()
            self._fresh = True

    def _gradients(self) -> list[Tensor]:
        """Of all parameters, summed over the processes."""
        self._clear()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.group.sum_gradients(parameters)
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def gradient_norms(self, error: NotFiniteError) -> dict[nn.Parameter, float]:
        """The norm of each gradient of the last backward pass, or, found late, of the step that ``error`` is about."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
        norms = error.norms or [parameter.grad.norm() for parameter in with_gradient]
        return {parameter: float(norm) for parameter, norm in zip(with_gradient, norms, strict=True)}

    def _update(self, value: float, indices: Sequence[int], lr: float) -> None:
        gradients = self._gradients()
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)  # it withholds the step of gradients that are not finite, by itself
        elif gradients and float(self._look(gradients)):
            raise NotFiniteError("gradient", value, indices, lr)
        if self._grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._grad_clip)
        self.scaler.step(self.optimizer)
        before = self.scaler.get_scale() if self.scaler.is_enabled() else 0.0
        self.scaler.update()
        if self.scaler.is_enabled():
            self.moved = self.scaler.get_scale() >= before  # it shrinks after a step that was withheld

    def _update_withheld(self, value: Tensor, total: Tensor, indices: list[int], lr: float) -> None:
        """The same without waiting: the device withholds the update where something is not finite."""
        gradients = self._gradients()
        norms = list(torch._foreach_norm(gradients)) if gradients else []
        look = self._look(gradients) if gradients else torch.zeros_like(self._bad)
        self._bad = torch.maximum(self._bad, torch.maximum(look, (~value.isfinite()).to(look.dtype)))
        if self._grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._grad_clip)
        # What torch's GradScaler gives a fused optimiser.
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]
        withheld = torch.maximum(self._bad, (total == 0).to(self._bad.dtype))
        self.optimizer.found_inf = withheld  # type: ignore[attr-defined]
        self.moved = 1 - withheld
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.grad_scale, self.optimizer.found_inf  # type: ignore[attr-defined]
        found = torch.stack([self._bad.to(self._wide), value])
        ready = None
        if self.device.torch.type == "cuda":
            found = torch.empty(2, dtype=self._wide, pin_memory=True).copy_(found, non_blocking=True)
            ready = torch.Event("cuda")
            ready.record()
        self._pending = _Pending(found, norms, ready, indices, lr)

    def _look(self, gradients: list[Tensor]) -> Tensor:
        """1 where any gradient is not finite; one pass over all of them."""
        found = torch.zeros_like(self._bad)
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, self._one)
        return found

    def _keep_state(self) -> tuple[Tensor, Tensor | None]:
        """What a step that is begun anew begins with: batch statistics, and generators."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)
        on_device = torch.cuda.get_rng_state(self.device.torch) if self.device.torch.type == "cuda" else None
        return torch.get_rng_state(), on_device

    def _restore_state(self, state: tuple[Tensor, Tensor | None]) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device.torch)

    def _halve(self, parts: Sequence[_Part], error: RuntimeError) -> None:
        largest = max(len(part.images) for part in parts)
        height, width = parts[0].images.shape[-2:]
        if largest == 1:
            raise TrainingError(
                f"the memory of {self.device.torch} does not suffice to train on a single image of {height}x{width}: "
                "use smaller crops (`size`), a smaller model, or precision bf16"
            ) from error
        self._most = (largest + 1) // 2
        normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules())
        self._note(
            f"the memory did not suffice for {counted(largest, 'image')} of {height}x{width} at once: from there on "
            f"{self._most} at once, and as many a step as before. Another machine would not repeat it bit for bit"
            + ("; batch normalisation now averages over fewer images" if normed else "")
        )

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


def _explain_deterministic(error: RuntimeError) -> None:
    """Say what to do where torch has no deterministic form of an operation."""
    text = str(error)
    if "deterministic implementation" in text:
        raise TrainingError(
            f"`deterministic` cannot be kept: {text.partition(',')[0]}. Take another encoder or loss, or train "
            "without it"
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator failed: torch's on a device, or the CPU's, which has no class of its own."""
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in texts)
