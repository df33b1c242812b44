"""An exported graph holds torch's own ops and nothing of ours: who runs it need not have segkit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segkit.device import Device
from segkit.kernels import argmax_labels


class Labelled(nn.Module):
    """A model whose output are labels, at the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return argmax_labels(self.layer(image), (16, 24))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kernels", ["auto", "cpu"])
def test_an_exported_graph_lists_only_torch_ops(kernels: str, strict: bool) -> None:
    model, image = Labelled().eval(), torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with Device("cpu", kernels=kernels):
        program = torch.export.export(model, (image,), strict=strict)
        ops = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        assert [op for op in ops if not op.startswith("aten.")] == []
        assert "aten.argmax.default" in ops  # the definition, not the walk over planes that suits the CPU
        assert len(ops) < 12
        assert torch.equal(program.module()(image), model(image))
