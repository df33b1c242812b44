"""Frozen stages keep every number, slower encoders take smaller steps, and a resumed run thaws when it should."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from references.small import small_model
from segkit import Trainer
from segkit.errors import ConfigError, InputError
from segkit.training import TrainConfig
from segkit.training.freezing import frozen_in
from segkit.training.hooks import Hook, Step
from segkit.training.loop import Run
from segkit.training.optim import create_optimizer, lr_factors

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "workers": 0}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def stages(names: set[str]) -> set[str]:
    """`encoder.stages.0` and the like, `decoder`, `head`: the parts that moved."""
    return {".".join(name.split(".")[:3]) if name.startswith("encoder") else name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (None, {"encoder.stages.0", "encoder.stages.1", "encoder.stages.2", "decoder", "head"}),
        (1, {"encoder.stages.1", "encoder.stages.2", "decoder", "head"}),
        (2, {"encoder.stages.2", "decoder", "head"}),
        (3, {"decoder", "head"}),
        ("encoder", {"decoder", "head"}),
    ],
)
def test_what_is_frozen_keeps_weights_and_statistics(squares: Any, freeze: Any, expected: set[str]) -> None:
    model = small_model(2)
    before = state(model)
    Trainer(model, **QUICK, freeze=freeze, weight_decay=0.1).fit(squares(4))
    assert stages(moved(before, model)) == expected
    assert all(parameter.requires_grad for parameter in model.parameters()), "fit gives the model back as it was"
    model.train()
    assert all(module.training for module in model.modules())


def test_a_librarys_encoder_is_frozen_as_well(squares: Any) -> None:
    from segkit import UNet

    model = UNet(2, encoder="tu-mobilenetv3_small_050", decoder_channels=(8, 8, 8, 8))
    before = state(model)
    Trainer(model, **QUICK, freeze="encoder").fit(squares(4))
    assert stages(moved(before, model)) == {"decoder", "head"}


@pytest.mark.parametrize(("freeze", "unfreeze", "expected"), [
    ("encoder", None, [3, 3, 3, 3, 3]),
    ("encoder", 2, [3, 3, 0, 0, 0]),
    ("encoder", (1, 2, 4), [3, 2, 1, 1, 0]),
    (2, (3,), [2, 2, 2, 1, 1]),
])  # fmt: skip
def test_stages_thaw_by_epochs_from_the_deepest(
    squares: Any, monkeypatch: pytest.MonkeyPatch, freeze: Any, unfreeze: Any, expected: list[int]
) -> None:
    seen: list[set[str]] = []
    train_epoch = Run._train_epoch

    def watched(self: Run, *args: Any) -> None:
        before = state(self.model)
        train_epoch(self, *args)
        seen.append(stages(moved(before, self.model)))

    monkeypatch.setattr(Run, "_train_epoch", watched)
    Trainer(small_model(2), **{**QUICK, "epochs": 5}, freeze=freeze, unfreeze=unfreeze).fit(squares(4))
    learning = [{f"encoder.stages.{stage}" for stage in range(frozen, 3)} | {"decoder", "head"} for frozen in expected]
    assert seen == learning


def test_a_resume_freezes_and_thaws_as_the_run_would_have(squares: Any, tmp_path: Path) -> None:
    options = {**QUICK, "epochs": 4, "freeze": "encoder", "unfreeze": [1, 3], "encoder_lr_factor": 0.3}
    train, val = squares(8), squares(2, seed=1)
    alone = Trainer(small_model(2), **options)
    alone.fit(train, val)
    for step in (1, 3, 6):  # frozen, one stage thawed in mid-epoch, at the end of an epoch before the last thaw
        out = tmp_path / f"run {step}"

        class Interrupt(Hook):
            def on_step_end(self, trainer: Trainer, at: Step, step: int = step) -> None:
                if at.number == step:
                    os.kill(os.getpid(), signal.SIGINT)

        trainer = Trainer(small_model(2), **options, out=out, hooks=[Interrupt()])
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(train, val)
        assert all(parameter.requires_grad for parameter in trainer.model.parameters())
        resumed = Trainer(small_model(2, seed=9), **options, out=out)
        resumed.fit(train, val, resume=True)
        assert moved(state(alone.model), resumed.model) == set()
    with pytest.raises(ConfigError, match=r"unfreeze was \[1, 3\] and is \[2, 3\]"):
        Trainer(small_model(2), **{**options, "unfreeze": (2, 3)}, out=out).fit(train, val, resume=True)


def test_a_models_own_frozen_stages_stay_frozen_and_come_back(squares: Any) -> None:
    model = small_model(2, frozen_stages=1)
    before = state(model)
    Trainer(model, **QUICK).fit(squares(4))
    assert "encoder.stages.0" not in stages(moved(before, model))
    Trainer(model, **QUICK, freeze=3).fit(squares(4))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert stages(frozen) == {"encoder.stages.0"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_encoder_takes_smaller_steps(squares: Any, optimizer: str) -> None:
    """With one step from the same weights, SGD moves in proportion to the rate, Adam by the rate."""

    def change(factor: float) -> tuple[Tensor, Tensor]:
        model = small_model(2)
        before = state(model)
        Trainer(model, **QUICK, optimizer=optimizer, lr=1e-3, encoder_lr_factor=factor).fit(squares(4))
        weight, head = "encoder.stages.1.0.body.0.0.weight", "head.weight"
        now = model.state_dict()
        return now[weight] - before[weight], now[head] - before[head]

    full, slow = change(1.0), change(0.1)
    torch.testing.assert_close(slow[0], 0.1 * full[0], rtol=1e-2, atol=2e-7)
    assert torch.equal(slow[1], full[1])
    assert full[0].abs().max() > 1e-6


def test_the_groups_of_the_optimiser() -> None:
    model = small_model(2)
    options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
    plain = create_optimizer("adamw", model.parameters(), **options)
    assert [(group["weight_decay"], group["lr_factor"]) for group in plain.param_groups] == [(0.1, 1.0), (0.0, 1.0)]
    factors = lr_factors(model, encoder_lr_factor=0.1, layer_decay=1.0)
    both = create_optimizer("adamw", model.parameters(), **options, lr_factors=factors)
    assert [(group["weight_decay"], group["lr"]) for group in both.param_groups] == [
        (0.1, 0.01), (0.0, 0.01), (0.1, pytest.approx(0.001)), (0.0, pytest.approx(0.001)),
    ]  # fmt: skip
    assert sum(len(group["params"]) for group in both.param_groups) == len(list(model.parameters()))
    slower = {weight for group in both.param_groups[2:] for weight in group["params"]}
    assert slower == set(model.encoder.parameters())


def test_layers_decay_from_the_deepest_stage_to_the_stem() -> None:
    model = small_model(2)
    factors = lr_factors(model, encoder_lr_factor=0.5, layer_decay=0.1)
    found = create_optimizer("adam", model.parameters(), lr=1.0, weight_decay=0.0, lr_factors=factors)
    assert sorted({group["lr_factor"] for group in found.param_groups}, reverse=True) == pytest.approx(
        [1.0, 0.05, 0.005, 0.0005]
    )
    assert sum(len(group["params"]) for group in found.param_groups) == len(list(model.parameters()))
    # What the stem's map depends on is the slowest, and is what `freeze(1)` would freeze.
    model.freeze(1)
    stem = [parameter for parameter in model.encoder.parameters() if not parameter.requires_grad]
    model.freeze(0)
    assert stem
    assert {round(factors[parameter], 6) for parameter in stem} == {0.0005}


def test_a_run_with_decaying_layers(squares: Any) -> None:
    trainer = Trainer(small_model(2), **QUICK, layer_decay=0.7)
    trainer.fit(squares(4))
    with pytest.raises(InputError, match=r"`layer_decay` must be greater than 0; got 0"):
        Trainer(small_model(2), **QUICK, layer_decay=0)


def test_the_history_has_the_rate_of_the_decoder(squares: Any, small_unet: Callable[..., Any]) -> None:
    history = Trainer(small_unet(), **QUICK, lr=1e-3, encoder_lr_factor=0.01).fit(squares(4))
    assert history.rows[0].lr == 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "decoder"}, r'`freeze` must be "encoder", a number of its stages \(1 is the stem\), or None'),
        ({"freeze": 0}, "`freeze` must be at least 1; got 0"),
        ({"freeze": True}, "`freeze` must be a whole number; got True"),
        ({"freeze": 4}, r"`freeze` \(=4\) must be at most 3, the stages of this encoder"),
        ({"unfreeze": 2}, r"`unfreeze` \(=2\) needs `freeze`"),
        ({"freeze": "encoder", "unfreeze": (3, 2)}, "growing, one a stage from the deepest"),
        ({"freeze": "encoder", "unfreeze": ()}, "growing, one a stage from the deepest"),
        ({"freeze": "encoder", "unfreeze": 0}, "`unfreeze` must be at least 1; got 0"),
        ({"freeze": "encoder", "unfreeze": "2"}, "`unfreeze` must be a whole number; got '2'"),
        ({"freeze": "encoder", "unfreeze": 1.5}, "`unfreeze` must be a whole number; got 1.5"),
        ({"freeze": 1, "unfreeze": (1, 2)}, "`unfreeze` has 2 epochs for 1 frozen stages: at most one a stage"),
        ({"encoder_lr_factor": 0.0}, r"`encoder_lr_factor` must be greater than 0; got 0\.0"),
        ({"encoder_lr_factor": "low"}, "`encoder_lr_factor` must be a number; got 'low'"),
    ],
)
def test_wrong_values_are_refused_when_they_enter(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(small_model(2), **QUICK, **options)


def test_config_alone_knows_the_same() -> None:
    assert TrainConfig(freeze="encoder", unfreeze=(1, 2)).to_dict()["unfreeze"] == (1, 2)
    with pytest.raises(InputError, match="`unfreeze`"):
        TrainConfig(unfreeze=(1,))


def test_frozen_in_never_grows_and_ends_where_it_should() -> None:
    for unfreeze in (None, 3, (1, 4, 5)):
        found = [frozen_in(epoch, 5, unfreeze) for epoch in range(8)]
        assert found == sorted(found, reverse=True)
        assert (found[0], found[-1]) == (5, {None: 5, 3: 0, (1, 4, 5): 2}[unfreeze])
