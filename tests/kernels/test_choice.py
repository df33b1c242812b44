"""Which form runs, who may force it, and how loudly it fails."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from segkit.errors import InputError, KernelError
from segkit.kernels import _choice, kernel_table
from segkit.kernels._choice import Op, forced_kernels, pop_forced, push_forced

CPU = torch.device("cpu")


@pytest.fixture
def op(monkeypatch: pytest.MonkeyPatch) -> Iterator[Op[[torch.Tensor], str]]:
    """An op that tells which form ran; its cpu form takes float32 only."""
    monkeypatch.setattr(_choice, "OPS", _choice.Registry("op"))
    monkeypatch.setattr(_choice, "_said", set())
    monkeypatch.delenv("SEGKIT_KERNELS", raising=False)
    made: Op[[torch.Tensor], str] = Op("probe", lambda x: "reference")
    made.register("cpu", lambda x: "cpu", refuse=lambda x: None if x.dtype == torch.float32 else f"no {x.dtype}")
    return made


def test_the_tensor_decides_where_nobody_forces(op: Op[[torch.Tensor], str]) -> None:
    assert op(torch.zeros(1)) == "cpu"
    assert op(torch.zeros(1, device="meta")) == "reference"


def test_an_automatic_choice_falls_back_and_says_so_once(
    op: Op[[torch.Tensor], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="segkit"):
        assert [op(torch.zeros(1, dtype=torch.float64)) for _ in range(3)] == ["reference"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "probe: the cpu form cannot run (no torch.float64); another form runs instead"
    ]


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_both_ways_of_forcing_pick_the_form(
    op: Op[[torch.Tensor], str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    push_forced(name)
    assert op(torch.zeros(1)) == name
    pop_forced()
    monkeypatch.setenv("SEGKIT_KERNELS", name)
    assert op(torch.zeros(1)) == name


def test_a_forced_form_that_cannot_run_raises(op: Op[[torch.Tensor], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", "cpu")
    with pytest.raises(KernelError, match=r"forced by SEGKIT_KERNELS: no torch\.float64"):
        op(torch.zeros(1, dtype=torch.float64))
    push_forced("triton")
    try:
        with pytest.raises(KernelError, match="forced by with device: the op has no triton form"):
            op(torch.zeros(1))
    finally:
        pop_forced()


def test_a_broken_registration_is_loud_where_it_is_forced(op: Op[[torch.Tensor], str]) -> None:
    del op.implementations["cpu"]
    assert op(torch.zeros(1)) == "reference"
    push_forced("cpu")
    try:
        with pytest.raises(KernelError, match="no cpu form"):
            op(torch.zeros(1))
    finally:
        pop_forced()


def test_the_block_comes_before_the_environment(op: Op[[torch.Tensor], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", "cpu")
    push_forced("reference")
    push_forced(None)  # a device that forces nothing leaves the outer one
    assert op(torch.zeros(1)) == "reference"
    pop_forced()
    assert op(torch.zeros(1)) == "reference"
    pop_forced()
    assert op(torch.zeros(1)) == "cpu"


@pytest.mark.parametrize("value", ["", "auto"])
def test_an_empty_environment_forces_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", value)
    assert forced_kernels() == (None, "")


def test_a_misspelt_environment_raises(op: Op[[torch.Tensor], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_KERNELS", "tritn")
    with pytest.raises(KernelError, match="did you mean 'triton'"):
        op(torch.zeros(1))


def test_threads_and_coroutines_do_not_see_each_others_force() -> None:
    push_forced("reference")
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(forced_kernels()[0]))
    thread.start()
    thread.join()

    async def forces(name: str) -> str | None:
        push_forced(name)
        await asyncio.sleep(0.001)
        found = forced_kernels()[0]
        pop_forced()
        return found

    async def both() -> list[str | None]:
        return await asyncio.gather(forces("cpu"), forces("triton"))

    assert asyncio.run(both()) == ["cpu", "triton"]
    pop_forced()
    assert seen == [None]


def test_a_name_is_entered_once(op: Op[[torch.Tensor], str]) -> None:
    with pytest.raises(InputError, match="registered already"):
        Op("probe", lambda x: "other")
    with pytest.raises(InputError, match="reference, cpu, triton"):
        op.register("numpy", lambda x: "numpy")


def test_the_table_says_what_was_chosen_and_why_not_the_others() -> None:
    table = kernel_table(CPU)
    assert [row.op for row in table] == sorted(row.op for row in table)
    row = table["argmax_labels"]
    assert row.chosen == "cpu"
    assert row.refused["reference"] == "'cpu' is preferred"
    assert "CUDA" in row.refused["triton"]
    assert "argmax_labels" in str(table)
    assert len(str(table).splitlines()) == len(table) + 1
    assert str(row).startswith("argmax_labels: cpu (not reference: ")


def test_the_table_of_a_forced_form_that_cannot_run() -> None:
    row = kernel_table(torch.device("cuda"), forced="cpu")["argmax_labels"]
    assert row.chosen is None
    assert row.refused["cpu"] == "made for tensors on the CPU, not on cuda"
    assert row.refused["reference"] == "'cpu' is forced"


def test_importing_the_kernels_touches_no_device_and_no_compiler() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import segkit.kernels; "
        "new = sorted(m for m in set(sys.modules) - before if m.partition('.')[0] != 'segkit'); "
        "assert not [m for m in new if m.startswith(('triton', 'torch._inductor', 'torch._dynamo'))], new; "
        "assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
