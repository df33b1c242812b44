"""Several processes that train one model together, a device each, as torchrun starts them.

Gradients are added up when the last micro-batch's backward pass is done, in buckets, by hand and not by torch's
DistributedDataParallel: so a process whose pixels are all ignored has nothing to run and keeps nobody waiting, stages
may freeze and thaw, and each loss counts by its share of the valid pixels of all processes, exactly. What is given up
is that the sums of the last layers could travel while the first ones are still computed.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segkit.device import Device

__all__ = ["Ranks", "is_main_process", "own_device", "ranks"]

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others. One that fails ends all much sooner: its connections break, and torchrun
stops the rest."""

_BUCKET = 25 << 20  # bytes that travel together; torch's own number


class Ranks:
    """The processes of this run, and which of them this one is.

    Attributes:
        rank: 0 for the one that writes and speaks.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, calls hooks and shows bars."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes.

        One that is None counts as zeros, but where it is None everywhere it stays so: its parameter has no part in the
        step.
        """
        if self.size == 1:
            return
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        if not learning:
            return
        there = torch.tensor([parameter.grad is not None for parameter in learning], dtype=torch.int32)
        there = there.to(learning[0].device)
        dist.all_reduce(there)
        gradients = []
        for parameter, count in zip(learning, there.tolist(), strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])  # type: ignore[no-untyped-call]
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    def share_(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each number over the processes."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return [float(value) for value in found]

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Every process's ``(n, ...)``, each with its own n, on the CPU."""
        if self.size == 1:
            return [rows]
        lengths = [int(length) for length in self._all(torch.tensor([len(rows)]))]
        padded = torch.zeros(max(lengths), *rows.shape[1:], dtype=rows.dtype)
        padded[: len(rows)] = rows
        return [part[:length] for part, length in zip(self._all(padded), lengths, strict=True)]

    def _all(self, tensor: Tensor) -> list[Tensor]:
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor)
        return found

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            self.most([0.0])


def _buckets(gradients: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """In their order, as many of one type together as a bucket holds."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size + gradient.nbytes > _BUCKET or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket


def ranks() -> Ranks:
    """The processes of this run: those of torch.distributed, which is started here where torchrun has asked for it."""
    if not dist.is_available():  # a build of torch without it
        return Ranks()
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            return Ranks()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
        atexit.register(_leave)
    return Ranks(dist.get_rank(), dist.get_world_size())


def is_main_process() -> bool:
    """Whether this process is the one that writes and speaks: the first of several, or the only one.

    Example:
        >>> is_main_process()
        True
    """
    return ranks().is_main


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def own_device(device: Device | torch.device | str | None) -> Device:
    """What names a device, as a `Device`; under torchrun "cuda" is the GPU of this process's number on its machine."""
    found = Device.parse(device)
    local = os.environ.get("LOCAL_RANK")
    if local is None or str(found.torch) != "cuda":  # another kind, or one that was named by its number
        return found
    torch.cuda.set_device(int(local))
    return Device(
        f"cuda:{local}",
        precision=found.precision,
        kernels=found.forced_kernels or "auto",
        channels_last=found.channels_last,
    )
