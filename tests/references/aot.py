"""What a Triton form would launch on a GPU, compiled without one, and what the machine code shows.

`compiled(call, architecture)` runs a form on CPU tensors with the launch replaced: each kernel is compiled for the
architecture from exactly the arguments of its launch, as Triton itself would. What the form returns is not computed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from segkit.kernels.triton import _build

ARCHITECTURES = (80, 90)
_TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Compiled(NamedTuple):
    """One kernel of one launch."""

    name: str
    ttir: str
    usage: dict[str, int]  # REG, STACK, SHARED, LOCAL, ...


def compiled(call: Callable[[], object], architecture: int) -> list[Compiled]:
    """The kernels that ``call`` launches, in order, each once."""
    found: dict[str, Compiled] = {}
    with _recorded(architecture) as kernels:
        call()
    for kernel in kernels:
        if kernel.hash not in found:
            found[kernel.hash] = Compiled(kernel.metadata.name, kernel.asm["ttir"], _usage(kernel.asm["cubin"]))
    return list(found.values())


@contextmanager
def _recorded(architecture: int) -> Iterator[list[Any]]:
    kernels: list[Any] = []

    def run(kernel: Any, grid: tuple[int, ...], arguments: tuple[object, ...], constants: dict[str, object]) -> None:
        kernels.append(kernel.warmup(*arguments, grid=grid, **constants))

    before, driver._active = driver._active, _target(architecture)
    launched, _build._run = _build._run, run
    try:
        yield kernels
    finally:
        driver._active, _build._run = before, launched


def _target(architecture: int) -> Any:
    """As much of a driver as compiling needs. Each architecture is a device of its own: compiled kernels are kept."""
    return SimpleNamespace(
        get_current_device=lambda: architecture,
        get_current_stream=lambda _device: 0,
        get_current_target=lambda: GPUTarget("cuda", architecture, 32),
    )


def _usage(cubin: bytes) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([str(_TOOL), "-res-usage", str(path)], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", text)}


def narrow_addresses(ttir: str) -> list[str]:
    """The pointer sums of a kernel whose offset may have wrapped at 2^31, as their lines in Triton's intermediate code.

    An offset is safe if it is 64 bits wide and nothing narrower was added or multiplied on its way, except numbers that
    are small by their making: the places within a block.
    """
    made: dict[str, tuple[str, list[str], str]] = {}  # value: operation, operands, line
    faults = []
    for line in map(str.strip, ttir.splitlines()):
        found = re.match(r"((?:%[\w#:]+(?:, )?)+) = \"?([\w.]+)\"?(.*)", line)
        if not found:
            continue
        operation, operands = found[2], re.findall(r"%[\w#]+", found[3].partition(" : ")[0])
        for value in re.findall(r"%[\w#]+", found[1]):
            made[value] = (operation, operands, line)
        if operation == "tt.addptr":
            wide = re.search(r"(?:, |x)i64>?(?: loc\(.*\))?$", line)
            if not (wide and not _wraps(operands[1], made)) and not _small(operands[1], made):
                faults.append(line)
    return faults


_PLACES = ("tt.make_range", "arith.constant")
_SHAPES = ("tt.splat", "tt.broadcast", "tt.expand_dims", "tt.reshape", "tt.trans", "ttg.convert_layout")


def _wraps(value: str, made: dict[str, tuple[str, list[str], str]], narrow: bool = False) -> bool:
    """Whether a sum or product of 32 bits, other than of places within a block, feeds ``value``."""
    if value not in made:
        return False  # an argument of the kernel, or a value that a loop carries (whose type was looked at)
    operation, operands, _ = made[value]
    narrow = narrow or operation.startswith("arith.ext")
    if narrow and operation in ("arith.muli", "arith.addi", "arith.subi", "arith.shli"):
        return not all(_small(operand, made) for operand in operands)
    return operation != "tt.load" and any(_wraps(operand, made, narrow) for operand in operands)


def _small(value: str, made: dict[str, tuple[str, list[str], str]]) -> bool:
    if value not in made:
        return False
    operation, operands, _ = made[value]
    return operation in _PLACES or (
        operation in (*_SHAPES, "arith.addi", "arith.muli") and all(_small(item, made) for item in operands)
    )
