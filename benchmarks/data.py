"""Images a second from PNG files to the model's input, by two workers: segkit, torchvision v2, Albumentations.

    python benchmarks/data.py [CAMVID_ROOT] [--frames 96] [--rounds 5]

Frames of 360x480 (CamVid's, saved as PNG; generated ones without a root), crops of 256x352 in batches of 8, normalised
float32. All flip, zoom by 3/4 to 3/2, crop, and change brightness, contrast and saturation (segkit gamma, aspect and a
colour cast too). They take turns, an epoch each; medians, and the least and the most in brackets. Beside
them the processor's own time an image, of all threads and processes: what a busy machine disturbs least.

- segkit: `Loader`, two threads; batches leave as uint8 and are normalised as the model does it. First epoch: nothing is
  cached. Later: decoded in memory. New run: nothing in memory, decoded in a folder (`Cached`).
- torchvision: PIL images in a DataLoader of two worker processes that are there already, normalised in them. "crop
  first" takes RandomResizedCrop, which cuts before it resizes, instead of its segmentation reference's ScaleJitter.
- Albumentations (2.0, MIT; `pip install "albumentations<2.1"`): RandomSizedCrop, which cuts first too, over the same
  decoded arrays in memory, by two threads (its work releases the interpreter's lock) and by two worker processes.

The masks of segkit's crops are compared bit by bit with the nearest pixel, computed pixel by pixel in Python.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit._rng import generator
from segkit.datasets import Cached, CamVid, FolderDataset, StreetScenes
from segkit.labels import Labels
from segkit.models import UNet
from segkit.training.loader import Loader
from segkit.transforms import create_transform
from segkit.transforms._crop import Crop

Speeds = dict[str, list[float]]
SIZE, BATCH = (256, 352), 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_frames(root: Path, camvid: str | None, count: int) -> tuple[list[Path], list[Path]]:
    """``count`` images and masks as PNG."""
    source = CamVid(camvid, split="train") if camvid else StreetScenes(count, size=(360, 480))
    paths: tuple[list[Path], list[Path]] = ([], [])
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for index in range(count):
        image, mask = source[index * len(source) // count]
        arrays = {"images": image.permute(1, 2, 0).numpy(), "masks": mask.numpy()}
        for (folder, array), known in zip(arrays.items(), paths, strict=True):
            known.append(root / folder / f"{index:04d}.png")
            Image.fromarray(np.ascontiguousarray(array)).save(known[-1])
    return paths


class PilFrames(Dataset[Any]):
    """What torchvision's users write."""

    def __init__(self, paths: tuple[list[Path], list[Path]], crop: Any) -> None:
        self.paths = paths
        self.change = v2.Compose(
            [
                crop,
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.4),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths[0])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.paths[0][index])
        mask = tv_tensors.Mask(np.array(Image.open(self.paths[1][index])))
        return self.change(image, mask)


class Arrays(Dataset[Any]):
    """Albumentations over decoded arrays."""

    def __init__(self, arrays: list[tuple[Any, Any]]) -> None:
        import albumentations
        import cv2
        from albumentations.pytorch import ToTensorV2

        cv2.setNumThreads(0)
        self.arrays = arrays
        zoomed = (round(SIZE[0] / 1.5), round(SIZE[0] / 0.75))
        self.change = albumentations.Compose(
            [
                albumentations.RandomSizedCrop(zoomed, size=SIZE, w2h_ratio=SIZE[1] / SIZE[0]),
                albumentations.HorizontalFlip(),
                albumentations.ColorJitter((0.77, 1.3), (0.77, 1.3), (0.71, 1.4), (0, 0), p=1),
                albumentations.Normalize(MEAN, STD),
                ToTensorV2(),
            ]
        )

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        result = self.change(image=self.arrays[index][0], mask=self.arrays[index][1])
        return result["image"], result["mask"]


def by_threads(data: Arrays) -> Iterator[Tensor]:
    """Batches by two threads, a few ahead, as segkit's own are."""
    with ThreadPoolExecutor(2) as pool:
        order = np.random.default_rng(0).permutation(len(data)).tolist()
        samples = pool.map(data.__getitem__, order)
        batch = []
        for image, _ in samples:
            batch.append(image)
            if len(batch) == BATCH:
                yield torch.stack(batch)
                batch = []


def by_processes(data: Dataset[Any]) -> Callable[[], object]:
    """An epoch of a DataLoader whose two workers have been started."""
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True)
    next(iter(loader))
    return lambda: [len(images) for images, _ in loader]


class Ours:
    """An epoch of segkit's loader, and the normalisation that the model does."""

    def __init__(self, paths: tuple[list[Path], list[Path]], cache: Path | None = None) -> None:
        self.paths, self.cache = paths, cache
        self.labels = Labels([f"class {value}" for value in range(12)])
        self.normalize = UNet(12).normalize
        self.epoch = 0
        self.warm = self.loader()
        self.read(self.warm)

    def loader(self) -> Loader:
        folder = FolderDataset(self.paths[0][0].parent, self.paths[1][0].parent, self.labels)
        data = folder if self.cache is None else Cached(folder, self.cache)
        return Loader(
            data,
            labels=self.labels,
            batch_size=BATCH,
            transform=create_transform("street", size=SIZE),
            workers=2,
            cache_bytes=2**30 if self.cache is None else 0,
        )

    def read(self, loader: Loader) -> None:
        self.epoch += 1
        for batch in loader.shuffled(self.epoch):
            self.normalize(batch.images)

    def first(self) -> None:
        self.read(self.loader())

    def later(self) -> None:
        self.read(self.warm)


def differing_masks(paths: tuple[list[Path], list[Path]], count: int) -> int:
    """How many of ``count`` masks differ anywhere from the nearest pixel, taken one by one."""
    street, wrong = create_transform("street", size=SIZE), 0
    for number in range(count):
        mask = torch.from_numpy(np.array(Image.open(paths[1][number])))
        image = torch.zeros(3, *mask.shape, dtype=torch.uint8)
        place = street.draw(image, mask, generator(0, 0, number)).place
        _, labels = street(image, mask, generator(0, 0, number))
        wrong += not np.array_equal(labels.numpy(), oracle(mask.numpy(), place))
    return wrong


def oracle(mask: Any, crop: Crop) -> Any:
    (left, top, right, bottom), (height, width) = crop.box, crop.size
    out = np.full(crop.size, 255, mask.dtype)
    for i in range(height):
        y = math.floor(top + (i + 0.5) * ((bottom - top) / height))
        for j in range(width):
            x = math.floor(left + (j + 0.5) * ((right - left) / width))
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]:
                out[i, width - 1 - j if crop.flip else j] = mask[y, x]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second to the model's input")
    parser.add_argument("camvid", nargs="?")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two workers and the thread that normalises share two cores
    with tempfile.TemporaryDirectory() as root:
        paths = write_frames(Path(root), arguments.camvid, arguments.frames)
        print(table(*measure(paths, Path(root) / "cache", arguments)))
        print(f"\nmasks that differ from the nearest pixel: {differing_masks(paths, 8)} of 8")


def busy() -> float:
    """Processor seconds of this process and its living children."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(paths: tuple[list[Path], list[Path]], cache: Path, arguments: Any) -> tuple[Speeds, Speeds]:
    in_memory, in_folder = Ours(paths), Ours(paths, cache)
    jitter = v2.Compose(
        [
            v2.ScaleJitter((360, 480), (0.75, 1.5)),
            v2.RandomCrop(SIZE, pad_if_needed=True, fill={tv_tensors.Mask: 255, "others": 0}),
        ]
    )
    share = SIZE[0] * SIZE[1] / (360 * 480)
    first = v2.RandomResizedCrop(SIZE, (share / 1.5**2, min(1.0, share / 0.75**2)), (1.375, 1.375))
    data = in_memory.warm.dataset
    items = [data[index] for index in range(len(data))]
    arrays = Arrays([(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), mask.numpy()) for image, mask in items])
    contenders: dict[str, Callable[[], object]] = {
        "segkit, first epoch": in_memory.first,
        "segkit, later epochs": in_memory.later,
        "segkit, new run over a folder": in_folder.first,
        "torchvision v2, two processes": by_processes(PilFrames(paths, jitter)),
        "torchvision v2, crop first": by_processes(PilFrames(paths, first)),
        "Albumentations in memory, two threads": lambda: [len(images) for images in by_threads(arrays)],
        "Albumentations in memory, two processes": by_processes(arrays),
    }
    count = arguments.frames // BATCH * BATCH
    speeds: Speeds = {name: [] for name in contenders}
    costs: Speeds = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, run in contenders.items():
            start, spent = time.perf_counter(), busy()
            run()
            speeds[name].append(count / (time.perf_counter() - start))
            costs[name].append(1e3 * (busy() - spent) / count)
    return speeds, costs


def table(speeds: Speeds, costs: Speeds) -> str:
    middle = {name: statistics.median(all_) for name, all_ in speeds.items()}
    rival = middle["torchvision v2, two processes"]
    other = max(value for name, value in middle.items() if name.startswith("Alb"))
    head = "| images a second | median (least to most) | of torchvision's | of Albumentations' best | CPU ms an image |"
    lines = [head, "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {name} | {middle[name]:.0f} ({min(all_):.0f} to {max(all_):.0f}) | {middle[name] / rival:.2f}x "
        f"| {middle[name] / other:.2f}x | {statistics.median(costs[name]):.2f} |"
        for name, all_ in speeds.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
