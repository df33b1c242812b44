from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import FolderDataset, create_dataset, random_split
from segkit.errors import DataError, InputError, LabelError, MissingFileError, ShapeError
from segkit.labels import Labels

NAMES = ["left 1", "mitte ñ", "right"]
PALETTE = [(0, 0, 0), (200, 10, 10), (10, 10, 200)]
COLORED = Labels(["ground", "red", "blue"], palette=PALETTE)
IDS = np.array([[0, 1, 2, 0], [2, 2, 1, 0]], np.uint8)


def make(root, mask=IDS, image_shape=(2, 4, 3), names=NAMES, image_ending="jpg", mask_ending="png", suffix=""):
    """Two folders; item i has an image of grey 10 * i (up to 240). ``mask`` is one for all, or a list."""
    images, masks = root / "bilder 街", root / "masks"
    images.mkdir(exist_ok=True)
    masks.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full(image_shape, 10 * i % 250, np.uint8)).save(images / f"{name}.{image_ending}")
        one = mask[i] if isinstance(mask, list) else mask
        Image.fromarray(one).save(masks / f"{name}{suffix}.{mask_ending}")
    return images, masks


@pytest.mark.parametrize("image_ending", ["jpg", "png", "JPG", "tif", "bmp"])
@pytest.mark.parametrize("mask_ending", ["png", "tif", "bmp"])
def test_pairs_by_stem_across_endings(tmp_path, image_ending, mask_ending):
    data = FolderDataset(*make(tmp_path, image_ending=image_ending, mask_ending=mask_ending), ["a", "b", "c"])
    assert list(data.ids) == NAMES
    assert data.groups is None
    assert data.num_classes == 3
    assert repr(data) == "FolderDataset(3 items, 3 classes)"
    image, mask = data[2]
    assert (image.float() - 20).abs().max() <= 1
    assert mask.dtype == torch.uint8
    assert (mask.numpy() == IDS).all()


def test_one_line_to_training(tmp_path):
    from segkit import Trainer, UNet

    rng = np.random.default_rng(0)
    masks = [np.kron(rng.integers(0, 3, (4, 4), np.uint8), np.ones((8, 8), np.uint8)) for _ in range(8)]
    folders = make(tmp_path, masks, (32, 32, 3), [f"n{i}" for i in range(8)])
    train, val = random_split(FolderDataset(*folders, ["a", "b", "c"]), [0.75, 0.25])
    history = Trainer(UNet(3, decoder_channels=None), epochs=1, batch_size=2, device="cpu").fit(train, val)
    assert len(history) == 1


def test_names_or_labels(tmp_path):
    folders = make(tmp_path)
    assert FolderDataset(*folders, COLORED).labels is COLORED
    assert FolderDataset(*folders, ["a", "b", "c"]).labels == Labels(["a", "b", "c"])


def test_colour_masks(tmp_path):
    colors = np.array(PALETTE, np.uint8)[IDS]
    data = FolderDataset(*make(tmp_path, colors), COLORED)
    assert (data[0][1].numpy() == IDS).all()


def test_colours_that_mean_not_labelled(tmp_path):
    colors = np.array(PALETTE, np.uint8)[IDS]
    colors[0, 0] = (255, 255, 255)
    folders = make(tmp_path, colors)
    data = FolderDataset(*folders, COLORED, ignore_colors=[(255, 255, 255)])
    assert data[0][1][0, 0] == 255
    with pytest.raises(LabelError, match=r"\(255, 255, 255\) \(1 pixel\) in .*left 1\.png.*`ignore_colors`"):
        FolderDataset(*folders, COLORED)[0]


def test_ids_saved_in_three_channels(tmp_path):
    data = FolderDataset(*make(tmp_path, np.dstack([IDS, IDS, IDS])), ["a", "b", "c"])
    with pytest.raises(LabelError, match=r"channels are equal: if these are ids, save it as 8-bit grey"):
        data[0]


def test_masks_as_jpeg(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 3, (16, 16)).astype(np.uint8) * 100
    data = FolderDataset(*make(tmp_path, noisy, (16, 16, 3), mask_ending="jpg"), ["a", "b", "c"])
    with pytest.raises(LabelError, match="It is a JPEG, which changes values at every border: save masks as PNG"):
        data[0]


BINARY = Labels(["cell"], task="binary")


@pytest.mark.parametrize("labels", [BINARY, Labels(["ground", "cell"]), ["ground", "cell"]])
def test_0_and_255_of_two_classes(tmp_path, labels):
    masks = [np.where(i == IDS, 255, 0).astype(np.uint8) for i in (1, 2, 3)]  # the last one is all 0
    data = FolderDataset(*make(tmp_path, masks), labels)
    assert [mask.unique().tolist() for _, mask in data] == [[0, 1], [0, 1], [0]]
    assert (data[0][1].numpy() == (IDS == 1)).all()


@pytest.mark.parametrize("values", [None, {}])
def test_0_and_1_keep_255_as_void(tmp_path, values):
    masks = [np.array([[0, 255]], np.uint8), np.array([[1, 255]], np.uint8), np.array([[0, 0]], np.uint8)]
    data = FolderDataset(*make(tmp_path, masks, (1, 2, 3)), BINARY, values=values)
    assert [mask.flatten().tolist() for _, mask in data] == [[0, 255], [1, 255], [0, 0]]


def test_a_one_among_0_and_255_is_not_guessed(tmp_path):
    masks = [np.array([[0, 255]], np.uint8)] * 39 + [np.array([[1, 255]], np.uint8)]
    folders = make(tmp_path, masks, (1, 2, 3), [f"n{i:02}" for i in range(40)])
    data = FolderDataset(*folders, BINARY)
    assert data[0][1].tolist() == [[0, 1]]
    with pytest.raises(LabelError, match=r"n39\.png holds the value 1.*'cell', or not labelled\? Pass `values="):
        data[39]
    assert FolderDataset(*folders, BINARY, values={})[39][1].tolist() == [[1, 255]]
    assert FolderDataset(*folders, BINARY, values={255: 1})[39][1].tolist() == [[1, 1]]


def test_black_and_white_bitmaps(tmp_path):
    data = FolderDataset(*make(tmp_path, IDS > 0), BINARY)
    assert (data[0][1].numpy() == (IDS > 0)).all()


def test_values_are_mapped(tmp_path):
    folders = make(tmp_path, IDS + 1)
    with pytest.raises(LabelError, match=r"ids that start at 1.*`values=\{...\}` .*maps"):
        FolderDataset(*folders, ["a", "b", "c"])[0]
    shifted = FolderDataset(*folders, ["a", "b", "c"], values={1: 0, 2: 1, 3: 2, 0: 255})
    assert (shifted[0][1].numpy() == IDS).all()
    two = FolderDataset(*folders, ["a", "b"], values={1: 0, 2: 1, 3: 255})
    assert (two[0][1].numpy() == np.where(IDS == 2, 255, IDS)).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [({2**40: 0}, "`values`"), ({0: 7}, "7 .*`values`"), ({"a": 0}, "`values`"), ({0: 0.5}, "`v")],
)
def test_values_that_cannot_be(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        FolderDataset(*make(tmp_path), ["a", "b", "c"], values=values)


def test_masks_with_a_suffix(tmp_path):
    folders = make(tmp_path, suffix="_mask")
    with pytest.raises(DataError, match=r"3 images without a mask: .*`mask_suffix='_mask'` would pair them"):
        FolderDataset(*folders, ["a", "b", "c"])
    data = FolderDataset(*folders, ["a", "b", "c"], mask_suffix="_mask")
    assert list(data.ids) == NAMES
    with pytest.raises(DataError, match="the name of its image and '_gt'"):
        FolderDataset(*folders, ["a", "b", "c"], mask_suffix="_gt")


def test_one_folder_for_both(tmp_path):
    images, masks = make(tmp_path, suffix="_mask")
    for path in masks.iterdir():
        path.rename(images / path.name)
    data = FolderDataset(images, images, ["a", "b", "c"], mask_suffix="_mask")
    assert list(data.ids) == NAMES
    assert (data[0][1].numpy() == IDS).all()


def test_groups_by_stem(tmp_path):
    names = ["p1_a", "p1_b", "p2_a", "p2_b"]
    data = FolderDataset(*make(tmp_path, names=names), ["a", "b", "c"], groups=lambda stem: stem.split("_")[0])
    one, two = random_split(data, [0.5, 0.5])
    assert len(set(one.groups)) == len(set(two.groups)) == 1


def test_resize(tmp_path):
    image, mask = FolderDataset(*make(tmp_path), ["a", "b", "c"], resize=(4, 8))[0]
    assert image.shape == (3, 4, 8)
    assert (mask.numpy() == np.kron(IDS, np.ones((2, 2)))).all()


@pytest.mark.parametrize(("shape", "channels"), [((2, 4), 1), ((2, 4, 3), 3), ((2, 4, 4), 4)])
def test_any_number_of_channels(tmp_path, shape, channels):
    data = FolderDataset(*make(tmp_path, image_shape=shape, image_ending="png"), ["a", "b", "c"])
    assert data[0][0].shape == (channels, 2, 4)


def test_wide_images_stay_wide(tmp_path):
    images, masks = make(tmp_path, names=["a"])
    (images / "a.jpg").unlink()
    Image.fromarray(np.full((2, 4), 40_000, np.uint16)).save(images / "a.png")
    image, _ = FolderDataset(images, masks, ["a", "b", "c"])[0]
    assert image.dtype == torch.uint16
    assert image[0, 0, 0].item() == 40_000


# Bad input


def test_by_name(tmp_path):
    images, masks = make(tmp_path)
    assert len(create_dataset("folder", images=images, masks=masks, labels=["a", "b", "c"])) == 3
    with pytest.raises(InputError, match="'folder' needs `masks`, `labels`"):
        create_dataset("folder", images=images)


def test_missing_folders(tmp_path):
    images, masks = make(tmp_path)
    with pytest.raises(MissingFileError, match=r"`images`: no folder .*nowhere; give the folder that holds the images"):
        FolderDataset(tmp_path / "nowhere", masks, ["a", "b"])
    with pytest.raises(MissingFileError, match=r"`masks`: no folder .*nowhere"):
        FolderDataset(images, tmp_path / "nowhere", ["a", "b"])


def test_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        FolderDataset(*make(tmp_path, names=[]), ["a", "b"])


def test_unpaired_files(tmp_path):
    images, masks = make(tmp_path)
    (masks / "right.png").unlink()
    (images / "left 1.jpg").unlink()
    with pytest.raises(
        DataError,
        match=r": 1 image without a mask: right\.jpg; 1 mask without an image: left 1\.png; .*up to the ending$",
    ):
        FolderDataset(images, masks, ["a", "b"])


def test_sizes_that_differ(tmp_path):
    with pytest.raises(ShapeError, match=r"3x4 in .*left 1\.jpg and 2x4 in .*left 1\.png \(height x width\)"):
        FolderDataset(*make(tmp_path, image_shape=(3, 4, 3)), ["a", "b", "c"])[0]


def test_channels_that_differ(tmp_path):
    images, masks = make(tmp_path)
    Image.fromarray(np.zeros((2, 4), np.uint8)).save(images / "right.jpg")
    data = FolderDataset(images, masks, ["a", "b", "c"])
    data[0]
    with pytest.raises(DataError, match=r"right\.jpg has 1 channel, the first image left 1\.jpg has 3"):
        data[2]


def test_a_value_outside_the_labels(tmp_path):
    with pytest.raises(LabelError, match=r"2 \(3 pixels\) in .*left 1\.png; likely a void class .*: turn 2 into 255"):
        FolderDataset(*make(tmp_path), ["a", "b"])[0]


def test_a_truncated_image_and_mask(tmp_path):
    images, masks = make(tmp_path, np.zeros((64, 64), np.uint8), (64, 64, 3))
    for path, index in ((images / "right.jpg", 2), (masks / "mitte ñ.png", 1)):
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError, match=rf"cannot read .*{path.name}"):
            FolderDataset(images, masks, ["a", "b"])[index]


def test_a_multilabel_mask_has_a_channel_a_class(tmp_path):
    labels = Labels(["a", "b", "c"], task="multilabel")
    planes = np.dstack([IDS > 0, IDS == 1, IDS == 2]).astype(np.uint8)
    data = FolderDataset(*make(tmp_path, planes), labels)
    assert (data[0][1].numpy() == planes.transpose(2, 0, 1)).all()
    with pytest.raises(ShapeError, match=r"left 1\.png has 3 channels; expected one a class, 2"):
        FolderDataset(*make(tmp_path, planes), Labels(["a", "b"], task="multilabel"))[0]


def test_an_unknown_option(tmp_path):
    images, masks = make(tmp_path)
    with pytest.raises(InputError, match="no option 'sufix'"):
        create_dataset("folder", images=images, masks=masks, labels=["a", "b"], sufix="x")


# What is there, without raising


def test_files_of_an_item(tmp_path):
    images, masks = make(tmp_path)
    data = FolderDataset(images, masks, ["a", "b", "c"])
    assert data.files(-1) == (images / "right.jpg", masks / "right.png")
    with pytest.raises(IndexError):
        data.files(3)
    part = random_split(data, [0.5, 0.5])[0]
    assert part.files(0)[0].stem == part.ids[0]


def test_pairs_are_kept_where_others_lack_a_partner(tmp_path):
    images, masks = make(tmp_path)
    (masks / "right.png").unlink()
    (images / "left 1.jpg").rename(images / "left 2.jpg")
    Image.fromarray(IDS).save(masks / "mitte ñ.tif")
    data = FolderDataset(images, masks, ["a", "b", "c"], strict=False)
    assert list(data.ids) == ["mitte ñ"]
    assert data.pairing.pairs == ((images / "mitte ñ.jpg", masks / "mitte ñ.png"),)
    assert data.pairing.images_without_mask == (images / "left 2.jpg", images / "right.jpg")
    assert data.pairing.masks_without_image == (masks / "left 1.png",)
    assert data.pairing.duplicates == ((masks / "mitte ñ.png", masks / "mitte ñ.tif"),)


def test_a_broken_first_file_stops_only_its_own_item(tmp_path):
    images, masks = make(tmp_path, np.zeros((2, 4), np.uint8))
    (images / "left 1.jpg").write_bytes(b"no picture")
    (masks / "left 1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot read .*left 1"):
        FolderDataset(images, masks, ["a", "b"])
    data = FolderDataset(images, masks, ["a", "b"], strict=False)
    assert data[1][0].shape == (3, 2, 4)
    with pytest.raises(DataError, match=r"cannot read .*left 1"):
        data[0]
