"""What one process of several does: run as ``torchrun -m references.together CASE FOLDER``, or alone.

Each case writes what it found into ``FOLDER/found-RANK.json``, and weights beside it, for the test to compare.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from segkit import Device, Labels, Trainer, UNet
from segkit.datasets import SegmentationDataset
from segkit.training.distributed import ranks
from segkit.training.evaluate import evaluate
from segkit.training.hooks import Hook, Step

RANK, SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
QUICK: dict[str, Any] = {"device": Device("cpu", precision="fp32", channels_last=False), "workers": 0}


class Uneven(SegmentationDataset):
    """Noise with a square; each item has another share of ignored pixels, and every fifth nothing else."""

    def __init__(self, count: int) -> None:
        super().__init__(Labels(["ground", "square"]), ids=[f"item-{index}" for index in range(count)])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 90, (3, 32, 32 + 8 * (index % 2 if self.mixed else 0)), generator=generator)
        mask = torch.zeros(image.shape[1:], dtype=torch.uint8)
        mask[4:20, index % 8 : index % 8 + 12] = 1
        image[:, mask == 1] += 100
        mask[: 3 * (index % 7)] = 255
        if index % 5 == 4:
            mask[:] = 255
        return image.to(torch.uint8), mask

    mixed = False


class Mixed(Uneven):
    mixed = True


def model(norm: str = "group") -> UNet:
    torch.manual_seed(RANK)  # the processes begin with different weights; the first one's count
    return UNet(2, norm=norm, decoder_channels=(16, 8, 8, 8))  # type: ignore[arg-type]


class Losses(Hook):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        self.seen.append(step.loss)


def curves(folder: Path) -> dict[str, Any]:
    """The same steps by any number of processes: the batch is 4 images a step and 2 steps are one, of 20 items."""
    losses = Losses()
    trainer = Trainer(
        model(), **QUICK, epochs=2, batch_size=4 // SIZE, accumulate=2, optimizer="sgd", lr=0.05, grad_clip=1.0,
        class_weights=[0.5, 2.0], hooks=[losses], out=folder / "run", save_seconds=0,
    )  # fmt: skip
    history = trainer.fit(Uneven(20), Mixed(7))
    scores = trainer.evaluate(Mixed(7)).scores
    return {
        "losses": losses.seen,
        "epochs": [row.loss for row in history],
        "matrix": scores.matrix.tolist(),
        "ids": list(trainer.evaluate(Mixed(7)).evaluation.ids),
        "weights": weights_of(trainer, folder),
    }


def counts(folder: Path) -> dict[str, Any]:
    """An evaluation alone, of fewer items than some processes could share evenly."""
    torch.manual_seed(3)
    result = evaluate(UNet(2, decoder_channels=(16, 8, 8, 8)), Mixed(5), **QUICK)
    one = evaluate(UNet(2, decoder_channels=(16, 8, 8, 8)), Mixed(1), **QUICK)
    return {"matrix": result.scores.matrix.tolist(), "ids": list(result.evaluation.ids), "one": len(one.evaluation)}


class Kill(Hook):
    """Ends this process at a step, or sends it a signal."""

    def __init__(self, step: int, kind: signal.Signals) -> None:
        self.step, self.kind = step, kind

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        if step.number == self.step:
            os.kill(os.getpid(), self.kind)


def resumed(folder: Path, kind: signal.Signals | None = None) -> dict[str, Any]:
    """A run with dropout, EMA and batch statistics, which is ended at its fifth step where ``kind`` says how."""
    hooks = [] if kind is None else [Kill(5, kind)]
    network = model("batch")
    network.head = torch.nn.Sequential(torch.nn.Dropout(0.3), network.head)
    trainer = Trainer(
        network, **QUICK, epochs=3, batch_size=2, optimizer="adamw", ema=0.9, hooks=hooks, out=folder / "run",
        save_seconds=0, augment="light", size=(32, 32),
    )  # fmt: skip
    trainer.model.save = lambda path: path  # type: ignore[method-assign]  # assembled by hand: it has no name
    trainer.fit(Uneven(12), resume=any((folder / "run").glob("step-*")))
    return {"weights": weights_of(trainer, folder)}


def fails(folder: Path) -> dict[str, Any]:
    """The second process meets an item that cannot be read."""

    class Broken(Uneven):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            if RANK == 1 and index > 5:
                raise OSError(f"the disk of process 1 has lost item {index}")
            return super().__getitem__(index)

    Trainer(model(), **QUICK, epochs=50, batch_size=2).fit(Broken(40))
    return {}


def weights_of(trainer: Trainer, folder: Path) -> str:
    path = folder / f"weights-{RANK}.safetensors"
    save_file({name: value.contiguous() for name, value in trainer.model.state_dict().items()}, path)
    return path.name


CASES = {
    "curves": curves,
    "counts": counts,
    "alone": resumed,
    "killed": lambda folder: resumed(folder, signal.SIGKILL if RANK == 0 else None),
    "stopped": lambda folder: resumed(folder, signal.SIGTERM if RANK == 0 else None),
    "fails": fails,
}


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    for case in sys.argv[1].split(","):
        (folder / case).mkdir(parents=True, exist_ok=True)
        found = CASES[case](folder / case)
        (folder / case / f"found-{RANK}.json").write_text(json.dumps(found))
        ranks().wait()


if __name__ == "__main__":
    main()
