"""Which parameters a feature depends on, read from the graph that autograd builds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["freeze_unreached", "frozen_modules", "probe", "stage_parameters"]


def probe(encoder: nn.Module, in_channels: int, size: int) -> list[Tensor]:
    """The features of an empty image of ``size`` x ``size``, in evaluation mode, with their graph."""
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    like = next(encoder.parameters())
    image = torch.zeros(1, in_channels, size, size, device=like.device, dtype=like.dtype)
    try:
        with torch.enable_grad():
            return list(encoder(image.requires_grad_()))
    finally:
        for module, mode in modes.items():
            module.training = mode


def stage_parameters(features: Sequence[Tensor]) -> list[set[nn.Parameter]]:
    """For each feature, finest first, the parameters that it depends on and no finer one does."""
    seen: set[object] = set()
    stages = []
    for feature in features:
        found: set[nn.Parameter] = set()
        todo = [feature.grad_fn]
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            leaf = getattr(node, "variable", None)
            if isinstance(leaf, nn.Parameter):
                found.add(leaf)
            todo += [after for after, _ in node.next_functions]
        stages.append(found)
    return stages


def freeze_unreached(encoder: nn.Module, features: Sequence[Tensor]) -> None:
    """Take out the parts of an encoder that no feature depends on, such as the layers below a smaller ``depth``.

    They would be saved, counted and never trained. A lone parameter that its module shares with others that are reached
    stays, and does not learn.
    """
    reached = {parameter for stage in stage_parameters(features) for parameter in stage}
    for module in list(encoder.modules()):
        for name, child in list(module.named_children()):
            parameters = list(child.parameters())
            if parameters and not any(parameter in reached for parameter in parameters):
                setattr(module, name, nn.Identity())
    for parameter in encoder.parameters():
        if parameter not in reached:
            parameter.requires_grad_(False)


def frozen_modules(encoder: nn.Module, frozen: set[nn.Parameter]) -> list[nn.Module]:
    """The modules all of whose parameters are frozen: they run as in evaluation."""
    found = []
    for module in encoder.modules():
        parameters = list(module.parameters())
        if parameters and all(parameter in frozen for parameter in parameters):
            found.append(module)
    return found
