"""Batches of every task, for the tests of losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from segkit.labels import TASKS

Batch = tuple[Any, torch.Tensor, torch.Tensor, int]


@st.composite
def batches(draw: st.DrawFn, tasks: tuple[str, ...] = TASKS) -> Batch:
    """A task, float64 logits, a target with ignored pixels, and the ignored value."""
    task = draw(st.sampled_from(tasks))
    batch, height, width = draw(st.sampled_from([(1, 1, 1), (2, 3, 4), (3, 1, 5), (1, 7, 2), (1, 8, 8)]))
    classes = 1 if task == "binary" else draw(st.integers(1, 5))
    values = classes if task == "multiclass" else 2
    ignore_index = draw(st.sampled_from([255, -100, 7]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = (batch, classes, height, width) if task == "multilabel" else (batch, height, width)
    logits = draw(st.sampled_from([0.1, 3.0, 30.0])) * rng.standard_normal((batch, classes, height, width))
    target = rng.integers(0, values, shape)
    target[rng.random(shape) < draw(st.sampled_from([0.0, 0.4, 1.0]))] = ignore_index
    return task, torch.from_numpy(logits), torch.from_numpy(target), ignore_index


def weights_for(task: str, classes: int) -> list[float]:
    """One weight a class, all different."""
    return [0.5 + 0.75 * k for k in range(2 if task == "binary" else classes)]


def fixed_batch(task: Any, *, size: int = 6, ignored: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 logits and a target of 3 classes (1 for a binary task), always the same."""
    generator = torch.Generator().manual_seed(0)
    classes = 1 if task == "binary" else 3
    logits = 3 * torch.randn((2, classes, size, size + 1), generator=generator, dtype=torch.float64)
    shape = (2, 3, size, size + 1) if task == "multilabel" else (2, size, size + 1)
    target = torch.randint(0, 3 if task == "multiclass" else 2, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = 255
    return logits, target
