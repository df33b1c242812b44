"""How a model is trained: plain values that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from segkit._checks import check_choice, check_int, check_number
from segkit.errors import InputError
from segkit.training.freezing import check_freezing
from segkit.training.optim import OPTIMIZERS
from segkit.training.schedules import SCHEDULES

__all__ = ["TrainConfig", "check_workers"]


BEST_SCORES = ("miou", "micro_iou", "pixel_accuracy", "mean_dice")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The values of a training run; see `Trainer` for what each means."""

    loss: str = "cross_entropy"
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    grad_clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    epochs: int | None = 40
    minutes: float | None = None
    batch_size: int = 8
    augment: str | None = None
    rare_classes: float = 0.0
    steps_per_epoch: int | None = None
    size: tuple[int, int] | None = None
    progressive: float | None = None
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    encoder_lr_factor: float = 1.0
    layer_decay: float = 1.0
    freeze: str | int | None = None
    unfreeze: int | tuple[int, ...] | None = None
    seed: int = 0
    workers: int | str = "auto"
    cache: str | None = "memory"
    best: str = "miou"
    keep: int = 2
    save_seconds: float = 30.0
    on_nan: str = "stop"
    on_save_error: str = "warn"
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        if "." not in self.optimizer:  # a dotted name is of a class that the trainer was given
            check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_number("lr", self.lr, above=0)
        check_number("warmup", self.warmup, minimum=0, maximum=1)
        if self.grad_clip is not None:
            check_number("grad_clip", self.grad_clip, above=0)
        check_int("accumulate", self.accumulate, minimum=1)
        if self.ema is not None:
            check_number("ema", self.ema, minimum=0, maximum=1)
        check_choice("best", self.best, BEST_SCORES)
        check_int("keep", self.keep, minimum=1)
        check_number("save_seconds", self.save_seconds, minimum=0)
        check_choice("on_nan", self.on_nan, ("stop", "rollback"))
        check_choice("on_save_error", self.on_save_error, ("warn", "stop"))
        check_number("weight_decay", self.weight_decay, minimum=0)
        check_number("encoder_lr_factor", self.encoder_lr_factor, above=0)
        check_number("layer_decay", self.layer_decay, above=0, maximum=1)
        for name in ("compile", "deterministic"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"`{name}` must be True or False; got {getattr(self, name)!r}")
        check_freezing(self.freeze, self.unfreeze)
        check_int("batch_size", self.batch_size, minimum=1)
        check_int("seed", self.seed, minimum=0)
        check_workers(self.workers)
        check_number("rare_classes", self.rare_classes, minimum=0, maximum=1)
        if self.steps_per_epoch is not None:
            check_int("steps_per_epoch", self.steps_per_epoch, minimum=1)
        if self.epochs is None and self.minutes is None:
            raise InputError("a run needs an end: give `epochs`, `minutes`, or both (whichever comes first)")
        if self.epochs is not None:
            check_int("epochs", self.epochs, minimum=1)
        if self.minutes is not None:
            check_number("minutes", self.minutes, above=0)
        if self.size is not None:
            if not isinstance(self.size, tuple | list) or len(self.size) != 2:
                raise InputError(f"`size` must be (height, width); got {self.size!r}")
            for value in self.size:
                check_int("size", value, minimum=1)
            if self.augment is None:
                raise InputError(
                    f"`size` (={self.size}) is that of the crops that `augment` makes; give `augment` too "
                    '(such as "light"), or the data set a `resize`'
                )

        if self.progressive is not None:
            check_number("progressive", self.progressive, above=0, maximum=1)
            if self.size is None:
                raise InputError(
                    f"`progressive` (={self.progressive}) lets the crops of `augment` grow to `size`; give `size` too"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dataclasses.asdict(self)


def check_workers(workers: object) -> None:
    """Raise unless ``workers`` is a number of threads, or says who reads."""
    if isinstance(workers, str):
        check_choice("workers", workers, ("auto", "threads", "processes"))
    else:
        check_int("workers", workers, minimum=0)
