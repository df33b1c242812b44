"""The learning-rate range test: what it suggests, and that it leaves nothing behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segkit import Trainer, UNet
from segkit.errors import InputError
from segkit.training.lr_finder import range_test

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "workers": 0}


def test_a_valley_is_found_where_it_falls_fastest() -> None:
    """Losses that fall around 1e-2 and diverge past 0.3."""

    def loss(rate: float) -> float:
        return 1 / (1 + (rate / 1e-2) ** 2) + (100 * (rate - 0.3) if rate > 0.3 else 0)

    found = range_test(loss, lowest=1e-5, highest=10, steps=120)
    assert found.diverged
    assert found.rates[-1] < 1
    assert found.suggestion is not None
    assert 5e-3 < found.suggestion < 5e-2  # the average lags behind the loss
    assert np.all(np.diff(np.log(found.rates)) == pytest.approx(math.log(1e6) / 119))
    assert f"suggested: lr={found.suggestion:.1e}" in str(found)


def test_averages_are_unbiased() -> None:
    found = range_test(lambda _rate: 2.5, lowest=1e-3, highest=1e-1, steps=20)
    assert found.smoothed == pytest.approx([2.5] * 20)
    assert found.suggestion is None
    assert "the loss never fell" in str(found)


def test_a_loss_that_is_no_number_ends_it() -> None:
    found = range_test(lambda rate: math.nan if rate > 1e-2 else 1 - rate, lowest=1e-4, highest=1, steps=41)
    assert found.diverged
    assert max(found.rates) <= 1e-2
    assert all(map(math.isfinite, found.losses))
    assert range_test(lambda _rate: math.inf, lowest=1e-4, highest=1, steps=41).suggestion is None


def test_the_trainer_is_as_it_was(squares: Any, small_unet: Callable[[], UNet], tmp_path: Path) -> None:
    trainer = Trainer(small_unet(), **QUICK, optimizer="sgd", out=tmp_path / "run", augment="light", size=(32, 32))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    state = torch.get_rng_state()
    found = trainer.find_lr(squares(8), steps=40, highest=3.0)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 3
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.model.labels is None
    assert not (tmp_path / "run").exists()
    again = trainer.find_lr(squares(8), steps=40, highest=3.0)
    assert again.losses == found.losses
    axis = found.plot(tmp_path / "rates.png").axes[0]
    assert (tmp_path / "rates.png").stat().st_size > 1000
    assert axis.get_xscale() == "log"
    assert [line.get_label() for line in axis.lines][-1].startswith("suggested")


def test_bounds(squares: Any, small_unet: Callable[[], UNet]) -> None:
    with pytest.raises(InputError, match="highest"):
        Trainer(small_unet(), **QUICK).find_lr(squares(4), lowest=1e-3, highest=1e-4)
