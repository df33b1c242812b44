"""Your own pictures: a folder with images/, masks/ in colours, and labels.json that names the colours.

python examples/own_pictures.py FOLDER --epochs 20

labels.json: {"names": ["road", "car"], "palette": [[128, 64, 128], [64, 0, 128]]}. Black in a mask is "not labelled".
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segkit import Labels, Trainer, UNet
from segkit.datasets import FolderDataset, random_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds images/, masks/ and labels.json")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"), help="where model and report go")
    options = parser.parse_args()

    labels = Labels.load(options.folder / "labels.json")
    # An unpaired image, or a mask with a colour that no label has, is answered with the file's name.
    pictures = FolderDataset(options.folder / "images", options.folder / "masks", labels, ignore_colors=[(0, 0, 0)])
    train, val = random_split(pictures, [0.75, 0.25], seed=0)
    trainer = Trainer(UNet(pictures.num_classes), epochs=options.epochs, augment="light", out=options.out / "run")
    trainer.fit(train, val)

    result = trainer.evaluate(val)
    print(result.scores)
    trainer.save(options.out / "model")
    result.report(options.out / "report.html")


if __name__ == "__main__":
    main()
