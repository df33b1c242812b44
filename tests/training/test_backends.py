"""What torch is told while a run lasts, and that it is put back; a model that is compiled for the run alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit import Device, Trainer, UNet
from segkit.errors import InputError, TrainingError
from segkit.models._upsample import upsample
from segkit.training import _backends
from segkit.training.hooks import Hook
from segkit.training.schedules import grown

FP32 = Device("cpu", precision="fp32", channels_last=False)
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 4, "device": FP32, "workers": 0}


def flags() -> tuple[Any, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


class Look(Hook):
    def on_step_end(self, trainer: Trainer, step: Any) -> None:
        self.seen = flags()
        if trainer.config.lr == 0.5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("lr", [1e-3, 0.5])
def test_flags_hold_for_the_run_and_no_longer(squares: Any, small_unet: Callable[[], UNet], lr: float) -> None:
    before, look = flags(), Look()
    trainer = Trainer(small_unet(), **QUICK, deterministic=True, lr=lr, hooks=[look])
    if lr == 0.5:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(squares(4))
    else:
        trainer.fit(squares(4))
    assert look.seen == (True, False, True, False, ":4096:8")
    assert flags() == before


def test_deterministic_changes_no_number_on_a_cpu(squares: Any, small_unet: Callable[[], UNet]) -> None:
    plain, strict = Trainer(small_unet(), **QUICK), Trainer(small_unet(), **QUICK, deterministic=True)
    plain.fit(squares(4))
    strict.fit(squares(4))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, strict.model.state_dict()[name]), name


def test_enlarging_has_another_gradient_where_torchs_is_in_any_order() -> None:
    """On a device that is no CPU; "meta" stands for the GPU: the graph is built there, too."""
    x = torch.zeros(1, 2, 5, 6, device="meta", requires_grad=True)
    assert "Upsample.apply" not in name_of(upsample(x, 2, (9, 12)))
    torch.use_deterministic_algorithms(True)
    try:
        out = upsample(x, 2, (9, 12))
        assert "Upsample" in name_of(out)
        out.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape
    finally:
        torch.use_deterministic_algorithms(False)


def name_of(tensor: torch.Tensor) -> str:
    assert tensor.grad_fn is not None
    name = tensor.grad_fn.name()
    return "Upsample.apply" if name == "_UpsampleBackward" else name


def test_what_cannot_be_deterministic_is_named(squares: Any, small_unet: Callable[[], UNet]) -> None:
    class Pooled(nn.Module):
        """As torch answers on a GPU."""

        def forward(self, features: Any) -> Any:
            raise RuntimeError(
                "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
                "'torch.use_deterministic_algorithms(True)'."
            )

    model = small_unet()
    trainer = Trainer(model, **QUICK, deterministic=True)
    model.decoder.forward = Pooled().forward  # type: ignore[method-assign]
    with pytest.raises(
        TrainingError, match=r"adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation\. Take"
    ):
        trainer.fit(squares(4))


@pytest.mark.slow
def test_a_compiled_run_is_the_same_run(squares: Any, small_unet: Callable[[], UNet]) -> None:
    plain = Trainer(small_unet(), **QUICK)
    eager = plain.fit(squares(8), squares(2, seed=1))
    names = list(plain.model.state_dict())
    torch._dynamo.reset()
    compiled = Trainer(small_unet(), **QUICK, compile=True)
    history = compiled.fit(squares(8), squares(2, seed=1))
    assert [row.loss for row in history] == pytest.approx([row.loss for row in eager], rel=1e-3)
    assert history.rows[-1].val_miou == pytest.approx(eager.rows[-1].val_miou, abs=0.02)
    assert list(compiled.model.state_dict()) == names
    assert compiled.model._compiled_call_impl is None
    assert not any("not compiled" in note for note in history.notes)


def test_without_a_compiler_the_run_goes_on_and_says_so(
    squares: Any, small_unet: Callable[[], UNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backends.cpu_compiled, "_COMPILER", None)
    history = Trainer(small_unet(), **QUICK, compile=True).fit(squares(4))
    assert [note for note in history.notes if note.startswith("the model was not compiled: there is no C++ compiler")]


def test_crops_grow(squares: Any, small_unet: Callable[[], UNet]) -> None:
    sizes = []

    class Sizes(Hook):
        def on_epoch_end(self, trainer: Trainer, epoch: Any) -> None:
            assert trainer._run is not None
            sizes.append(trainer._run.train.maker.transform.size)  # type: ignore[attr-defined]

    options = {**QUICK, "epochs": 4, "augment": "light", "size": (64, 96), "progressive": 0.4}
    Trainer(small_unet(), **options, hooks=[Sizes()]).fit(squares(4))
    assert sizes == [grown((64, 96), 0.4, share) for share in (0, 0.25, 0.5, 0.75)]
    assert sizes == [(32, 32), (32, 32), (32, 64), (64, 96)]


@pytest.mark.parametrize("workers", [0, "processes"])
def test_a_progressive_run_resumes_in_mid_epoch(
    squares: Any, small_unet: Callable[[], UNet], tmp_path: Any, workers: Any
) -> None:
    options = {**QUICK, "batch_size": 2, "epochs": 3, "augment": "light", "size": (64, 64), "progressive": 0.5}
    options["workers"] = workers
    alone = Trainer(small_unet(), **options)
    alone.fit(squares(8))

    class Halt(Hook):
        def on_step_end(self, trainer: Trainer, step: Any) -> None:
            if step.number == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(small_unet(), **options, out=tmp_path, save_seconds=0, hooks=[Halt()]).fit(squares(8))
    resumed = Trainer(small_unet(), **options, out=tmp_path)
    resumed.fit(squares(8), resume=True)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"progressive": 0.5}, r"`progressive` \(=0\.5\) lets the crops of `augment` grow to `size`; give `size` too"),
        ({"progressive": 1.5, "augment": "light", "size": (32, 32)}, "`progressive` must be at most 1"),
        ({"deterministic": 1}, "`deterministic` must be True or False; got 1"),
        ({"compile": "yes"}, "`compile` must be True or False; got 'yes'"),
    ],
)
def test_wrong_values_are_refused(small_unet: Callable[[], UNet], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(small_unet(), **{**QUICK, **options})


def test_the_replaced_gradient_is_torchs() -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    upsample(x, 2, (9, 13)).square().sum().backward()
    ours, x.grad = x.grad, None
    F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :9, :13].square().sum().backward()
    torch.testing.assert_close(ours, x.grad)
