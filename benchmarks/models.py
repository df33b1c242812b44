"""Ten models of eleven classes at 360x480: weights, operations, speed, latency exported, and mIoU on CamVid.

    python benchmarks/models.py                                      all but the mIoU
    python benchmarks/models.py --camvid CAMVID --minutes 10         also trained from scratch, each for so long

Images a second are those of prediction (labels from one uint8 image) and of training steps (batches of 4, loss and Adam
included) in the precision that segkit chooses for this machine; MACs are of one image forward. ONNX latency is that of
onnxruntime in float32, from uint8 image to labels. Each figure of a model is a part that is kept in `--out` once it is
there: a call that was interrupted is simply made again. `--only` names some of the models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import segkit
from segkit import Device, Trainer, create_model
from segkit.datasets import CamVid, StreetScenes
from segkit.inference import Predictor
from segkit.losses import create_loss
from segkit.models import Segmenter, summary
from segkit.training.recipes import recipe_settings

CLASSES, SIZE, BATCH = 11, (360, 480), 4

MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "unet, plain (default)": ("unet", {}),
    "unet, small": ("unet", {"encoder": "small"}),
    "unet, resnet18": ("unet", {"encoder": "resnet18"}),
    "unet, tu-mobilenetv3_large_100": ("unet", {"encoder": "tu-mobilenetv3_large_100"}),
    "unetplusplus, plain": ("unetplusplus", {}),
    "fpn, plain": ("fpn", {}),
    "deeplabv3plus, resnet18": ("deeplabv3plus", {"encoder": "resnet18"}),
    "segformer, mit_b0": ("segformer", {}),
    "upernet, tu-convnext_atto": ("upernet", {"encoder": "tu-convnext_atto"}),
    "pspnet, resnet18": ("pspnet", {}),
}


def build(name: str) -> Segmenter:
    kind, options = MODELS[name]
    torch.manual_seed(0)
    return create_model(kind, num_classes=CLASSES, **options)


def size(name: str, _: argparse.Namespace) -> dict[str, float]:
    found = summary(build(name), size=SIZE, batch_size=BATCH)
    return {
        "million weights": found.parameters / 1e6,
        "GMACs": found.macs / 1e9,
        "training, MiB (estimated)": found.training_bytes / 2**20,
    }


def rate(run: Callable[[], object], images: int, rounds: int) -> float:
    """Images a second, by the median of the rounds; two more warm up."""
    spent = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        run()
        if number > 1:
            spent.append(time.perf_counter() - start)
    return images / statistics.median(spent)


def prediction(name: str, options: argparse.Namespace) -> dict[str, float]:
    predictor, image = Predictor(build(name), device="cpu"), StreetScenes(1, size=SIZE)[0][0]
    return {"predicting, images/s": rate(lambda: predictor.predict(image), 1, options.rounds)}


def training(name: str, options: argparse.Namespace) -> dict[str, float]:
    device = Device.parse("cpu")
    model = device.place(build(name)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = create_loss("cross_entropy")
    items = [StreetScenes(BATCH, size=SIZE)[index] for index in range(BATCH)]
    images, masks = (device.place(torch.stack(part)) for part in zip(*items, strict=True))

    def step() -> None:
        optimizer.zero_grad()
        with device:
            with device.autocast():
                logits = model(images)
            loss(logits, masks).backward()
        optimizer.step()

    return {"training, images/s": rate(step, BATCH, options.rounds)}


def onnx(name: str, options: argparse.Namespace) -> dict[str, float]:
    image = StreetScenes(1, size=SIZE)[0][0]
    with tempfile.TemporaryDirectory() as folder:
        segkit.export(build(name).eval(), Path(folder) / "model.onnx", frames=[image])
        predictor = segkit.load(Path(folder) / "model.onnx")
        return {"ONNX, ms": 1e3 / rate(lambda: predictor.predict(image), 1, options.rounds)}


def miou(name: str, options: argparse.Namespace) -> dict[str, float]:
    settings: dict[str, Any] = recipe_settings("street", {"minutes": options.minutes})
    settings.pop("balance")
    trainer = Trainer(build(name), device="cpu", **settings)
    trainer.fit(CamVid(options.camvid, "train"))
    return {f"mIoU after {options.minutes:g} min": trainer.evaluate(CamVid(options.camvid, "val")).scores.miou}


PARTS: Mapping[str, Callable[[str, argparse.Namespace], dict[str, float]]] = {
    "size": size,
    "prediction": prediction,
    "training": training,
    "onnx": onnx,
    "miou": miou,
}


def figures(name: str, options: argparse.Namespace) -> dict[str, float]:
    """What is known of a model; what is missing is measured, and kept."""
    found: dict[str, float] = {}
    for part, measure in PARTS.items():
        if part == "miou" and options.camvid is None:
            continue
        ending = f"{options.minutes:g}min" if part == "miou" else f"{torch.get_num_threads()}threads"
        path = options.out / f"{name.replace(', ', '-').replace(' ', '-')}.{part}.{ending}.json"
        if not path.is_file():
            value = measure(name, options)
            path.write_text(json.dumps(value))
        found |= json.loads(path.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="the folder of CamVid: train every model, too")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each")
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS), help="some of the models")
    parser.add_argument("--out", type=Path, default=Path("models-benchmark"), help="where finished parts are kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = {name: figures(name, options) for name in options.only}
    columns = list(next(iter(rows.values())))
    height, width = SIZE
    print(
        f"{height}x{width}, {torch.get_num_threads()} threads, torch {torch.__version__}, {Device.auto().precision}\n"
    )
    print(f"| model | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[column]:#.3g}' for column in columns)} |")


if __name__ == "__main__":
    main()
