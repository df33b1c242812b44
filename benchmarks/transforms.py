"""Augmenting a frame of 360x480 to 256x352 on one core: segkit's "street" against torchvision's v2 transforms.

    python benchmarks/transforms.py [rounds]

Both flip, scale by 0.5 to 2, crop, pad where the crop sticks out, and change brightness, contrast and saturation (ours
gamma and a colour cast too). They take turns on the same frames; times are of the process's own clock.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit._rng import generator
from segkit.datasets import StreetScenes
from segkit.transforms import create_transform

SIZE = (256, 352)
FRAMES = 8


def theirs() -> Callable[[Tensor, Tensor], object]:
    change = v2.Compose(
        [
            v2.ScaleJitter(target_size=(360, 480), scale_range=(0.5, 2.0)),
            v2.RandomCrop(SIZE, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.4),
        ]
    )
    return lambda image, mask: change(tv_tensors.Image(image), tv_tensors.Mask(mask))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    scenes = StreetScenes(FRAMES, size=(360, 480))
    frames = [scenes[index] for index in range(FRAMES)]
    street, rival = create_transform("street", size=SIZE), theirs()
    times: dict[str, list[float]] = {"segkit": [], "torchvision": []}
    for number in range(rounds):
        image, mask = frames[number % FRAMES]
        start = time.process_time()
        street(image, mask, generator(0, number))
        middle = time.process_time()
        rival(image, mask)
        times["segkit"].append(middle - start)
        times["torchvision"].append(time.process_time() - middle)
    print(f"| {rounds} frames in turn, ms of one core | median | mean | segkit is faster by |")
    print("|---|---|---|---|")
    ours = statistics.median(times["segkit"]), statistics.mean(times["segkit"])
    for name, spent in times.items():
        median, mean = statistics.median(spent), statistics.mean(spent)
        print(f"| {name} | {median * 1e3:.2f} | {mean * 1e3:.2f} | {median / ours[0]:.1f}x, {mean / ours[1]:.1f}x |")


if __name__ == "__main__":
    main()
