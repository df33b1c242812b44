"""Your own pictures: a folder with images/, masks/ in colours, and labels.json that names the colours.

python examples/own_pictures.py FOLDER --epochs 20

labels.json: {"names": ["road", "car"], "palette": [[128, 64, 128], [64, 0, 128]]}. Black in a mask is "not labelled".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit import Labels, Trainer, UNet
from segkit.datasets import Item, SegmentationDataset, random_split, read_image


class Pictures(SegmentationDataset):
    """Images and colour masks that share their names."""

    def __init__(self, root: Path) -> None:
        self.images = sorted((root / "images").iterdir())
        self.masks = root / "masks"
        super().__init__(Labels.load(root / "labels.json"), ids=[path.stem for path in self.images])

    def __getitem__(self, index: int) -> Item:
        path = self.images[index]
        colors = np.asarray(Image.open(self.masks / f"{path.stem}.png").convert("RGB"))
        mask = self.labels.encode(colors, ignore_colors=[(0, 0, 0)], where=path.stem)  # names an unknown colour
        return read_image(path), torch.from_numpy(mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds images/, masks/ and labels.json")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"), help="where model and report go")
    options = parser.parse_args()

    pictures = Pictures(options.folder)
    train, val = random_split(pictures, [0.75, 0.25], seed=0)
    trainer = Trainer(UNet(pictures.num_classes), epochs=options.epochs, augment="light", out=options.out / "run")
    trainer.fit(train, val)

    result = trainer.evaluate(val)
    print(result.scores)
    trainer.save(options.out / "model")
    result.report(options.out / "report.html")


if __name__ == "__main__":
    main()
