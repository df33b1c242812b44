"""The U-Net against smp.Unet with its defaults, on the same encoder: training images a second, and mIoU on CamVid.

    python benchmarks/unet.py                                            speed alone, in a minute or two
    python benchmarks/unet.py --camvid CAMVID --minutes 10 --seeds 3     then both trained, each seed for so long

Both have the encoder resnet18, untrained, and run in bf16 and channels-last, on batches of 480x360 frames (smp.Unet on
384 rows: it takes multiples of 32 only; segkit pads by itself). The same loss and optimiser move both. For the mIoU
both are trained by segkit's Trainer with one recipe, so that nothing but the model differs; a part that has been run is
kept in `--out`, and a second call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from _measure import milliseconds
from torch import Tensor, nn

from segkit import Trainer, UNet
from segkit.datasets import CamVid
from segkit.models import Normalize, Segmenter
from segkit.training.recipes import recipe_settings

CLASSES, HEIGHT, WIDTH = 11, 360, 480
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def step(model: nn.Module, images: Tensor, masks: Tensor) -> Callable[[], None]:
    """A training step: forward in bf16, loss, backward, Adam."""
    model = model.to(memory_format=torch.channels_last).train()
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    criterion = nn.CrossEntropyLoss(ignore_index=255)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(images)
        criterion(logits.float(), masks).backward()
        optimizer.step()

    return run


def speed(batch: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Each model's median (wall, CPU) milliseconds of a training step."""
    masks = torch.randint(0, CLASSES, (batch, HEIGHT, WIDTH))
    taller = -(-HEIGHT // 32) * 32
    padded = torch.full((batch, taller, WIDTH), 255)
    padded[:, :HEIGHT] = masks
    frames = torch.randint(0, 256, (batch, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    contenders = {
        "segkit UNet": step(UNet(CLASSES, encoder="resnet18"), frames, masks),
        "smp.Unet": step(
            smp.Unet("resnet18", encoder_weights=None, classes=CLASSES), torch.rand(batch, 3, taller, WIDTH), padded
        ),
        "segkit UNet, plain": step(UNet(CLASSES), frames, masks),
    }
    return milliseconds(contenders, rounds)


class _Encoder(nn.Module):
    """smp's encoder as it is, for its own decoder."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.out_channels = tuple(body.out_channels)
        self.strides = (1, 2, 4, 8, 16, 32)

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.body(image)
        return features


class _Decoder(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.channels, self.stride = body, 16, 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        out: Tensor = self.body(features)
        return out


def rival() -> Segmenter:
    """smp.Unet, every layer of it, where the Trainer takes it."""
    model = smp.Unet("resnet18", encoder_weights=None, classes=CLASSES)
    parts = _Encoder(model.encoder), _Decoder(model.decoder), model.segmentation_head
    return Segmenter(*parts, Normalize(MEAN, STD), num_classes=CLASSES)


MODELS: dict[str, Callable[[], Segmenter]] = {
    "segkit UNet": lambda: UNet(CLASSES, encoder="resnet18"),
    "smp.Unet": rival,
}


def train(name: str, root: Path, minutes: float, seed: int) -> dict[str, float]:
    """One part: a model, from scratch, by segkit's street recipe."""
    settings: dict[str, Any] = recipe_settings("street", {"minutes": minutes})
    settings.pop("balance")
    torch.manual_seed(seed)
    trainer = Trainer(MODELS[name](), seed=seed, **settings)
    history = trainer.fit(CamVid(root, "train"))
    scores = trainer.evaluate(CamVid(root, "val")).scores
    images = len(history) and statistics.median(row.images_per_second for row in history)
    return {"mIoU": scores.miou, "pixel accuracy": scores.pixel_accuracy, "images/s": images}


def trained(root: Path, minutes: float, seeds: int, out: Path) -> dict[str, list[dict[str, float]]]:
    """Every model and seed in turn; those that lie in ``out`` are not run again."""
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    for seed in range(seeds):
        for name in MODELS:
            path = out / f"{name.replace(' ', '-')}-{minutes:g}min-seed{seed}.json"
            if not path.is_file():
                path.write_text(json.dumps(train(name, root, minutes, seed)))
            found[name].append(json.loads(path.read_text()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="images a step, for the speed")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each")
    parser.add_argument("--camvid", type=Path, help="the folder of CamVid: train both, too")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each model and seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--out", type=Path, default=Path("unet-benchmark"), help="where finished parts are kept")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {options.batch}, bf16\n")
    times = speed(options.batch, options.rounds)
    print("| training | wall, images/s | CPU, images/s | of smp.Unet, wall | of smp.Unet, CPU |\n|---|--:|--:|--:|--:|")
    for name, (wall, cpu) in times.items():
        base = times["smp.Unet"]
        cells = (1e3 * options.batch / wall, 1e3 * options.batch / cpu, base[0] / wall, base[1] / cpu)
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    if options.camvid is None:
        return
    found = trained(options.camvid, options.minutes, options.seeds, options.out)
    print(f"\n| {options.minutes:g} minutes, {options.seeds} seeds | mIoU, mean | spread | each | images/s |")
    print("|---|--:|--:|---|--:|")
    for name, rows in found.items():
        scores = [row["mIoU"] for row in rows]
        each = ", ".join(f"{value:.3f}" for value in scores)
        rate = statistics.mean(row["images/s"] for row in rows)
        spread = max(scores) - min(scores)
        print(f"| {name} | {statistics.mean(scores):.3f} | {spread:.3f} | {each} | {rate:.1f} |")


if __name__ == "__main__":
    main()
