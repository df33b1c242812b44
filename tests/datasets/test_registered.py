"""What holds for every data set, and the registry they are found by."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from segkit.datasets import Pairs, SegmentationDataset, create_dataset, list_datasets
from segkit.datasets._base import DATASETS
from segkit.errors import InputError, UnknownNameError


def test_names():
    assert {"camvid", "folder", "street_scenes"} <= set(list_datasets())
    assert list_datasets("cam*") == ["camvid"]
    assert list_datasets("nothing*") == []


def test_create_by_name(camvid_root):
    data = create_dataset("camvid", root=camvid_root, split="val", resize=(36, 48))
    assert len(data) == 101
    assert data[0][0].shape == (3, 36, 48)


def test_unknown_names_and_options():
    with pytest.raises(UnknownNameError, match="no data set is named 'camvit'; did you mean 'camvid'"):
        create_dataset("camvit")
    with pytest.raises(UnknownNameError, match="takes no option 'rot'; did you mean 'root'"):
        create_dataset("camvid", rot="x")
    with pytest.raises(InputError, match="'camvid' needs `root`"):
        create_dataset("camvid", split="val")


def test_a_notebook_shows_how_many_and_which_classes(camvid_root):
    shown = create_dataset("camvid", root=camvid_root, split="val")._repr_html_()
    assert "CamVid(101 items, 11 classes)" in shown
    assert shown.count("<svg") == 11


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        SegmentationDataset(None, [])  # type: ignore[abstract]


def test_every_data_set_is_abstract_or_final():
    for name in DATASETS:
        assert DATASETS[name].__mro__[1] is SegmentationDataset
        assert "__len__" not in vars(DATASETS[name])


def test_a_loader_takes_it(camvid_root):
    data = create_dataset("camvid", root=camvid_root, split="val", resize=(36, 48))
    assert isinstance(data, Pairs)
    images, masks = next(iter(DataLoader(data, batch_size=3)))
    assert images.shape == (3, 3, 36, 48)
    assert masks.dtype == torch.uint8
