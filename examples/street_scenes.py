"""The whole way on generated street scenes: train, judge, save, load, predict.

python examples/street_scenes.py --scenes 400 --epochs 6
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import segkit
from segkit import Trainer, UNet
from segkit.datasets import StreetScenes
from segkit.report import overlay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=400, help="scenes to train on")
    parser.add_argument("--size", default="240x320", help="height x width of a scene")
    parser.add_argument("--epochs", type=int, default=6, help="passes over them")
    parser.add_argument("--out", type=Path, default=Path("runs/street"), help="where model, report and picture go")
    options = parser.parse_args()
    height, width = (int(part) for part in options.size.split("x"))
    options.out.mkdir(parents=True, exist_ok=True)  # now, so that a wrong place is found before the training

    # The same seed and index give the same scene on every machine; another seed gives other scenes.
    train = StreetScenes(options.scenes, size=(height, width), seed=0)
    unseen = StreetScenes(20, size=(height, width), seed=1)

    trainer = Trainer(UNet(train.num_classes), lr=3e-3, schedule="one_cycle", epochs=options.epochs, augment="light")
    print(trainer.fit(train))

    result = trainer.evaluate(unseen)
    print(result.scores)
    trainer.save(options.out / "model")
    result.report(options.out / "report.html")

    # What was saved is all that is needed to use the model elsewhere: weights, preprocessing, class names.
    predictor = segkit.load(options.out / "model")
    image, _ = unseen[0]
    picture = overlay(image, predictor.predict(image), unseen.labels)
    Image.fromarray(picture).save(options.out / "overlay.png")


if __name__ == "__main__":
    main()
