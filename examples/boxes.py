"""Boxes from masks: the connected cars and pedestrians of predicted masks, judged by the exact boxes of StreetScenes.

python examples/boxes.py --model segkit-demo/model

A box encloses a connected region and scores its pixels' mean probability. It must match the box of an object's visible
pixels: objects that touch melt into one, and one behind a pole falls in two; exact masks, too, show what that costs.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import segkit
from segkit.datasets import StreetScenes
from segkit.metrics import regions
from segkit.training import demo, evaluate

Box = list[int]  # top, left, bottom, right; half-open
THINGS = ("car", "pedestrian")
SMALLEST = 25  # pixels; smaller regions are dropped, and smaller things are not asked for


def box_iou(a: Box, b: Box) -> float:
    height, width = (max(min(a[end], b[end]) - max(a[start], b[start]), 0) for start, end in ((0, 2), (1, 3)))
    return height * width / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - height * width)


def average_precision(found: list[list[tuple[float, Box]]], exact: list[list[tuple[bool, Box]]]) -> tuple[float, float]:
    """Area under precision (its envelope) over recall at IoU 0.5, and the last recall; NaN with nothing to find.

    ``found`` has of each image (score, box), ``exact`` of each (asked for, box). Boxes choose by score, each the free
    exact box it overlaps most; one that fits only what is not asked for counts neither as right nor as wrong.
    """
    free, hits = [list(boxes) for boxes in exact], []
    ranked = [(score, image, box) for image, boxes in enumerate(found) for score, box in boxes]
    for score, image, box in sorted(ranked, key=lambda one: -one[0]):
        near = [(asked, box_iou(box, one), one) for asked, one in free[image] if box_iou(box, one) >= 0.5]
        asked, _, match = max(near, key=lambda one: one[:2], default=(True, 0.0, None))
        if match is not None:
            free[image].remove((asked, match))
        if asked:
            hits.append((score, match is not None))
    total = sum(asked for boxes in exact for asked, _ in boxes) or float("nan")
    scores, right = np.array([score for score, _ in hits]), np.cumsum([hit for _, hit in hits])
    last = np.append(scores[1:] != scores[:-1], True)[: len(hits)]  # boxes of one score come at once
    envelope = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[last][::-1])[::-1]
    return float(np.sum(np.diff(right[last], prepend=0) * envelope)) / total, sum(hit for _, hit in hits) / total


def boxes_of(mask: np.ndarray, probs: np.ndarray, class_id: int) -> list[tuple[float, Box]]:
    found = regions(mask)
    chosen = np.flatnonzero((found.classes == class_id) & (found.areas >= SMALLEST))
    return [(float(probs[class_id][found.map == n].mean()), found.boxes[n].tolist()) for n in chosen]


def draw(picture: Image.Image, exact: list[tuple[bool, Box]], found: list[tuple[float, Box]]) -> None:
    pen = ImageDraw.Draw(picture)
    for box, color, text in [*((b, "white", "") for _, b in exact), *((b, "yellow", f"{s:.2f}") for s, b in found)]:
        pen.rectangle([2 * box[1], 2 * box[0], 2 * box[3] - 1, 2 * box[2] - 1], outline=color, width=2)
        pen.text((2 * box[1] + 3, 2 * box[0]), text, fill=color)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the folder of a trained one; without it the demo trains one")
    parser.add_argument("--scenes", type=int, default=50, help="unseen scenes to judge on")
    parser.add_argument("--out", type=Path, default=Path("runs/boxes"), help="where the report and pictures go")
    options = parser.parse_args()
    if options.model is None:
        demo(options.out)
    predictor, scenes = segkit.load(options.model or options.out / "model"), StreetScenes(options.scenes, seed=1)
    result = evaluate(predictor.model, scenes, device=predictor.device)
    result.report(options.out / "report.html")
    print(f"mIoU {result.scores.miou:.3f} on {len(scenes)} unseen scenes")
    exact, found, flawless = ({name: [] for name in THINGS} for _ in range(3))
    for i, (image, mask) in enumerate(scenes):
        with torch.no_grad():
            probs = predictor.model(predictor.device.place(image)).softmax(0).cpu().numpy()
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((2 * image.shape[2], 2 * image.shape[1]))
        for name in THINGS:
            k = scenes.labels.names.index(name)
            exact[name].append([(o.area >= SMALLEST, list(o.box)) for o in scenes.objects(i) if o.class_id == k])
            found[name].append(boxes_of(probs.argmax(0), probs, k))
            flawless[name].append(boxes_of(mask, np.ones_like(probs), k))
            draw(picture, exact[name][-1], found[name][-1])
        picture.save(options.out / f"scene-{i}.jpg")
    for name, (source, boxes) in product(THINGS, (("predicted", found), ("exact", flawless))):
        precision, recall = average_precision(boxes[name], exact[name])
        print(f"{name:<11} boxes of {source:<9} masks: AP {precision:.3f}, recall {recall:.3f} at IoU 0.5")


if __name__ == "__main__":
    main()
