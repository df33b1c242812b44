"""What a model costs: weights, operations, memory of a training step, and how far a pixel sees."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit._checks import check_int
from segkit.errors import InputError
from segkit.models.segmenter import Segmenter

__all__ = ["Summary", "summary"]

# The largest image on which the receptive field is looked for.
_LARGEST = 1024


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `summary` found.

    Attributes:
        name: of the model's class.
        size: ``(height, width)`` of the image.
        parameters: weights, all of them.
        learning: those that learn.
        macs: multiplications with an addition, for one image of ``size``, forward.
        batch_size: of the training step.
        training_bytes: what a training step keeps in memory in float32, estimated: weights, gradients, Adam's two
            averages, and what the graph holds for the backward pass. What single operations need while they run comes
            on top.
        receptive_field: ``(height, width)`` of what the logits of a pixel in the middle depend on (its neighbours' may
            begin a cell further); None for the whole image.
    """

    name: str
    size: tuple[int, int]
    parameters: int
    learning: int
    macs: int
    batch_size: int
    training_bytes: int
    receptive_field: tuple[int, int] | None

    def __str__(self) -> str:
        height, width = self.size
        field = self.receptive_field
        sees = "the whole image" if field is None else f"{field[0]}x{field[1]} pixels"
        return (
            f"{self.name}: {self.parameters / 1e6:.2f} million weights ({self.learning / 1e6:.2f} learn)\n"
            f"  {self.macs / 1e9:.2f} GMACs for an image of {height}x{width}\n"
            f"  about {self.training_bytes / 2**20:.0f} MiB for a training step on {self.batch_size} of them "
            "(float32, Adam; estimated)\n"
            f"  a pixel in the middle depends on {sees}"
        )


def summary(model: Segmenter, *, size: Sequence[int] = (360, 480), batch_size: int = 4) -> Summary:
    """Count what a model costs, without running it at ``size``: shapes alone are followed, on torch's meta device.

    Args:
        model: left as it is.
        size: ``(height, width)`` of the images.
        batch_size: images of a training step.

    Raises:
        InputError: a size or batch that is not a positive whole number.

    Example:
        >>> from segkit import UNet
        >>> print(summary(UNet(11), size=(240, 320)))
        UNet: 4.53 million weights (4.53 learn)
          2.14 GMACs for an image of 240x320
          about 226 MiB for a training step on 4 of them (float32, Adam; estimated)
          a pixel in the middle depends on 492x492 pixels
    """
    if len(size) != 2:
        raise InputError(f"`size` must be (height, width); got {tuple(size)}")
    height, width = (check_int("size", side, minimum=1) for side in size)
    check_int("batch_size", batch_size, minimum=1)
    shapes = copy.deepcopy(model).to("meta")
    parameters = list(model.parameters())
    return Summary(
        name=type(model).__name__,
        size=(height, width),
        parameters=sum(item.numel() for item in parameters),
        learning=sum(item.numel() for item in parameters if item.requires_grad),
        macs=_macs(shapes, height, width),
        batch_size=batch_size,
        training_bytes=_training_bytes(shapes, batch_size, height, width),
        receptive_field=_receptive_field(model),
    )


def _empty(model: Segmenter, batch: int, height: int, width: int) -> Tensor:
    return torch.empty((batch, model.in_channels, height, width), dtype=torch.uint8, device="meta")


@torch.no_grad()
def _macs(model: Segmenter, height: int, width: int) -> int:
    """Of convolutions, matrix products and attention; norms, activations and resizing are not counted."""
    counter = FlopCounterMode(display=False)
    with counter:
        model.eval()(_empty(model, 1, height, width))
    return int(counter.get_total_flops()) // 2


def _training_bytes(model: Segmenter, batch: int, height: int, width: int) -> int:
    """Weights, gradients, Adam's averages, buffers, and each tensor that is saved for backward, once."""
    model = model.train()
    learning = sum(item.nbytes for item in model.parameters() if item.requires_grad)
    resting = sum(item.nbytes for item in model.parameters() if not item.requires_grad)
    resting += sum(item.nbytes for item in model.buffers())
    owned = {item.untyped_storage()._cdata for item in (*model.parameters(), *model.buffers())}
    saved: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            # The tensor is kept, so that no other storage takes its place.
            saved[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(_empty(model, batch, height, width))
    logits = out if isinstance(out, Tensor) else out[0]
    # A loss keeps as much as the logits for their gradient.
    return 4 * learning + resting + sum(size for _, size in saved.values()) + 2 * logits.nbytes


def _receptive_field(model: Segmenter) -> tuple[int, int] | None:
    """The box of the pixels with a gradient, in an image that it does not fill.

    Every weight is made positive at random, so that nothing cancels and no unit is off: what is found is what the
    structure can see, not what these weights make of it.
    """
    model = _positive(copy.deepcopy(model).cpu().float().eval())
    side = 4 * model.stride
    while True:
        rows, columns = _reach(model, side)
        if rows < side and columns < side:
            return rows, columns
        if side >= _LARGEST:
            return None
        side = min(2 * side, _LARGEST)


def _positive(model: Segmenter) -> Segmenter:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1
            noise = torch.rand(parameter.shape, generator=generator) + 0.5
            parameter.data.copy_(noise / fan_in)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.reset_running_stats()
    return model.requires_grad_(False)


def _reach(model: Segmenter, side: int) -> tuple[int, int]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((1, model.in_channels, side, side), generator=generator).requires_grad_()
    logits = model(image)
    middle = side // 2
    (gradient,) = torch.autograd.grad(logits[..., middle, middle].sum(), image)
    touched = gradient.abs().sum(dim=(0, 1)) > 0
    rows, columns = touched.any(dim=1).nonzero().flatten(), touched.any(dim=0).nonzero().flatten()
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
