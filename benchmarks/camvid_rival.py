"""The usual way without segkit: segmentation_models_pytorch's U-Net, torchvision's v2 transforms, torch's DataLoader.

As countless scripts have it: resnet18, fp32, Adam 0.001, cross-entropy, batches of 8, two workers.
The encoder starts untrained, as segkit's does: nothing is downloaded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

VOID, IGNORED = 11, 255
HEIGHT, CROP = 360, (256, 352)
BATCH, WORKERS, LR = 8, 2, 1e-3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KEPT = 3  # epochs whose weights are kept, to take the best of


class Frames(Dataset[tuple[Tensor, Tensor]]):
    """The training frames, augmented: scaled by 0.5 to 2, cropped, flipped, colours changed."""

    def __init__(self, root: Path) -> None:
        self.images = sorted((root / "train").iterdir())
        self.masks = sorted((root / "trainannot").iterdir())
        self.transform = v2.Compose(
            [
                v2.RandomResize(HEIGHT // 2, 2 * HEIGHT),
                v2.RandomCrop(CROP, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORED}),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.images[index]) as picture, Image.open(self.masks[index]) as labels:
            image = tv_tensors.Image(functional.pil_to_tensor(picture.convert("RGB")))
            mask = tv_tensors.Mask(functional.pil_to_tensor(labels)[0])
        mask[mask == VOID] = IGNORED
        image, mask = self.transform(image, mask)
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


@dataclass
class Run:
    """What a training came to; ``weights`` are those of the last epochs' ends and of the end, the newest last."""

    model: nn.Module
    seconds: float = 0.0
    images: int = 0
    weights: deque[dict[str, Tensor]] = field(default_factory=lambda: deque(maxlen=KEPT + 1))

    def keep(self) -> None:
        self.weights.append({name: value.clone() for name, value in self.model.state_dict().items()})


def train(root: Path, num_classes: int, *, minutes: float, seed: int) -> Run:
    """Train for so many minutes."""
    torch.manual_seed(seed)
    run = Run(smp.Unet("resnet18", encoder_weights=None, classes=num_classes))
    optimizer, criterion = torch.optim.Adam(run.model.parameters(), lr=LR), nn.CrossEntropyLoss(ignore_index=IGNORED)
    start = time.monotonic()
    for images, masks in _batches(root, run.keep):
        optimizer.zero_grad()
        loss = criterion(run.model(images), masks)
        loss.backward()
        optimizer.step()
        run.images += len(images)
        run.seconds = time.monotonic() - start
        if run.seconds >= 60 * minutes:
            break
    run.keep()
    return run


def _batches(root: Path, end_of_epoch: Callable[[], None]) -> Iterator[tuple[Tensor, Tensor]]:
    frames = Frames(root)
    loader = DataLoader(
        frames,
        batch_size=min(BATCH, len(frames)),
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    while True:
        yield from loader
        end_of_epoch()


def predictor(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function from an image ``(3, H, W)`` uint8 to its classes ``(H, W)``: padded to a multiple of 32, and cut."""
    model.eval()

    @torch.no_grad()
    def predict(image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        pixels = functional.normalize(image[None].float() / 255, MEAN, STD)
        pixels = F.pad(pixels, (0, -width % 32, 0, -height % 32), mode="reflect")
        logits: Tensor = model(pixels)[..., :height, :width]
        return logits.argmax(1)[0]

    return predict
