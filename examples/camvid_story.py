"""From street scenes to a figure to believe: resize, split, four short trials, train the best one on, judge it once.

python examples/camvid_story.py --root CamVid
python examples/camvid_story.py                     on generated scenes, with nothing to download
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from segkit import Trainer, UNet
from segkit.datasets import CamVid, SegmentationDataset, StreetScenes, random_split

FULL_SIZE = (360, 480)  # of CamVid's frames
TRIALS = (("adam", 1e-3), ("adam", 4e-3), ("adamw", 4e-3), ("sgd", 1e-1))


def splits(root: Path | None, size: tuple[int, int], scenes: int) -> tuple[SegmentationDataset, ...]:
    """Train, validation and test: trials are chosen and weights kept by the second; the third is looked at once."""
    if root is None:
        print("Data: generated scenes; each part has a seed of its own, so no scene is in two.")
        counts = (scenes, max(scenes // 6, 1), max(scenes // 6, 1))
        return tuple(StreetScenes(count, size=size, seed=seed) for seed, count in enumerate(counts))
    train, val = CamVid(root, "train", resize=size), CamVid(root, "val", resize=size)
    if (root / "test").is_dir() or (root / "test.txt").is_file():
        print("Data: CamVid, in the SegNet split.")
        return train, val, CamVid(root, "test", resize=size)
    print("Data: CamVid. No `test` on disk: `val` is the test set; of `train` whole drives are for validation.")
    return *random_split(train, [0.75, 0.25]), val


def describe(name: str, part: SegmentationDataset, train: SegmentationDataset) -> None:
    shared = sum(drive in set(train.groups or ()) for drive in part.groups or ())
    warning = "" if part is train or not part.groups else f", {shared} of them from a drive that is also in training"
    print(f"  {name:<11}{len(part):>4} images{warning}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="the folder of CamVid; without it, scenes are generated")
    parser.add_argument("--minutes", type=float, default=6, help="for trials and training together")
    parser.add_argument("--size", default="360x480", help="height x width that every image is brought to")
    parser.add_argument("--scenes", type=int, default=300, help="scenes to train on, where they are generated")
    parser.add_argument("--out", type=Path, default=Path("runs/story"), help="where model and report go")
    options = parser.parse_args()
    height, width = (int(part) for part in options.size.split("x"))
    options.out.mkdir(parents=True, exist_ok=True)  # now, so that a wrong place is found before the training
    train, val, test = parts = splits(options.root, (height, width), options.scenes)
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        describe(name, part, train)

    def trainer(model: UNet, optimizer: str, lr: float, **end: float | None) -> Trainer:
        crop = (height * 8 // 15, width * 8 // 15)  # 192x256 of 360x480
        plan = {"loss": "cross_entropy", "schedule": "one_cycle", "augment": "street", "size": crop}
        return Trainer(model, optimizer=optimizer, lr=lr, **plan, **end)

    start, trials = time.monotonic(), []
    for optimizer, lr in TRIALS:
        torch.manual_seed(0)  # every trial starts from the same weights, and sees the same crops in the same order
        model = UNet(train.num_classes)
        trial = trainer(model, optimizer, lr, epochs=2)
        steps = trial.fit(train).rows[-1].steps
        scores = trial.evaluate(val).scores
        print(f"{optimizer:<6} lr {lr:<6g} after {steps} steps: validation mIoU {scores.miou:.3f}")
        trials.append((scores.miou, optimizer, lr, model))

    _, optimizer, lr, model = max(trials, key=lambda trial: trial[0])
    minutes = max(options.minutes - (time.monotonic() - start) / 60, 0.02)
    print(f"Best: {optimizer}, lr {lr:g}; trained on for {minutes:.1f} minutes.")
    final = trainer(model, optimizer, lr, epochs=None, minutes=minutes)
    best = final.fit(train, val).best
    print(f"validation: micro IoU {best.val_micro_iou:.3f}, mIoU {best.val_miou:.3f}, at epoch {best.epoch}")

    result = final.evaluate(test)
    print(result.scores)
    full = ", full size" if options.root and (height, width) == FULL_SIZE else ""
    print(f"test: {len(test)} images at {height}x{width}{full}, void ignored:", end=" ")
    micro, macro, accuracy = result.scores.micro_iou, result.scores.miou, result.scores.pixel_accuracy
    print(f"micro IoU {micro:.3f}, mIoU {macro:.3f}, pixel accuracy {accuracy:.3f}")
    final.save(options.out / "model")
    print(f"report: {result.report(options.out / 'report.html', title='The story: test', train=train)}")


if __name__ == "__main__":
    main()
