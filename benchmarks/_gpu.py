"""On a GPU: every form is checked against the definition, then timed against a plain copy in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.device import Device
from segkit.kernels import argmax_labels, confusion_matrix, confusion_matrix_from_logits, normalize, warp
from segkit.losses import create_loss

SHAPES = ((8, 11, 360, 480), (2, 19, 1024, 2048))
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
DTYPES = (torch.float32, torch.bfloat16)


class Row(NamedTuple):
    """Something to time, and what it cannot do without: bytes to and from memory."""

    title: str
    run: Callable[[], object]
    bytes: int
    items: int = 0  # images, where images a second are the goal


def batches() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Logits of each shape, dtype and layout, and targets with a twentieth ignored."""
    generator = torch.Generator("cuda").manual_seed(0)
    for shape in SHAPES:
        logits = torch.randn(shape, generator=generator, device="cuda")
        target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator, device="cuda").to(torch.uint8)
        target[torch.rand(target.shape, generator=generator, device="cuda") < 0.05] = 255
        for dtype in DTYPES:
            for name, layout in LAYOUTS.items():
                placed = logits.to(dtype).contiguous(memory_format=layout)
                yield f"{shape} {str(dtype).removeprefix('torch.')} {name}", placed, target


def forms(call: Callable[[], object]) -> tuple[object, object]:
    """What the chosen form returns, and the definition."""
    chosen = call()
    with Device("cuda", kernels="reference"):
        return chosen, call()


def check_losses() -> None:
    """Losses and gradients of the Triton forms against the definition, over every shape, dtype and layout."""
    for title, logits, target in batches():
        for name, options in (
            ("cross_entropy + dice", {}),
            ("cross_entropy", {"label_smoothing": 0.1}),
            ("focal", {}),
            ("lovasz", {}),
        ):
            loss = create_loss(name, **options)

            def call(loss: torch.nn.Module = loss, x: Tensor = logits, y: Tensor = target) -> tuple[Tensor, Tensor]:
                leaf = x.detach().requires_grad_()
                value = loss(leaf, y)
                value.backward()
                return value.detach(), leaf.grad * y.numel()

            tolerance = 1e-4 if logits.dtype == torch.float32 else 2e-2
            torch.testing.assert_close(*forms(call), rtol=tolerance, atol=tolerance)
        print(f"checked: losses of {title}", flush=True)


def check_kernels() -> None:
    """Counts and labels, which must be equal, and images, which must be close."""
    for title, logits, target in batches():
        classes = logits.shape[1]
        labels = logits.argmax(1).to(torch.uint8)
        for call in (
            lambda x=logits: argmax_labels(x),
            lambda x=logits, y=target: confusion_matrix_from_logits(x, y, per_image=True),
            lambda p=labels, y=target, k=classes: confusion_matrix(p, y, num_classes=k, per_image=True),
        ):
            chosen, definition = forms(call)
            assert torch.equal(chosen, definition), title
        print(f"checked: counts and labels of {title}", flush=True)
    image, mask, mean, std, matrix = frames()
    torch.testing.assert_close(*forms(lambda: normalize(image, mean, std)), rtol=1e-5, atol=1e-5)
    (image_a, mask_a), (image_b, mask_b) = forms(lambda: warp(image, mask, matrix, size=image.shape[2:]))
    assert (mask_a != mask_b).float().mean() < 1e-4  # places halfway between two pixels may round to either
    assert ((image_a.float() - image_b.float()).abs() > 1).float().mean() < 1e-4
    print(f"checked: images of {tuple(image.shape)}", flush=True)


def frames() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """32 frames of 720 x 960 and their masks; mean and std; and a turn, zoom and shift for each."""
    generator = torch.Generator("cuda").manual_seed(0)
    image = torch.randint(0, 256, (32, 3, 720, 960), generator=generator, device="cuda").to(torch.uint8)
    mask = torch.randint(0, 12, (32, 720, 960), generator=generator, device="cuda").to(torch.uint8)
    mean, std = (torch.tensor(values, device="cuda") for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    angle, zoom = torch.linspace(-0.2, 0.2, 32, device="cuda"), torch.linspace(0.8, 1.2, 32, device="cuda")
    cos, sin, move = angle.cos() / zoom, angle.sin() / zoom, torch.full_like(angle, 7.0)
    return image, mask, mean, std, torch.stack([cos, sin, move, -sin, cos, move], 1).view(32, 2, 3)


def loss_rows() -> Iterator[Row]:
    loss = create_loss("cross_entropy + dice")
    for title, logits, target in batches():
        leaf = logits.detach().requires_grad_()

        def step(leaf: Tensor = leaf, target: Tensor = target) -> None:
            loss(leaf, target).backward()
            leaf.grad = None

        moved = 3 * logits.nbytes + 2 * target.nbytes  # logits twice, their gradient once
        yield Row(f"cross-entropy + Dice {title}", step, moved)


def kernel_rows() -> Iterator[Row]:
    for title, logits, target in batches():
        yield Row(
            f"counting from logits {title}",
            lambda x=logits, y=target: confusion_matrix_from_logits(x, y),
            logits.nbytes + target.nbytes,
        )
        yield Row(f"labels {title}", lambda x=logits: argmax_labels(x), logits.nbytes + target.nbytes)
    image, mask, mean, std, matrix = frames()
    moved = 2 * (image.nbytes + mask.nbytes)
    size = tuple(image.shape[2:])
    yield Row("warp 32 frames", lambda: warp(image, mask, matrix, size=size), moved, 32)
    yield Row("normalize 32 frames", lambda: normalize(image, mean, std), 5 * image.nbytes, 32)

    def both() -> Tensor:
        return normalize(warp(image, mask, matrix, size=size)[0], mean, std)

    yield Row("warp + normalize 32 frames", both, moved + 5 * image.nbytes, 32)


def gpu_milliseconds(run: Callable[[], object], repeats: int = 20) -> float:
    """The GPU's own time for a call: that of its kernels, without what launching them costs."""
    run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            run()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e3 / repeats


def wall_milliseconds(run: Callable[[], object], rounds: int) -> float:
    """What a caller waits who waits for each call."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def copy_bandwidth() -> float:
    """The bytes that a copy of 1 GiB within the device reads and writes in a millisecond."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    room = torch.empty_like(source)
    return 2 * source.nbytes / gpu_milliseconds(lambda: room.copy_(source))


def share_table(rows: Iterator[Row], rounds: int) -> str:
    """Each row's time, and the share of a copy's bandwidth that it reaches: 0.8 is 1.25 times the bytes bound."""
    bandwidth = copy_bandwidth()
    lines = [
        f"A copy within the device moves {bandwidth / 1e6:.0f} GB/s.",
        "",
        "| what | GPU, ms | wall, ms | GB/s | share of a copy | images a second |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        gpu, wall = gpu_milliseconds(row.run), wall_milliseconds(row.run, rounds)
        speed = row.bytes / gpu
        images = f"{1e3 * row.items / wall:.0f}" if row.items else ""
        lines.append(
            f"| {row.title} | {gpu:.3f} | {wall:.3f} | {speed / 1e6:.0f} | {speed / bandwidth:.2f} | {images} |"
        )
    return "\n".join(lines)
