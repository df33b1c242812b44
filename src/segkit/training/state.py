"""What a run is made of: packed for its checkpoint, taken back, and compared with what it was started with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit import __version__
from segkit.device import Device
from segkit.errors import ConfigError
from segkit.models import Segmenter
from segkit.training.checkpoint import pack_optimizer, unpack_optimizer
from segkit.training.config import TrainConfig
from segkit.training.distributed import Ranks
from segkit.training.ema import Ema

__all__ = ["Parts", "RunState", "check_same", "machine"]

# How long and with how many threads may change; what a step computes may not.
_FREE = {"epochs", "minutes", "workers", "cache", "keep", "save_seconds", "on_nan", "on_save_error"}


@dataclasses.dataclass
class RunState:
    """Where a run stands; plain numbers, all of them in the checkpoint."""

    epoch: int = 0
    epoch_start: float = 0.0  # the share of the run that was done before it
    batch: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    epoch_steps: int = 0
    epoch_seconds: float = 0.0
    waited_seconds: float = 0.0  # for data, of the whole run
    epoch_waited: float = 0.0
    place: list[int] | None = None  # how far a stream is read: the pass, and the items of it
    validation_seconds: float = 0.0
    last_validation_seconds: float = 0.0
    best_score: float | None = None
    rollbacks: int = 0
    finished: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What learns in a run, what it learns with, and the random numbers that it draws."""

    model: Segmenter
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema | None
    device: Device
    group: Ranks

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All of it, in copies: tensors, and plain values; the random numbers of every process."""
        optimizer_tensors, optimizer_values = pack_optimizer(self.optimizer)
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= optimizer_tensors
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.tensors.items()}
        for kind, state in self._random().items():
            for rank, one in enumerate(self.group.gather(state)):
                tensors[f"random.{kind}.{rank}"] = one
        plain = {"optimizer": optimizer_values, "scaler": self.scaler.state_dict()}
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, plain

    def unpack(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Take back what `pack` gave."""
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        unpack_optimizer(self.optimizer, tensors, plain["optimizer"])
        if self.ema is not None:
            self.ema.load(_with_prefix(tensors, "ema."))
        if plain["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(plain["scaler"])
        rank = self.group.rank
        if f"random.cpu.{rank}" in tensors:  # unless there were fewer processes
            torch.set_rng_state(tensors[f"random.cpu.{rank}"])
        if f"random.cuda.{rank}" in tensors and self.device.torch.type == "cuda":
            torch.cuda.set_rng_state(tensors[f"random.cuda.{rank}"], self.device.torch)

    def _random(self) -> dict[str, Tensor]:
        found = {"cpu": torch.get_rng_state()}
        if self.device.torch.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.device.torch)
        return found


def machine(device: Device) -> dict[str, Any]:
    """What may change, at the price of the last bits."""
    return {
        "precision": device.precision,
        "intra-op threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "segkit": __version__,
    }


def check_same(saved: dict[str, Any], *, config: TrainConfig, subject: dict[str, Any], out: Path) -> None:
    """Refuse to go on with other settings, or about something else, than what was saved.

    Raises:
        ConfigError: with each value that differs.
    """
    old = {name: value for name, value in saved["config"].items() if name not in _FREE} | saved["subject"]
    new = json.loads(json.dumps(config.to_dict() | subject))
    changed = [
        f"{name} was {value!r} and is {new.get(name)!r}" for name, value in old.items() if new.get(name) != value
    ]
    if changed:
        raise ConfigError(
            f"the run in {out} was started with other settings: {'; '.join(changed)}. "
            "Resume with the same ones, or start anew in another folder"
        )


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
