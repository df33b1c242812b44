"""A model as a graph of torch's own operations, for any batch, height and width."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from segkit.inference._file_info import FileInfo
from segkit.inference.forward import mask_values
from segkit.models import Segmenter

__all__ = ["plain_copy", "trace"]

# Numbers that nothing else in a model equals; how large is of no consequence to the graph.
_EXAMPLE = (2, 70, 90)
_LAYOUT_OF_A_BATCH = "L['image'].size()[0] > 1"


def plain_copy(model: Segmenter) -> Segmenter:
    """The model on the CPU in float32 and evaluation mode; the one that was given stays as it is."""
    return copy.deepcopy(model).to("cpu", torch.float32).to(memory_format=torch.contiguous_format).eval()


class _Whole(nn.Module):
    """From the image as it comes from a file to what the file is to give."""

    def __init__(self, model: Segmenter, info: FileInfo) -> None:
        super().__init__()
        self.model = model
        self.info = info

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)
        return logits if self.info.output == "logits" else mask_values(logits, self.info.task)


def trace(model: Segmenter, info: FileInfo) -> ExportedProgram:
    """The graph from image to labels or logits; ``model`` is a `plain_copy`."""
    batch, height, width = _EXAMPLE
    image = torch.zeros(batch, info.in_channels, height, width, dtype=getattr(torch, info.dtype))
    sizes = {"image": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    # By itself the tracer notes, as a condition on the image, which side of every branch over memory layouts the
    # example took: whether the cropped logits are contiguous, say, which they are where H is a multiple of the stride.
    # The graph computes the same either way, but would refuse to run.
    with symbolic_shapes.patch(backed_size_oblivious=True), torch.no_grad():  # type: ignore[attr-defined]  # made anew
        program = torch.export.export(_Whole(model, info), (image,), dynamic_shapes=sizes, strict=False)
    # The same of convolutions behind a transposition, as transformers have them: with one image the layout that torch
    # guesses is another. Single images and batches are both tried before a file is kept.
    conditions: list[str] = getattr(program, "_guards_code", [])
    conditions[:] = [condition for condition in conditions if condition != _LAYOUT_OF_A_BATCH]
    for node in program.graph.nodes:  # the folders of this machine are nobody's business
        node.meta.pop("stack_trace", None)
    return program
