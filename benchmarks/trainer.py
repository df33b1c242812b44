"""What our Trainer costs beside a plain loop, Lightning and fastai: a step's overhead, images a second, time's shares.

    python benchmarks/trainer.py                          the overhead, and the shares on made street scenes
    python benchmarks/trainer.py --camvid CAMVID          also end to end on CamVid, and the shares there

`overhead`: a tiny U-Net on 32x32, batches of 2 from a list of tensors, Adam, one thread, no validation. Every trainer
draws its bar on a pseudo-terminal and logs to a file at its defaults (ours: CSV and JSON lines). The plain loop slices
and stacks the list itself; another takes a DataLoader, as Lightning and fastai do. They take turns; times are from
step to step, without set-up, of each turn's steps after the first ones.

`camvid`: from files to weights, validation after each epoch included, each side as its users write it: segkit's Trainer
with `augment="street"`; Lightning with torchvision's v2 transforms on PIL images, a DataLoader with two workers that
persist, and torchmetrics' Jaccard index. Model, crops (192x256), batches (8), Adam at 0.001 and epochs are the same.
The first epoch warms up (ours fills its cache of decoded images in it) and is shown beside the later ones.

`shares`: what parts of a run of segkit's are of its wall time: waiting for data, forward with the loss, backward, the
optimiser with its look at the gradients, and the metrics, which are the whole validation, its forward passes included.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import logging
import os
import pty
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segkit import Trainer, create_model
from segkit.datasets import CamVid, SegmentationDataset, StreetScenes, Subset
from segkit.losses import create_loss
from segkit.models import Segmenter
from segkit.training import CSVLog, Hook, JSONLog
from segkit.training.loop import Run
from segkit.training.step import Stepper

WARM_UP = 50  # steps of each turn that are not counted
Times = tuple[float, float]  # wall and CPU time of this thread, seconds
Items = list[tuple[Tensor, Tensor]]


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Let what is written go to a pseudo-terminal, which another process reads, so that bars are really drawn."""
    ours, theirs = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ours)
    with os.fdopen(theirs, "w") as screen, contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        yield
        assert sys.stderr.isatty()
    reader.wait()


class Marks:
    """When steps ended."""

    def __init__(self) -> None:
        self.steps = 0
        self.first: Times | None = None
        self.last: Times = (0.0, 0.0)

    def mark(self) -> None:
        self.steps += 1
        if self.steps >= WARM_UP:
            self.last = time.perf_counter(), time.thread_time()
            self.first = self.first or self.last

    @property
    def milliseconds(self) -> Times:
        assert self.first is not None
        wall, cpu = (
            1e3 * (end - start) / (self.steps - WARM_UP) for start, end in zip(self.first, self.last, strict=True)
        )
        return wall, cpu


class MarkSteps(Hook):
    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def on_step_end(self, trainer: Trainer, step: object) -> None:
        self.marks.mark()


def tiny() -> Segmenter:
    torch.manual_seed(0)
    return create_model(
        "unet", num_classes=3, encoder="small", encoder_options={"channels": (8, 16, 16), "blocks": (1,)}
    )


def tensors(count: int) -> Items:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator),
            torch.randint(0, 3, (32, 32), dtype=torch.uint8, generator=generator),
        )
        for _ in range(count)
    ]


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def stacked(items: Items) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(items)).tolist()
    for start in range(0, len(items), 2):
        images, masks = zip(*(items[index] for index in order[start : start + 2]), strict=True)
        yield torch.stack(images), torch.stack(masks)


def loop(items: Items, batches: Callable[[Items], Any]) -> Times:
    model, loss, marks = tiny().train(), create_loss("cross_entropy"), Marks()
    optimizer = adam(model)
    for images, masks in batches(items):
        optimizer.zero_grad()
        loss(model(images), masks).backward()
        optimizer.step()
        marks.mark()
    return marks.milliseconds


def plain(items: Items) -> Times:
    return loop(items, stacked)


def with_loader(items: Items) -> Times:
    return loop(items, lambda items: DataLoader(items, batch_size=2, shuffle=True))  # type: ignore[arg-type]


def ours(items: Items) -> Times:
    marks = Marks()
    with tempfile.TemporaryDirectory() as folder, terminal():
        hooks: list[Hook] = [CSVLog(folder), JSONLog(folder), MarkSteps(marks)]
        Trainer(tiny(), epochs=1, batch_size=2, device="cpu", hooks=hooks).fit(items)
    return marks.milliseconds


def quiet_lightning() -> Any:
    """Lightning, without its lines on hardware and its tips; the bar stays."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    return lightning


def by_lightning(items: Items) -> Times:
    lightning = quiet_lightning()
    from lightning.pytorch.loggers import CSVLogger

    marks = Marks()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = tiny(), create_loss("cross_entropy")

        def training_step(self, batch: Any, number: int) -> Tensor:
            value: Tensor = self.loss(self.model(batch[0]), batch[1])
            self.log("loss", value, prog_bar=True)
            return value

        def on_train_batch_end(self, *_: object) -> None:
            marks.mark()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adam(self.model)

    with tempfile.TemporaryDirectory() as folder, terminal():
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=CSVLogger(folder),
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        trainer.fit(Module(), DataLoader(items, batch_size=2, shuffle=True))  # type: ignore[arg-type]
    return marks.milliseconds


def by_fastai(items: Items) -> Times:
    from fastai.callback.core import Callback
    from fastai.callback.progress import CSVLogger
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    marks = Marks()

    class Mark(Callback):  # type: ignore[misc]
        def after_batch(self) -> None:
            if self.training:
                marks.mark()

    with tempfile.TemporaryDirectory() as folder, terminal():
        loaders = DataLoaders(
            DataLoader(items, batch_size=2, shuffle=True),  # type: ignore[arg-type]
            DataLoader(items[:2], batch_size=2),  # type: ignore[arg-type]
        )
        model = tiny()
        learner = Learner(
            loaders,
            model,
            loss_func=create_loss("cross_entropy"),
            cbs=[CSVLogger(), Mark()],
            path=folder,
            opt_func=lambda groups, **_: OptimWrapper(groups, torch.optim.Adam, lr=1e-3, fused=True),
        )
        learner.fit(1, lr=1e-3)
    return marks.milliseconds


TRAINERS: Mapping[str, Callable[[Items], Times]] = {
    "plain loop": plain,
    "plain loop, DataLoader": with_loader,
    "segkit": ours,
    "Lightning": by_lightning,
    "fastai": by_fastai,
}


def overhead(options: argparse.Namespace) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    items = tensors(2 * (options.steps + WARM_UP))
    found: dict[str, list[Times]] = {name: [] for name in TRAINERS}
    for number in range(options.rounds + 1):
        for name, run in TRAINERS.items():
            gc.collect()
            times = run(items)
            if number:  # the first round warms up
                found[name].append(times)
    torch.set_num_threads(threads)
    print(f"\n{options.rounds} rounds of {options.steps} steps\n")
    print("| overhead | a step, ms | over plain | least to most | CPU, a step, ms | over plain | least to most |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, rows in found.items():
        cells = []
        for clock in (0, 1):
            # Against the plain loop of the same round, so that what slows a round slows both.
            over = [row[clock] - base[clock] for row, base in zip(rows, found["plain loop"], strict=True)]
            cells += [
                f"{statistics.median(row[clock] for row in rows):.2f}",
                f"{statistics.median(over):.3f}",
                f"{min(over):.3f} to {max(over):.3f}",
            ]
        print(f"| {name} | {' | '.join(cells)} |")


CROP, BATCH = (192, 256), 8
MODELS: Mapping[str, dict[str, Any]] = {"unet, plain (default)": {}, "unet, small": {"encoder": "small"}}


def unet(name: str) -> Segmenter:
    torch.manual_seed(0)
    return create_model("unet", num_classes=11, **MODELS[name])


def scenes(options: argparse.Namespace) -> tuple[SegmentationDataset, SegmentationDataset]:
    """The first images of CamVid, or made ones of its size; a quarter as many to validate."""
    if options.camvid is None:
        made = StreetScenes(options.images + options.images // 4, size=(360, 480))
        return Subset(made, range(options.images)), Subset(made, range(options.images, len(made)))
    train, val = CamVid(options.camvid, "train"), CamVid(options.camvid, "val")
    return Subset(train, range(options.images)), Subset(val, range(options.images // 4))


class Rates(NamedTuple):
    first: float  # images a second in the first epoch
    later: float  # in the later ones, by their median
    cpu: float  # seconds an image, of all threads and processes, the whole run


def cpu_seconds() -> float:
    """Of this process and those that it has ended."""
    found = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


class Clock:
    """When epochs ended, validation included."""

    def __init__(self) -> None:
        self.times, self.cpu = [time.perf_counter()], cpu_seconds()

    def mark(self) -> None:
        self.times.append(time.perf_counter())

    def rates(self, images: int) -> Rates:
        spent = [end - start for start, end in itertools.pairwise(self.times)]
        gc.collect()  # the workers' time is known when they have ended
        cpu = cpu_seconds() - self.cpu
        return Rates(images / spent[0], images / statistics.median(spent[1:]), cpu / (images * len(spent)))


class MarkEpochs(Hook):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_end(self, trainer: Trainer, epoch: object) -> None:
        self.clock.mark()


def camvid_ours(name: str, options: argparse.Namespace) -> Rates:
    (train, val), clock = scenes(options), Clock()
    settings: dict[str, Any] = {"augment": "street", "size": CROP, "batch_size": BATCH, "epochs": options.epochs}
    with terminal():
        Trainer(unet(name), device="cpu", hooks=[MarkEpochs(clock)], **settings).fit(train, val)
    return clock.rates(len(train) // BATCH * BATCH)


def camvid_lightning(name: str, options: argparse.Namespace) -> Rates:
    import torchmetrics
    from PIL import Image
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    lightning = quiet_lightning()

    class Folder(torch.utils.data.Dataset[Any]):
        def __init__(self, split: str, transform: Any, count: int) -> None:
            self.images = sorted((options.camvid / split).iterdir())[:count]
            self.masks = sorted((options.camvid / f"{split}annot").iterdir())[:count]
            assert [path.stem for path in self.images] == [path.stem for path in self.masks]
            self.transform = transform

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> Any:
            mask = tv_tensors.Mask(v2.functional.pil_to_tensor(Image.open(self.masks[index])))
            image, mask = self.transform(Image.open(self.images[index]).convert("RGB"), mask)
            return image, mask[0].long()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = unet(name), nn.CrossEntropyLoss(ignore_index=11)
            self.iou = torchmetrics.JaccardIndex(task="multiclass", num_classes=11, ignore_index=11)

        def training_step(self, batch: Any, number: int) -> Tensor:
            loss: Tensor = self.loss(self.model(batch[0]), batch[1])
            self.log("loss", loss, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, number: int) -> None:
            self.iou(self.model(batch[0]), batch[1])
            self.log("val_iou", self.iou, prog_bar=True)

        def on_train_epoch_end(self) -> None:  # comes after the validation
            clock.mark()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    # segkit's models take bytes, and normalise them themselves: no time is lost on floats here.
    bring = [v2.PILToTensor()]
    street = v2.Compose(
        [
            # The share of 360x480 that a crop of 192x256 has at zooms from 3/2 to 3/4, as "street" draws them.
            v2.RandomResizedCrop(CROP, scale=(0.126, 0.506), ratio=(4 / 3 / 1.1, 4 / 3 * 1.1)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4, hue=0.03),
            *bring,
        ]
    )
    train, val = Folder("train", street, options.images), Folder("val", v2.Compose(bring), options.images // 4)
    workers: dict[str, Any] = {"num_workers": 2, "persistent_workers": True}
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, terminal():
        trainer = lightning.Trainer(
            max_epochs=options.epochs, accelerator="cpu", default_root_dir=folder, num_sanity_val_steps=0
        )
        trainer.fit(
            Module(),
            DataLoader(train, batch_size=BATCH, shuffle=True, drop_last=True, **workers),
            DataLoader(val, batch_size=4, **workers),
        )
    return clock.rates(len(train) // BATCH * BATCH)


def camvid(options: argparse.Namespace) -> None:
    print(f"\n{options.epochs} epochs, crops of {CROP[0]}x{CROP[1]}, {torch.get_num_threads()} threads, images/s\n")
    print("| CamVid | segkit | Lightning | ratio | first epochs | CPU, s an image | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in MODELS:
        us, them = camvid_ours(name, options), camvid_lightning(name, options)
        cells = [
            f"{us.later:.2f} | {them.later:.2f} | {us.later / them.later:.2f}",
            f"{us.first:.2f}, {them.first:.2f}",
            f"{us.cpu:.3f}, {them.cpu:.3f} | {them.cpu / us.cpu:.2f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


@contextlib.contextmanager
def timed(kind: Any, method: str, spent: dict[str, float], part: str) -> Iterator[None]:
    """Let a method's time be added to that of a part."""
    plain = getattr(kind, method)

    def run(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(*args, **options)
        finally:
            spent[part] += time.perf_counter() - start

    setattr(kind, method, run)
    try:
        yield
    finally:
        setattr(kind, method, plain)


def shares(options: argparse.Namespace) -> None:
    """Where a run's time goes; the loss counts as forward, and what is none of the parts is the rest."""
    train, val = scenes(options)
    print("\n| shares | data | forward | backward | optimiser | metrics | rest | run, s |\n|---|" + "--:|" * 7)
    for name in MODELS:
        # The whole step is told, and what is none of its other parts is its forward pass.
        spent = dict.fromkeys(("data", "step", "backward", "optimiser", "metrics"), 0.0)
        start = time.perf_counter()
        with (
            timed(Run, "_next", spent, "data"),
            timed(Run, "_step", spent, "step"),
            timed(torch.autograd, "backward", spent, "backward"),
            timed(Stepper, "_update", spent, "optimiser"),
            timed(Run, "_validate", spent, "metrics"),
        ):
            trainer = Trainer(
                unet(name), augment="street", size=CROP, batch_size=BATCH, epochs=options.epochs, device="cpu"
            )
            trainer.fit(train, val)
        whole = time.perf_counter() - start
        forward = spent["step"] - spent["backward"] - spent["optimiser"]
        known = [spent["data"], forward, spent["backward"], spent["optimiser"], spent["metrics"]]
        cells = " | ".join(f"{part / whole:.1%}" for part in (*known, whole - sum(known)))
        print(f"| {name} | {cells} | {whole:.1f} |")


PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {"overhead": overhead, "camvid": camvid, "shares": shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="the folder of CamVid")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="some of the parts")
    parser.add_argument("--steps", type=int, default=300, help="of overhead, a turn")
    parser.add_argument("--rounds", type=int, default=5, help="of overhead")
    parser.add_argument("--images", type=int, default=96, help="of CamVid in an epoch; a quarter as many to validate")
    parser.add_argument("--epochs", type=int, default=3, help="of CamVid and of the shares, each model")
    options = parser.parse_args()
    if options.images < 4 * 4:
        parser.error("--images must be at least 16")
    if options.epochs < 2:
        parser.error("--epochs must be at least 2: the first one warms up")
    for name in options.only:
        if name == "camvid" and options.camvid is None:
            continue
        PARTS[name](options)


if __name__ == "__main__":
    main()
