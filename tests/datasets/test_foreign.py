"""Anybody's data set works everywhere: a list of tuples, a torch Dataset, numpy arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from segkit import Trainer, UNet, inspect_dataset
from segkit.datasets import Subset, check_dataset, class_statistics, k_fold, load_split, random_split
from segkit.errors import InputError
from segkit.labels import Labels

LABELS = Labels(["ground", "leaf"])
SIZE = (32, 32)


def arrays(index):
    rng = np.random.default_rng(index)
    mask = np.kron(rng.integers(0, 2, (4, 4)), np.ones((8, 8), np.int64)).astype(np.uint8)
    image = (mask * 150 + rng.integers(0, 60, (3, *SIZE))).astype(np.uint8)
    return image, mask


class Torch(Dataset):
    """Tensors, the mask as int64: what a data set of somebody else is likely to give."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        image, mask = arrays(index)
        return torch.from_numpy(image).float() / 255, torch.from_numpy(mask).long()


class Named(Torch):
    labels = LABELS


def tensors():
    images, masks = zip(*(arrays(index) for index in range(6)), strict=True)
    return TensorDataset(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)))


MAKERS = {
    "list of arrays": lambda: [arrays(index) for index in range(6)],
    "list of tensors": lambda: [tuple(map(torch.from_numpy, arrays(index))) for index in range(6)],
    "torch Dataset": Torch,
    "with labels": Named,
    "TensorDataset": tensors,
}


@pytest.fixture(params=MAKERS)
def dataset(request):
    return MAKERS[request.param]()


def test_it_passes_the_checks(dataset):
    check_dataset(dataset, labels=LABELS)


def test_it_is_split_and_looked_at(dataset, tmp_path):
    labels = None if isinstance(dataset, Named) else LABELS
    train, val = random_split(dataset, [0.5, 0.5], labels=labels, stratify=True)
    assert sorted([*train.ids, *val.ids]) == list("012345")
    assert len(k_fold(dataset, 3, labels=labels)) == 3
    (tmp_path / "split.json").write_text('{"train": ["0", "1", "2"], "val": ["3", "4", "5"]}')
    assert load_split(tmp_path / "split.json", dataset, labels)["val"].indices == (3, 4, 5)
    assert class_statistics(dataset, labels=LABELS).pixels.sum() == 6 * SIZE[0] * SIZE[1]
    assert inspect_dataset(Subset(dataset, range(6), labels)).splits[0].num_items == 6


@pytest.mark.parametrize(
    "maker",
    [name if name == "torch Dataset" else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS],
)
def test_a_model_learns_and_is_judged(maker, tmp_path):
    dataset = MAKERS[maker]()
    trainer = Trainer(UNet(2, decoder_channels=None), epochs=1, batch_size=3, device="cpu", workers=0)
    assert len(trainer.fit(dataset, dataset)) == 1
    result = trainer.evaluate(dataset)
    assert list(result.evaluation.ids) == list("012345")
    assert result.report(tmp_path / "page.html").stat().st_size > 0


def test_pictures_of_pillow_are_refused():
    pictures = [(Image.new("RGB", (32, 32)), Image.new("L", (32, 32)))] * 4
    trainer = Trainer(UNet(2, decoder_channels=None), epochs=1, batch_size=2, device="cpu", workers=0)
    with pytest.raises(InputError, match=r"tensors or arrays.*got Image"):
        trainer.fit(pictures)
