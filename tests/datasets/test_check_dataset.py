"""The common checks: what they find, and that every registered data set passes them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import Subset, check_dataset, create_dataset, list_datasets
from segkit.errors import InputError
from segkit.labels import Labels

LABELS = Labels(["a", "b"])


class Good:
    """Somebody's data set with all that ours have; the tests below break one thing each."""

    def __init__(self, count=5):
        self.labels = LABELS
        self.ids = [f"i{number}" for number in range(count)]
        self.groups = None

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        self.ids[index]
        index %= len(self)
        return torch.full((3, 4, 6), index, dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.uint8)


def test_a_good_one_passes():
    check_dataset(Good())
    check_dataset(Subset(Good(), [3, 1]))
    check_dataset(Good(1), items=1)


@pytest.mark.parametrize(
    "plain",
    [
        [(torch.zeros(1, 2, 3), torch.zeros(2, 3, dtype=torch.int32))] * 2,
        [(np.zeros((3, 2, 3), np.uint16), np.zeros((2, 3), np.uint8))],
        [[np.zeros((3, 2, 3), np.float32), np.zeros((2, 3), bool)]],
    ],
)
def test_plain_lists_pass(plain):
    check_dataset(plain)
    check_dataset(plain, labels=LABELS)


def item(image=None, mask=None):
    image = np.zeros((3, 4, 6), np.uint8) if image is None else image
    return image, np.zeros((4, 6), np.uint8) if mask is None else mask


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((*item(), 0), r"item 0 \(0\) must be \(image, mask\); got tuple of 3"),
        (item()[0], r"must be \(image, mask\); got ndarray"),
        (item(Image.new("RGB", (6, 4))), "the image of item 0 .* must be a tensor or a numpy array; got Image"),
        (item(np.zeros((4, 6), np.uint8)), r"must be \(C, H, W\); got shape \(4, 6\)"),
        (item(np.zeros((3, 4, 6), np.int64)), "must be uint8, uint16, float32; got int64: give the file's own type"),
        (item(np.full((3, 4, 6), np.nan, np.float32)), "holds NaN or infinity"),
        (item(np.zeros((4, 6, 3), np.uint8)), r"of the image's size, \(6, 3\); got shape \(4, 6\)"),
        (item(mask=np.zeros((1, 4, 6), np.uint8)), r"must be \(H, W\).*got shape \(1, 4, 6\)"),
        (item(mask=np.zeros((4, 6), np.float32)), "must hold whole numbers; got float32"),
        (item(mask=np.full((4, 6), 2, np.uint8)), r"mask values outside 0..1 .*2 \(24 pixels\) in item 0"),
    ],
)
def test_items_that_break_the_contract(given, message):
    with pytest.raises(AssertionError, match=message):
        check_dataset([given], labels=LABELS)


def test_channels_that_differ():
    with pytest.raises(AssertionError, match=r"different numbers of channels, by item: \{0: 3, 1: 1\}"):
        check_dataset([item(), item(np.zeros((1, 4, 6), np.uint8))])


def test_an_empty_one_and_a_wrong_number_of_items():
    with pytest.raises(AssertionError, match="list is empty"):
        check_dataset([])
    with pytest.raises(InputError, match="`items` must be at least 1"):
        check_dataset(Good(), items=0)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("labels", ["a", "b"], r"`labels` must be segkit\.Labels; got list"),
        ("groups", ["x"], "`groups`: 1 for 5 items"),
        ("groups", [1, 2, 3, 4, 5], r"`groups` must be strings; got \[1, 2, 3\]"),
        ("files", lambda index: ["a.png"], r"`files\(0\)` must be a tuple of paths of files that are there"),
        ("lock", threading.Lock(), "cannot be given to a worker process: .*keep no open files, locks or lambdas"),
    ],
)
def test_attributes_that_break_the_contract(attribute, value, message):
    data = Good()
    setattr(data, attribute, value)
    with pytest.raises(AssertionError, match=message):
        check_dataset(data)


def test_ids_that_repeat():
    data = Good()
    data.ids[3] = "i1"
    with pytest.raises(AssertionError, match=r"`ids` must all be different; repeated: \['i1'\]"):
        check_dataset(data)


class Random(Good):
    def __getitem__(self, index):
        return torch.randint(0, 255, (3, 4, 6), dtype=torch.uint8), super().__getitem__(index)[1]


class SharedBuffer(Good):
    """Fills one buffer for every reader."""

    def __init__(self):
        super().__init__()
        self.buffer = np.zeros((3, 4, 6), np.uint8)

    def __getitem__(self, index):
        mask = super().__getitem__(index)[1]
        self.buffer[:] = index % len(self)
        threading.Event().wait(0.005)
        return self.buffer.copy(), mask


class ForgetsItsState(Good):
    def __init__(self):
        super().__init__()
        self.offset = 7

    def __getstate__(self):
        return vars(self) | {"offset": 0}

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return image + self.offset, mask


class NeverEnds(Good):
    def __getitem__(self, index):
        return super().__getitem__(index % len(self))


class OtherError(Good):
    def __getitem__(self, index):
        if index >= len(self):
            raise KeyError(index)
        return super().__getitem__(index)


class OddNegative(Good):
    def __getitem__(self, index):
        return super().__getitem__(abs(index))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Random, "item 0 is another one when it is read again"),
        (SharedBuffer, "is another one when 4 threads read"),
        (ForgetsItsState, "in the copy of a worker process"),
        (NeverEnds, r"item 5 of 0\.\.4 must raise IndexError; it gave an item"),
        (OtherError, r"item 5 of 0\.\.4 must raise IndexError; got KeyError\(5\)"),
        (OddNegative, "item -1 is neither the last one nor an error"),
    ],
)
def test_reading_that_breaks_the_contract(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_dataset(kind())


def test_a_multilabel_mask_has_a_plane_a_class():
    labels = Labels(["a", "b"], task="multilabel")
    check_dataset([item(mask=np.zeros((2, 4, 6), np.uint8))], labels=labels)
    with pytest.raises(AssertionError, match=r"must be \(2, H, W\).*got shape \(4, 6\)"):
        check_dataset([item()], labels=labels)


# Every registered data set


def photo(path, size=(8, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path, value, size=(8, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def make_camvid(root):
    for name in ("0001TP_1", "0006R0_2"):
        photo(root / f"train/{name}.png")
        mask(root / f"trainannot/{name}.png", 11)
    return {"root": root}


def make_folder(root):
    for name in ("p", "q/r"):
        photo(root / f"images/{name}.jpg")
        mask(root / f"masks/{name}.png", 1)
    return {"images": root / "images", "masks": root / "masks", "labels": ["a", "b"]}


def make_cityscapes(root):
    for number in range(2):
        photo(root / f"leftImg8bit/train/ulm/ulm_{number}_leftImg8bit.png")
        mask(root / f"gtFine/train/ulm/ulm_{number}_gtFine_labelIds.png", 7)
    return {"root": root}


def make_ade20k(root):
    for number in range(2):
        photo(root / f"images/training/ADE_train_{number}.jpg")
        mask(root / f"annotations/training/ADE_train_{number}.png", 150)
    return {"root": root}


def make_voc(root):
    for name in ("p", "q"):
        photo(root / f"JPEGImages/{name}.jpg")
        mask(root / f"SegmentationClass/{name}.png", 255)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("p\nq\n")
    return {"root": root}


def make_pets(root):
    for name in ("p", "q"):
        photo(root / f"images/{name}.jpg")
        mask(root / f"annotations/trimaps/{name}.png", 3)
    (root / "annotations/trainval.txt").write_text("p 1 1 1\nq 2 1 1\n")
    return {"root": root}


def make_coco(root):
    import json

    images = [{"id": i, "file_name": f"{i}.jpg", "height": 8, "width": 10} for i in (1, 2)]
    area = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 5, 0, 5]], "iscrowd": 0}
    for one in images:
        photo(root / f"images/{one['file_name']}")
    file = {"images": images, "annotations": [area], "categories": [{"id": 3, "name": "cat"}]}
    (root / "instances.json").write_text(json.dumps(file))
    return {"images": root / "images", "annotations": root / "instances.json"}


SMALL = {
    "ade20k": make_ade20k,
    "camvid": make_camvid,
    "cityscapes": make_cityscapes,
    "coco": make_coco,
    "folder": make_folder,
    "oxford_pet": make_pets,
    "pascal_voc": make_voc,
    "street_scenes": lambda root: {"n": 3, "size": (48, 64)},
}
ELSEWHERE = {"decathlon"}  # with its volumes, in the tests of volumes


def test_every_registered_data_set_is_checked():
    assert set(list_datasets()) == SMALL.keys() | ELSEWHERE


@pytest.mark.parametrize("name", SMALL)
def test_registered(name, tmp_path):
    data = create_dataset(name, **SMALL[name](tmp_path))
    check_dataset(data)
    check_dataset(Subset(data, [1, 0]))
    if name != "street_scenes":
        resized = create_dataset(name, **SMALL[name](tmp_path / "again"), resize=(4, 5))
        check_dataset(resized)
        assert resized[0][0].shape == (3, 4, 5)


def test_the_real_camvid(camvid_root):
    check_dataset(create_dataset("camvid", root=camvid_root, split="val"), items=2)


def test_a_slice_of_the_hippocampus(hippocampus_root):
    check_dataset(create_dataset("decathlon", root=hippocampus_root), items=2)
