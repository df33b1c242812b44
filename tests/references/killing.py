"""A training run that is killed again and again: run as ``python -m references.killing FOLDER KILLS SIGNAL CASE``.

One process imports torch and forks; each child trains, or resumes, and is killed at a random moment. At the end the
last child's weights are compared with those of a run that was left alone. Writes how often it was killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from segkit import Device, Trainer, UNet
from segkit.datasets import StreetScenes

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "threads": {"workers": 2, "augment": "street", "size": (48, 64)},
    "bf16": {"device": Device("cpu", precision="bf16"), "ema": 0.9, "accumulate": 2, "grad_clip": 1.0},
}


def train(folder: Path, case: str) -> None:
    options = {"workers": 0, "device": Device("cpu", precision="fp32")} | CASES[case]
    torch.manual_seed(0)
    model = UNet(11, decoder_channels=(16, 8, 8, 8))
    trainer = Trainer(
        model, epochs=4, batch_size=2, schedule="cosine", optimizer="adamw", save_seconds=0, out=folder, **options
    )
    data = StreetScenes(10, size=(48, 64))
    trainer.fit(data, StreetScenes(2, size=(48, 64), seed=9), resume=any(folder.glob("step-*")))
    trainer.model.save(folder / "final")


def child(folder: Path, case: str) -> int:
    """Fork a process that trains; its number."""
    number = os.fork()
    if number == 0:
        try:
            train(folder, case)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
    return number


def status(number: int) -> int:
    """Minus the signal that ended it, or its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def main(folder: Path, kills: int, name: str, case: str) -> None:
    torch.set_num_threads(1)
    kind = signal.Signals[name]
    started = time.monotonic()
    assert status(child(folder / "alone", case)) == 0
    seconds = time.monotonic() - started
    chance, done = random.Random(kills), 0
    while True:
        number = child(folder / "killed", case)
        if done == kills:
            assert status(number) == 0
            break
        time.sleep(chance.uniform(0, 2 * seconds / kills))
        os.kill(number, kind)
        ended = status(number)
        assert ended in (-kind, 0), ended
        if ended == 0:  # it was faster: start anew
            for path in sorted((folder / "killed").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            continue
        done += 1
    alone, killed = (load_file(folder / run / "final" / "model.safetensors") for run in ("alone", "killed"))
    assert alone.keys() == killed.keys()
    different = [name for name, weights in alone.items() if not torch.equal(weights, killed[name])]
    assert not different, f"the weights differ: {different}"
    sys.stdout.write(f"killed {done} times\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
