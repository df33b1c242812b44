"""The Lovász extension of the Jaccard loss, in plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.kernels.reference.terms import _lookup, _split, _wide

__all__ = ["LovaszTerms", "lovasz_terms"]


class LovaszTerms(NamedTuple):
    """What the Lovász loss is the mean of; a row for the batch, or one an image."""

    losses: Tensor
    """``(1, K)`` or ``(B, K)``: each class's loss over the valid pixels, float32 (float64 for float64 logits)."""
    present: Tensor
    """The same shape: the number of valid pixels whose target each class is."""


def lovasz_terms(logits: Tensor, target: Tensor, per_image: bool, ignore_index: int) -> LovaszTerms:
    """The definition: the errors of a class's valid pixels, sorted, against the steps of the Jaccard loss."""
    if per_image and not len(logits):
        none = _wide(logits).sum((2, 3))  # (0, K)
        return LovaszTerms(none, none.detach())
    rows = [
        [(_extension(errors, truth), truth.sum()) for errors, truth in _classes(scores, labels, valid)]
        for scores, labels, valid in _groups(logits, target, per_image, ignore_index)
    ]
    losses, present = (torch.stack([torch.stack([pair[i] for pair in row]) for row in rows]) for i in (0, 1))
    return LovaszTerms(losses, present.to(losses.dtype))


def _groups(
    logits: Tensor, target: Tensor, per_image: bool, ignore_index: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Scores (probabilities, or the logits of planes), labels and what is valid: of the batch, or image by image."""
    values = logits.shape[1] if target.ndim == 3 else 2
    valid, labels = _split(target, ignore_index, values)
    if target.ndim == 3:
        scores = torch.where(valid[:, None], _wide(logits), 0.0).softmax(dim=1)
    else:
        scores = torch.where(valid, _wide(logits), 0.0)
    _lookup(scores.new_zeros(values), labels)  # wrong labels are an error
    if not per_image:
        yield scores, labels, valid
        return
    for image in range(len(scores)):
        part = slice(image, image + 1)
        yield scores[part], labels[part], valid[part]


def _classes(scores: Tensor, labels: Tensor, valid: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each class's errors, and where it is the target: of the valid pixels, ``(n,)``."""
    for k in range(scores.shape[1]):
        if labels.ndim == 3:
            probs, truth = scores[:, k][valid], labels[valid] == k
            yield (truth.to(probs) - probs).abs(), truth
        else:
            kept = valid[:, k]
            margins, truth = scores[:, k][kept], labels[:, k][kept] == 1
            yield (1 - margins * (2 * truth.to(margins) - 1)).relu(), truth


def _extension(errors: Tensor, truth: Tensor) -> Tensor:
    """The errors, largest first, each times what its pixel adds to the Jaccard loss of those before it.

    With ``T`` pixels of the class, of which ``i`` went before, and ``u`` the union so far (``T`` and the others that
    went before), the Jaccard loss is ``1 - (T - i) / u``. A pixel of the class adds ``1 / u``, another one
    ``(T - i) / (u * (u + 1))``: no difference of near numbers, of which float32 would keep few digits.
    """
    ranked, order = errors.sort(descending=True, stable=True)
    own = truth[order].to(errors)
    before = own.cumsum(0) - own
    total = own.sum()
    union = total + torch.arange(len(own), device=own.device) - before
    # A class without a pixel: the first other one makes the loss 1, whatever follows.
    first = torch.where((union == 0), 1.0, (total - before) / (union.clamp(min=1) * (union + 1)))
    return (ranked * torch.where(own > 0, 1 / union.clamp(min=1), first)).sum()
