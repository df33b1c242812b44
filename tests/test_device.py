"""Device: what is chosen, what is refused, and what it does to tensors, modules and kernels."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit import device as device_module
from segkit.device import Device
from segkit.errors import InputError, KernelError
from segkit.kernels import argmax_labels
from segkit.kernels._choice import forced_kernels


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs that have bf16, whatever this one has."""
    monkeypatch.setattr(device_module, "_count", lambda kind: {"cuda": 2, "cpu": 1}.get(kind, 0))
    monkeypatch.setattr(device_module, "_cuda_bf16", lambda device: True)
    return monkeypatch


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a CPU alone, without bf16."""
    monkeypatch.setattr(device_module, "_count", lambda kind: int(kind == "cpu"))
    monkeypatch.setattr(device_module, "_cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.delenv("SEGKIT_KERNELS", raising=False)
    return monkeypatch


def test_auto_takes_the_gpu_in_bf16_and_channels_last(machine: pytest.MonkeyPatch) -> None:
    device = Device.auto()
    assert (device.torch, device.precision, device.channels_last) == (torch.device("cuda"), "bf16", True)


def test_auto_takes_fp16_on_a_gpu_without_bf16(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(device_module, "_cuda_bf16", lambda device: False)
    assert Device.auto().precision == "fp16"


def test_auto_takes_fp32_on_a_plain_cpu(bare: pytest.MonkeyPatch) -> None:
    device = Device.auto()
    assert (device.torch, device.precision, device.channels_last) == (torch.device("cpu"), "fp32", False)


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_auto_takes_bf16_and_channels_last_on_a_cpu_that_has_it(bare: pytest.MonkeyPatch, flag: str) -> None:
    bare.setattr(device_module, "_cpu_flags", lambda: frozenset({"avx2", flag}))
    device = Device.auto()
    assert (device.precision, device.channels_last) == ("bf16", True)


def test_cpu_flags_come_from_linux_where_torch_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = device_module._cpu_flags()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert ("avx512_bf16" in device_module._cpu_flags()) == ("avx512_bf16" in told)
    monkeypatch.setattr(device_module, "Path", lambda name: tmp_path / "absent")  # a system without /proc
    assert device_module._cpu_flags() == frozenset()


def test_printing_says_what_was_chosen_and_why(bare: pytest.MonkeyPatch) -> None:
    text = str(Device.auto())
    assert "no cuda, xpu, mps here" in text
    assert "neither AVX512-BF16 nor AMX" in text
    assert "argmax_labels by cpu" in text
    assert len(text.splitlines()) == 4


def test_parsing_takes_every_way_to_name_a_device(machine: pytest.MonkeyPatch) -> None:
    device = Device("cuda:1", precision="fp32")
    assert Device.parse(device) is device
    assert Device.parse("cuda:1").torch == Device.parse(torch.device("cuda", 1)).torch == torch.device("cuda:1")
    assert Device.parse(None) == Device.parse("auto") == Device.auto()


def test_an_absent_or_unknown_device_is_named_beside_what_is_here(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'cuda:2' is not here\. This machine has cuda:0, cuda:1, cpu"):
        Device("cuda:2")
    with pytest.raises(InputError, match="got 'cdua:1'; did you mean 'cuda'"):
        Device.parse("cdua:1")
    with pytest.raises(InputError, match="did you mean 'cuda'"):
        Device("gpu")
    with pytest.raises(InputError, match="'xpu' is not here"):
        Device("xpu")
    with pytest.raises(InputError, match="meta"):
        Device(torch.device("meta"))


def test_wrong_options_name_the_right_ones() -> None:
    with pytest.raises(InputError, match="`precision` must be one of auto, fp32, bf16, fp16"):
        Device("cpu", precision="float16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'triton'"):
        Device("cpu", kernels="tritn")


def test_a_device_is_frozen_comparable_and_picklable(bare: pytest.MonkeyPatch) -> None:
    device = Device("cpu", precision="bf16")
    assert device == Device("cpu", precision="bf16", channels_last=True)
    assert device != Device("cpu")
    assert hash(device) == hash(pickle.loads(pickle.dumps(device)))
    assert repr(device) == "Device('cpu', precision='bf16', kernels='auto', channels_last=True)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.precision = "fp32"  # type: ignore[misc]


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_computes_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    with Device("cpu", precision=precision).autocast():  # type: ignore[arg-type]
        assert layer(x).dtype == dtype
    with Device("cpu", precision="fp32").autocast():
        assert layer(x).dtype == torch.float32


def test_placing_brings_images_and_weights_into_the_layout() -> None:
    last, first = Device("cpu", channels_last=True), Device("cpu", channels_last=False)
    layer = nn.Conv2d(3, 4, 3)
    assert last.place(layer) is layer
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    image = torch.arange(2.0 * 3 * 4 * 5).view(2, 3, 4, 5)
    placed = last.place(image)
    assert placed.stride() == (60, 1, 15, 3)
    assert torch.equal(placed, image)
    assert first.place(image) is image
    assert last.place(torch.zeros(2, 4, 5, dtype=torch.uint8)).stride() == (20, 5, 1)


def test_a_block_forces_the_kernels_and_can_be_entered_again(bare: pytest.MonkeyPatch) -> None:
    forcing, plain = Device("cpu", kernels="triton"), Device("cpu")
    logits = torch.zeros(1, 2, 2, 2)
    with forcing:
        with forcing, plain:  # one that forces nothing leaves the outer choice
            assert forced_kernels()[0] == "triton"
        with pytest.raises(KernelError, match="triton"):
            argmax_labels(logits)
    assert forced_kernels()[0] is None
    with pytest.raises(ValueError, match="inside"), forcing:
        raise ValueError("inside")
    assert forced_kernels()[0] is None


def test_one_device_object_serves_threads_and_coroutines(bare: pytest.MonkeyPatch) -> None:
    device = Device("cpu", kernels="reference")
    seen: list[str | None] = []

    async def enter(wait: float) -> None:
        with device:
            await asyncio.sleep(wait)
            seen.append(forced_kernels()[0])
        seen.append(forced_kernels()[0])

    async def both() -> None:
        await asyncio.gather(enter(0.002), enter(0.001))

    asyncio.run(both())
    with device:
        thread = threading.Thread(target=lambda: seen.append(forced_kernels()[0]))
        thread.start()
        thread.join()
    assert seen == ["reference", None, "reference", None, None]


def test_the_table_follows_what_is_forced(bare: pytest.MonkeyPatch) -> None:
    assert Device("cpu").kernels["confusion_matrix"].chosen == "cpu"
    assert Device("cpu", kernels="reference").kernels["confusion_matrix"].chosen == "reference"
    bare.setenv("SEGKIT_KERNELS", "reference")
    assert Device("cpu").kernels["confusion_matrix"].chosen == "reference"


def test_this_machine_trains_in_what_auto_chose() -> None:
    device = Device.auto()
    layer = device.place(nn.Conv2d(3, 2, 3))
    image = device.place(torch.ones(1, 3, 8, 8))
    with device, device.autocast():
        loss = layer(image).float().square().mean()
    loss.backward()
    assert layer.weight.grad is not None
    assert torch.isfinite(layer.weight.grad).all()


def test_importing_the_device_touches_none() -> None:
    script = "import segkit.device, torch; assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
