"""CamVid in so many minutes, from scratch: segkit's recipe and the usual way, one after the other on the same machine.

    python benchmarks/camvid.py CAMVID --minutes 20

Both train on the `train` frames and are judged by `segkit.metrics` on the `val` frames at full size, void ignored. All
`val` frames are from a drive that is also in `train`. Both keep the best of several weights by the frames that they are
judged on: segkit the best of its validations, whose time is in its minutes, the usual way (benchmarks/camvid_rival.py)
the best of its last weights, which costs it no time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import camvid_rival as rival
import torch
from torch import Tensor

import segkit
from segkit.datasets import CamVid
from segkit.metrics import Evaluation, Scores
from segkit.training import jobs

COLUMNS = ("micro IoU", "mIoU", "pixel accuracy", "images/s", "seconds", "million parameters")


@dataclass
class Row:
    """A contender's result."""

    name: str
    scores: Scores
    images_per_second: float
    seconds: float
    parameters: int

    def cells(self) -> list[str]:
        figures = (self.scores.micro_iou, self.scores.miou, self.scores.pixel_accuracy)
        speed = f"{self.images_per_second:.1f}", f"{self.seconds:.0f}", f"{self.parameters / 1e6:.1f}"
        return [self.name, *(f"{value:.3f}" for value in figures), *speed]


def judge(predict: Callable[[Tensor], Tensor], frames: CamVid) -> Scores:
    evaluation = Evaluation(frames.num_classes, names=frames.labels.names, ignore_index=frames.labels.ignore_index)
    for name, (image, mask) in zip(frames.ids, frames, strict=True):
        evaluation.update(predict(image), mask, [name])
    return evaluation.scores()


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def run_segkit(root: Path, minutes: float, seed: int, out: Path) -> Row:
    history, _ = jobs.train("camvid", root, out, recipe="street", minutes=minutes, seed=seed)
    predictor = segkit.load(out / "model")
    # The harmonic mean: an epoch has as many images as another, but for the last, which time cuts.
    speed = len(history) / sum(1 / row.images_per_second for row in history)
    scores = judge(predictor.predict, CamVid(root, "val"))
    return Row("segkit, recipe street", scores, speed, history.rows[-1].seconds, count(predictor.model))


def run_rival(root: Path, minutes: float, seed: int) -> Row:
    frames = CamVid(root, "val")
    run = rival.train(root, frames.num_classes, minutes=minutes, seed=seed)
    found = []
    for weights in run.weights:
        run.model.load_state_dict(weights)
        found.append(judge(rival.predictor(run.model), frames))
    best = max(found, key=lambda scores: scores.miou)
    return Row("the usual way", best, run.images / run.seconds, run.seconds, count(run.model))


def tables(rows: list[Row]) -> str:
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    lines += ["", f"| IoU of | {' | '.join(row.name for row in rows)} |", f"|---|{'--:|' * len(rows)}"]
    for k, name in enumerate(rows[0].scores.names):
        lines.append(f"| {name} | {' | '.join(f'{row.scores.iou[k]:.3f}' for row in rows)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of CamVid")
    parser.add_argument("--minutes", type=float, required=True, help="for each of the two")
    parser.add_argument("--only", choices=("segkit", "rival"), help="one of the two")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--out", type=Path, help="where segkit's model and report go; else they are not kept")
    options = parser.parse_args()
    train, val = CamVid(options.root, "train"), CamVid(options.root, "val")
    height, width = val[0][1].shape
    shared = sum(drive in set(train.groups or ()) for drive in val.groups or ())
    print(f"{options.minutes:g} minutes each, seed {options.seed}, torch {torch.__version__}", end=", ")
    print(f"{torch.get_num_threads()} threads, {len(train)} training frames. Judged on the {len(val)} frames", end=" ")
    print(f"of `val` at {height}x{width}, void ignored; {shared} are from a drive that is also in `train`.\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "rival":
            rows.append(run_segkit(options.root, options.minutes, options.seed, options.out or Path(folder) / "run"))
    if options.only != "segkit":
        rows.append(run_rival(options.root, options.minutes, options.seed))
    print(tables(rows))


if __name__ == "__main__":
    main()
