"""How many scenes of StreetScenes one core draws a second: run ``python benchmarks/street_scenes.py``.

Chunks of scenes are timed by the process's own clock; the median chunk is the figure, the fastest shows what the
machine can do undisturbed.
"""

from __future__ import annotations

import statistics
import time

import torch

from segkit.datasets import StreetScenes

SIZES = ((120, 160), (240, 320), (480, 640))
CHUNKS, SCENES = 15, 20


def seconds_a_scene(scenes: StreetScenes) -> list[float]:
    for index in range(len(scenes) - 60, len(scenes)):  # sprites are drawn when first needed
        scenes[index]
    times = []
    for chunk in range(CHUNKS):
        start = time.process_time()
        for index in range(chunk * SCENES, (chunk + 1) * SCENES):
            scenes[index]
        times.append((time.process_time() - start) / SCENES)
    return times


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    StreetScenes(1)[0]
    print(f"first scene, with its textures: {time.process_time() - start:.2f} s")
    print("| size | scenes/s, median | scenes/s, fastest chunk |\n|---|---|---|")
    for size in SIZES:
        times = seconds_a_scene(StreetScenes(CHUNKS * SCENES + 60, size=size))
        print(f"| {size[0]}x{size[1]} | {1 / statistics.median(times):.0f} | {1 / min(times):.0f} |")


if __name__ == "__main__":
    main()
