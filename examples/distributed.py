"""One training by one process or by several: nothing in it says how many.

python examples/distributed.py --out runs/one
torchrun --nproc-per-node=2 examples/distributed.py --batch-size 2 --out runs/two

The second takes two processes of batches of 2: the same steps as one process's batches of 4. Run it again after it was
killed, and it goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segkit import Trainer, UNet
from segkit.datasets import StreetScenes
from segkit.training import is_main_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, help="to train on")
    parser.add_argument("--epochs", type=int, default=2, help="passes over them")
    parser.add_argument("--batch-size", type=int, default=4, help="of each process")
    parser.add_argument("--out", type=Path, default=Path("runs/distributed"), help="a folder that all processes see")
    options = parser.parse_args()

    train, val = StreetScenes(options.scenes, size=(96, 128)), StreetScenes(20, size=(96, 128), seed=1)
    trainer = Trainer(
        UNet(train.num_classes, norm="group"),  # batch normalisation would average over each process's own images
        epochs=options.epochs,
        batch_size=options.batch_size,
        augment="street",
        out=options.out / "run",
    )
    trainer.fit(train, val, resume=any(options.out.glob("run/step-*")))
    result = trainer.evaluate(val)  # every process counts its share, and all have the scores of the whole
    trainer.save(options.out / "model")  # the first process writes
    result.report(options.out / "report.html")
    if is_main_process():
        print(result.scores)


if __name__ == "__main__":
    main()
