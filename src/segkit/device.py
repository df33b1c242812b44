"""Where work runs, in which precision and memory layout, and why that was chosen."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar, overload

import torch
from torch import Tensor, nn

from segkit._checks import check_choice, did_you_mean, listed
from segkit.errors import InputError
from segkit.kernels._choice import KERNEL_NAMES, KernelTable, kernel_table, pop_forced, push_forced

__all__ = ["Device", "Precision"]

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

TorchDevice: TypeAlias = torch.device  # inside the class, `torch` is the attribute
Module = TypeVar("Module", bound=nn.Module)

_TYPES = ("cuda", "xpu", "mps", "cpu")  # in the order of preference
_DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, init=False)
class Device:
    """A place to run, the precision it computes in, and the memory layout of images there.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"xpu"``, ``"mps"``, a `torch.device`, or ``"auto"``: the best one
            here.
        precision: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"``: what the hardware runs natively and fastest.
        kernels: ``"auto"``, or the one implementation that every op must take inside ``with device:``
            (``"reference"``, ``"cpu"``, ``"triton"``); an op that cannot, raises. ``"compiled"`` has torch compile the
            sums of the losses for the CPU, which takes some ten seconds; ops without such a form choose as ever.
        channels_last: whether images and weights are stored channel by channel within a pixel; None means where it
            pays.

    Raises:
        InputError: a device that is unknown or not here; the message lists what is.

    Example:
        >>> device = Device("cpu", precision="fp32")
        >>> device.precision, device.channels_last
        ('fp32', False)
        >>> with device, device.autocast():
        ...     _ = device.place(torch.zeros(1, 3, 4, 4))
    """

    torch: TorchDevice
    precision: Precision
    channels_last: bool
    forced_kernels: str | None
    reasons: dict[str, str] = field(compare=False, repr=False)
    """Why the device, the precision and the memory layout are what they are."""

    def __init__(
        self,
        name: str | TorchDevice,
        *,
        precision: Precision | Literal["auto"] = "auto",
        kernels: str = "auto",
        channels_last: bool | None = None,
    ) -> None:
        check_choice("precision", precision, ("auto", "fp32", "bf16", "fp16"))
        check_choice("kernels", kernels, ("auto", *KERNEL_NAMES))
        device, found = _best() if isinstance(name, str) and name == "auto" else (_existing(name), "asked for")
        reasons = {"device": found, "precision": "asked for", "memory layout": "asked for"}
        if precision == "auto":
            precision, reasons["precision"] = _native_precision(device)
        if channels_last is None:
            channels_last, reasons["memory layout"] = _layout(device, precision)
        object.__setattr__(self, "torch", device)
        object.__setattr__(self, "precision", precision)
        object.__setattr__(self, "channels_last", bool(channels_last))
        object.__setattr__(self, "forced_kernels", None if kernels == "auto" else kernels)
        object.__setattr__(self, "reasons", reasons)

    @classmethod
    def auto(cls) -> Self:
        """Return the best device of this machine, with the precision and layout that it runs best."""
        return cls("auto")

    @classmethod
    def parse(cls, device: Device | TorchDevice | str | None) -> Device:
        """Return a `Device` from whatever names one; None means `Device.auto`.

        Raises:
            InputError: it is unknown, or not here.
        """
        if isinstance(device, Device):
            return device
        return cls("auto" if device is None else device)

    @property
    def kernels(self) -> KernelTable:
        """What runs for each op here, and why the other forms do not."""
        return kernel_table(self.torch, self.forced_kernels)

    def autocast(self) -> AbstractContextManager[object]:
        """Return a block in which models compute in this device's precision; a block that does nothing for fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.torch.type, dtype=_DTYPES[self.precision])

    @overload
    def place(self, thing: Tensor) -> Tensor: ...
    @overload
    def place(self, thing: Module) -> Module: ...
    def place(self, thing: Tensor | nn.Module) -> Tensor | nn.Module:
        """Bring a tensor or a module here, 4-D ones into this device's memory layout.

        A pinned tensor is copied without waiting. A module is changed in place and returned, as ``Module.to`` does.
        """
        if isinstance(thing, nn.Module):
            moved = thing.to(self.torch)
            return moved.to(memory_format=torch.channels_last) if self.channels_last else moved
        layout = torch.channels_last if self.channels_last and thing.ndim == 4 else torch.preserve_format
        waits = self.torch.type == "cpu" or not thing.is_pinned()
        return thing.to(self.torch, non_blocking=not waits, memory_format=layout)

    def __enter__(self) -> Self:
        """Force this device's kernels, if it names any, in this thread or coroutine."""
        push_forced(self.forced_kernels)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pop_forced()

    def __repr__(self) -> str:
        return (
            f"Device({str(self.torch)!r}, precision={self.precision!r}, kernels={self.forced_kernels or 'auto'!r}, "
            f"channels_last={self.channels_last})"
        )

    def __str__(self) -> str:
        layout = "channels-last" if self.channels_last else "contiguous"
        kernels = ", ".join(f"{row.op} by {row.chosen or 'nothing'}" for row in self.kernels)
        rows = (
            ("device", str(self.torch), f"{_description(self.torch)}; {self.reasons['device']}"),
            ("precision", self.precision, self.reasons["precision"]),
            ("memory layout", layout, self.reasons["memory layout"]),
            ("kernels", self.forced_kernels or "auto", kernels),
        )
        return "\n".join(f"{name:13}  {value:13}  {why}" for name, value, why in rows)


def _best() -> tuple[torch.device, str]:
    best = next(kind for kind in _TYPES if _count(kind))
    better = _TYPES[: _TYPES.index(best)]
    return torch.device(best), f"no {', '.join(better)} here" if better else "the first choice"


def _existing(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in _TYPES:
        hint = did_you_mean(str(name).partition(":")[0].replace("gpu", "cuda"), _TYPES)
        raise InputError(f"`device` must be 'auto' or one of {listed(_TYPES)}; got {str(name)!r}{hint}. {_inventory()}")
    if (device.index or 0) >= _count(device.type):
        raise InputError(f"`device` {str(name)!r} is not here. {_inventory()}")
    return device


def _inventory() -> str:
    here = [f"{kind}:{index}" if kind != "cpu" else kind for kind in _TYPES for index in range(_count(kind))]
    return f"This machine has {listed(here)} (torch {torch.__version__})"


def _count(kind: str) -> int:
    """How many devices of one kind torch can use here."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "xpu":
        return torch.xpu.device_count() if torch.xpu.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())


def _native_precision(device: torch.device) -> tuple[Precision, str]:
    """The precision that ``device`` computes natively and trains well in, and why."""
    if device.type == "cpu":
        unit = _cpu_bf16_unit()
        return ("bf16", f"this CPU has {unit}") if unit else ("fp32", "this CPU has neither AVX512-BF16 nor AMX")
    if device.type == "mps":
        return "fp32", "mps trains in fp16 only with scaled losses"
    if device.type == "xpu":
        native = torch.xpu.is_bf16_supported(including_emulation=False)
        return ("bf16", "this GPU computes in it") if native else ("fp32", "this GPU has no bf16")
    return ("bf16", "this GPU computes in it") if _cuda_bf16(device) else ("fp16", "this GPU has no bf16")


def _cuda_bf16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _layout(device: torch.device, precision: Precision) -> tuple[bool, str]:
    """Whether channels-last pays on ``device``, and why."""
    if device.type == "mps":
        return False, "channels-last does not pay on mps"
    if precision == "fp32":
        return False, "channels-last pays in bf16 and fp16"
    return True, f"convolutions in {precision} run faster so"


def _cpu_bf16_unit() -> str | None:
    """The name of the CPU's bf16 instructions: AMX, AVX512-BF16, or None (also where nothing can be found out)."""
    flags = _cpu_flags()
    if flags & {"amx_bf16"}:
        return "AMX"
    return "AVX512-BF16" if flags & {"avx512_bf16"} else None


def _cpu_flags() -> frozenset[str]:
    """What this CPU can do, as torch tells, or else as Linux does."""
    try:
        capabilities = torch.cpu.get_capabilities()
        return frozenset(name for name, able in capabilities.items() if able is True)
    except (AttributeError, RuntimeError):  # older torch, other platforms
        pass
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return frozenset(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def _description(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    if device.type == "mps":
        return "Apple GPU"
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
