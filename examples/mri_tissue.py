"""Can tissue be told apart in MRI? A U-Net and a classical method, judged on volumes that neither has seen.

    python examples/mri_tissue.py ../shared/data/Task04_Hippocampus --minutes 15

The two parts of the hippocampus in T1 scans, or any task in the layout of the Medical Segmentation Decathlon; ten in
thirteen volumes are for training. The classical method knows how often each place is each tissue, and how dark tissues
are: Otsu's thresholds split a volume's greys into three, and a voxel takes its most likely class (naive Bayes).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from segkit import Trainer, UNet
from segkit.datasets import Decathlon, VolumeReading
from segkit.report import overlay
from segkit.training import evaluate_volumes
from segkit.transforms import Augment

READING = VolumeReading(axes=1, neighbours=2)  # coronal slices, with two neighbours on both sides as channels


class Classical:
    """How often a place is each class (blurred), times how often that class has such a grey."""

    def __init__(self, data):
        place, self.grey = np.zeros((data.num_classes, 36, 50, 36)), np.ones((data.num_classes, 3))
        for number in range(len(data.volumes)):
            labels, bands = data.slices.label_volume(number).array, self.bands(data.slices.volume(number))
            for k in range(data.num_classes):
                place[k] += self.stretch((labels == k).astype(float), place.shape[1:])
                self.grey[k] += np.bincount(bands[labels == k], minlength=3)
        self.place = ndimage.gaussian_filter(place / len(data.volumes), (0, 1, 1, 1)) + 1e-6
        self.grey /= self.grey.sum(axis=1, keepdims=True)

    def __call__(self, volume):
        place = np.stack([self.stretch(one, volume.shape) for one in self.place])
        return (place * self.grey[:, self.bands(volume)]).argmax(axis=0)

    def bands(self, volume):
        values = volume.array.reshape(-1, *volume.shape)[0]
        values = values.clip(*np.percentile(values, (0.5, 99.5)))
        return np.digitize(values, threshold_multiotsu(values, classes=3))

    def stretch(self, values, shape):
        return ndimage.zoom(values, np.divide(shape, values.shape), order=1, grid_mode=True, mode="nearest")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of a task, with its dataset.json")
    parser.add_argument("--minutes", type=float, default=15, help="for the training")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--out", type=Path, default=Path("runs/mri"), help="where model, picture and page go")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(0).permutation(Decathlon(options.root).volumes)
    parts = np.split(names, [round(len(names) * 10 / 13)])
    train, test = (Decathlon(options.root, reading=READING, volumes=sorted(part)) for part in parts)

    torch.manual_seed(options.seed)  # small slices need a finest level of single voxels; they have mean 0, deviation 1
    shape = {"encoder": "classic", "encoder_options": {"channels": (16, 32, 64, 128)}, "decoder_channels": (64, 32, 16)}
    channels = {"in_channels": train.in_channels, "mean": [0] * train.in_channels, "std": [1] * train.in_channels}
    change = {"flip": 0, "scale": (0.87, 1.2), "aspect": 1.15, "rotate": 15, "elastic": 0.08}
    plan = {"loss": "cross_entropy + dice", "optimizer": "adamw", "lr": 8e-3, "weight_decay": 0.02, "batch_size": 16}
    plan |= {"augment": Augment(size=(48, 48), contrast=0.25, brightness=0.1, noise=0.1, **change), "epochs": None}
    model = UNet(train.num_classes, **channels, **shape)
    trainer = Trainer(model, schedule="one_cycle", minutes=options.minutes, seed=options.seed, **plan)
    trainer.fit(train)
    trainer.save(options.out / "model")

    classical = Classical(train)
    for name, method in (("classical", classical), ("U-Net", model)):
        result = evaluate_volumes(method, test)
        print(f"\n{name}, {len(train.volumes)} volumes to train on, {len(test.volumes)} to judge:\n{result}")
    result.save(options.out / "scores.json")

    rows, order = [], result.dice[:, 1:].mean(axis=1).argsort()
    for number in order[[-1, len(order) // 2, 0]].tolist():  # the best, the median and the worst of the U-Net
        scan, truth = test.slices.volume(number), test.slices.label_volume(number).array
        at = (truth > 0).sum(axis=(1, 2)).argmax()  # seen from the side: the slice with the most tissue
        maps = [one[at] for one in (0 * truth, truth, trainer.predict(scan).array, classical(scan))]
        bare = scan.array.reshape(-1, *scan.shape)[:1, at]
        tiles = [overlay(bare, np.where(one > 0, one, test.labels.ignore_index), test.labels) for one in maps]
        tiles = [Image.fromarray(np.rot90(tile)).resize((300, 220), Image.Resampling.NEAREST) for tile in tiles]
        rows.append(np.hstack(tiles))
    Image.fromarray(np.vstack(rows)).save(options.out / "tissue.png")
    print(f"\n{options.out / 'tissue.png'}: scan, truth, U-Net and classical of its best, median and worst volume")
    page = trainer.evaluate(test).report(options.out / "report.html", title="Tissue in MRI", train=train)
    print(f"mIoU over all voxels {result.scores.miou:.3f}; {page}")


if __name__ == "__main__":
    main()
