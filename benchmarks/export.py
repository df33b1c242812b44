"""Labels of a street scene of 360x480 on the CPU: exported files in onnxruntime against torch eager.

    python benchmarks/export.py [--model FOLDER] [--rounds 20] [--camvid ROOT]

All begin with one uint8 image and end in uint8 labels, with the same number of threads; they take turns. Without a
saved model it is a U-Net with random weights, which costs the same. With CamVid's folder the files are also judged on
its val split.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import segkit
from segkit import Device, Evaluation, UNet
from segkit.datasets import CamVid, StreetScenes
from segkit.inference import Predictor, quantize

SIZE = (360, 480)
BASE = "torch eager, fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description="onnxruntime against torch eager")
    parser.add_argument("--model", type=Path, help="a saved model")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--camvid", type=Path, help="folder of CamVid, to calibrate with and to judge on")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = segkit.load(arguments.model, device="cpu").model if arguments.model else UNet(11)
    assert isinstance(model, segkit.models.Segmenter)
    frames = StreetScenes(8, size=SIZE) if arguments.camvid is None else CamVid(arguments.camvid)
    with tempfile.TemporaryDirectory() as folder:
        predictors = contenders(model, frames, Path(folder))
        print(table(times(predictors, frames[0][0], arguments.rounds)))
        if arguments.camvid is not None:
            val = CamVid(arguments.camvid, split="val")
            print("\n" + scores({name: predictors[name] for name in (BASE, *list(predictors)[-2:])}, val))


def contenders(model: segkit.models.Segmenter, frames: CamVid | StreetScenes, folder: Path) -> dict[str, Predictor]:
    every = max(1, len(frames) // 24)
    few = [frames[index] for index in range(0, len(frames), every)]
    print(segkit.export(model, folder / "fp32.onnx", frames=few[:3]), end="\n\n")
    quantize(folder / "fp32.onnx", folder / "int8.onnx", few, judge=few[:1])
    found = {}
    for name, device in (
        (BASE, Device("cpu", precision="fp32", channels_last=False)),
        ("torch eager, fp32, channels-last", Device("cpu", precision="fp32", channels_last=True)),
        ("torch eager, bf16, channels-last", Device("cpu", precision="bf16", channels_last=True)),
    ):
        found[name] = Predictor(copy.deepcopy(model), device=device)
    found["onnxruntime, fp32"] = segkit.load(folder / "fp32.onnx")
    found["onnxruntime, int8"] = segkit.load(folder / "int8.onnx")
    return found


def times(predictors: dict[str, Predictor], image: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, round by round, all in turn."""
    runs: dict[str, Callable[[], object]] = {
        name: lambda one=one: one.predict(image)  # type: ignore[misc]  # a lambda's default has no type
        for name, one in predictors.items()
    }
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number > 1:  # the first rounds warm up
                found[name].append(1e3 * (time.perf_counter() - start))
    return found


def table(found: dict[str, list[float]]) -> str:
    lines = [f"| {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads | median, ms | quartiles | faster by |"]
    lines.append("|---|--:|--:|--:|")
    base = statistics.median(found[BASE])
    for name, spent in found.items():
        low, middle, high = statistics.quantiles(spent, n=4)
        lines.append(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {base / middle:.2f}x |")
    return "\n".join(lines)


def scores(predictors: dict[str, Predictor], val: CamVid) -> str:
    evaluations = {name: Evaluation(val.num_classes, names=val.labels.names) for name in predictors}
    same, pixels = dict.fromkeys(predictors, 0), 0
    for index in range(len(val)):
        image, mask = val[index]
        masks = {name: one.predict(image).numpy() for name, one in predictors.items()}
        pixels += mask.numel()
        for name, labels in masks.items():
            same[name] += int((labels == masks[BASE]).sum())
            evaluations[name].update(labels, mask.numpy())
    lines = [f"| {len(val)} frames of CamVid's val split | mIoU | labels as torch eager gives them |", "|---|--:|--:|"]
    for name, evaluation in evaluations.items():
        lines.append(f"| {name} | {evaluation.scores().miou:.4f} | {same[name] / pixels:.4%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
