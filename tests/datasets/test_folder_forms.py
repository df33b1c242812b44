"""The ways to say which of one's own files belong together, and what a hostile list may not do."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segkit.datasets import FolderDataset
from segkit.datasets._listing import pair_list
from segkit.datasets._patterns import pair_patterns
from segkit.errors import DataError, InputError, MissingFileError, SegkitError, ShapeError
from segkit.labels import Labels

NAMES = ["a", "b", "c"]


def image(path, grey=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 3, 3), grey, np.uint8)).save(path)


def mask(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 3), value, np.uint8)).save(path)


@pytest.fixture
def drives(tmp_path):
    """Two drives with frames of the same names, images and masks in folders of their own."""
    for number, (drive, frame) in enumerate([("d1", "x"), ("d1", "y"), ("d2", "x")]):
        image(tmp_path / drive / "rgb" / f"{frame}_rgb.png", 10 * number)
        mask(tmp_path / drive / "gt" / f"{frame}_gt.png", number)
    return tmp_path


# One folder


def test_one_folder_with_two_suffixes(tmp_path):
    for number, name in enumerate("pq"):
        image(tmp_path / f"{name}_rgb.jpg")
        mask(tmp_path / f"{name}_gt.png", number)
        mask(tmp_path / f"{name}_depth.png", 200)
    data = FolderDataset(tmp_path, None, NAMES, image_suffix="_rgb", mask_suffix="_gt")
    assert list(data.ids) == ["p", "q"]
    assert [int(one.max()) for _, one in data] == [0, 1]


def test_suffixes_that_pair_nothing(tmp_path):
    image(tmp_path / "p_rgb.jpg")
    mask(tmp_path / "p_gt.png")
    with pytest.raises(DataError, match=r"1 image without a mask: p_rgb\.jpg; .*same name before '_rgb' and '_mask'"):
        FolderDataset(tmp_path, None, NAMES, image_suffix="_rgb", mask_suffix="_mask")


# Nested folders


def test_nested_folders_by_their_path(tmp_path):
    for number, name in enumerate(["d1/x", "d1/y", "d2/x"]):
        image(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"masks/{name}.png", number)
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", NAMES, groups=lambda name: name.split("/")[0])
    assert list(data.ids) == ["d1/x", "d1/y", "d2/x"]
    assert list(data.groups) == ["d1", "d1", "d2"]
    assert [int(one.max()) for _, one in data] == [0, 1, 2]


# Patterns


def test_patterns_pair_by_what_the_wildcards_stand_for(drives):
    data = FolderDataset(drives / "*/rgb/*_rgb.png", drives / "*/gt/*_gt.png", NAMES)
    assert list(data.ids) == ["d1/x", "d1/y", "d2/x"]
    assert [int(one.max()) for _, one in data] == [0, 1, 2]


@pytest.mark.parametrize(
    ("images", "masks", "ids"),
    [
        ("d1/rgb/?_rgb.png", "d1/gt/?_gt.png", ["x", "y"]),
        ("d[12]/rgb/x_rgb.*", "d[12]/gt/x_gt.*", ["1", "2"]),
        ("d[!1]/rgb/*_rgb.png", "d[!1]/gt/*_gt.png", ["2/x"]),
        ("**/rgb/*_rgb.png", "**/gt/*_gt.png", ["d1/x", "d1/y", "d2/x"]),
        ("d1/*/x_*", "d1/*/x_*", ["gt/gt", "rgb/rgb"]),
    ],
)
def test_kinds_of_wildcards(drives, images, masks, ids):
    assert list(pair_patterns(drives / images, drives / masks).check().ids) == ids


def test_any_ending(tmp_path):
    image(tmp_path / "p.jpg")
    mask(tmp_path / "p_m.png")
    for images, masks in (("*.jpg", "*_m.png"), ("?.*", "?_m.*")):
        assert pair_patterns(tmp_path / images, tmp_path / masks).check().ids == ("p",)


def test_a_folder_with_a_bracket_in_its_name_is_a_folder(tmp_path):
    image(tmp_path / "run [1]/p.jpg")
    mask(tmp_path / "masks [1]/p.png")
    assert list(FolderDataset(tmp_path / "run [1]", tmp_path / "masks [1]", NAMES).ids) == ["p"]


def test_patterns_that_cannot_be(drives):
    with pytest.raises(InputError, match=r"2 wildcards .* 1; expected as many in both"):
        FolderDataset(drives / "*/rgb/*_rgb.png", drives / "d1/gt/*_gt.png", NAMES)
    with pytest.raises(InputError, match=r"`images`: the pattern .*\[z-a\].* cannot be read"):
        FolderDataset(drives / "[z-a].png", drives / "[z-a].png", NAMES)
    with pytest.raises(MissingFileError, match=r"`masks`: no folder .*nowhere; give a pattern below a folder"):
        FolderDataset(drives / "*/rgb/*.png", drives / "nowhere/*/*.png", NAMES)
    with pytest.raises(DataError, match=r"3 images without a mask: .*what the wildcards stand for must be the same"):
        FolderDataset(drives / "*/rgb/*.png", drives / "*/gt/*.png", NAMES)
    with pytest.raises(InputError, match="`image_suffix` and `mask_suffix` are for folders"):
        FolderDataset(drives / "*/rgb/*.png", drives / "*/gt/*.png", NAMES, mask_suffix="_gt")


# Several files an item


def grey(path, value, size=(2, 3), dtype=np.uint16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, dtype)).save(path)


@pytest.fixture
def bands(tmp_path):
    """Two scenes of three bands in files of their own, each with a mask."""
    for number, scene in enumerate(["s1", "s2"]):
        for place, band in enumerate(["red", "green", "nir"]):
            grey(tmp_path / f"{band}/{band}_{scene}.tif", 1000 * number + 100 * place)
        mask(tmp_path / f"gt/gt_{scene}.png", number)
    return tmp_path


def test_channels_from_files_of_their_own(bands):
    images = [bands / f"{band}/{band}_*.tif" for band in ("nir", "red", "green")]
    data = FolderDataset(images, bands / "gt/gt_*.png", NAMES)
    assert list(data.ids) == ["s1", "s2"]
    image, ids = data[1]
    assert image[:, 0, 0].tolist() == [1200, 1000, 1100]
    assert ids.unique().tolist() == [1]
    assert [path.name for path in data.files(1)] == ["nir_s2.tif", "red_s2.tif", "green_s2.tif", "gt_s2.png"]


def test_channels_that_are_missing_or_differ(bands):
    images = [bands / f"{band}/{band}_*.tif" for band in ("red", "nir")]
    grey(bands / "nir/nir_s2.tif", 7, (4, 4))
    with pytest.raises(ShapeError, match=r"nir_s2\.tif"):
        FolderDataset(images, bands / "gt/gt_*.png", NAMES)[1]
    (bands / "nir/nir_s2.tif").unlink()
    with pytest.raises(DataError, match="1 image without one of the 2 files that `images` asks for: s2"):
        FolderDataset(images, bands / "gt/gt_*.png", NAMES)
    assert list(FolderDataset(images, bands / "gt/gt_*.png", NAMES, strict=False).ids) == ["s1"]
    for wrong in ({"images": []}, {"masks": None}, {"masks": {}}, {"list_file": bands / "x.txt"}):
        with pytest.raises(InputError, match="folders or patterns, at least one of each, and go without"):
            FolderDataset(**{"images": images, "masks": bands / "gt/gt_*.png", "labels": NAMES, **wrong})


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_masks_of_one_file_a_class(tmp_path, task):
    for name, first, second in (("p", 255, 0), ("q", 0, 255)):
        image(tmp_path / f"images/{name}.png")
        grey(tmp_path / f"roads/{name}.png", first, dtype=np.uint8)
        if name == "q":
            grey(tmp_path / f"cars/{name}_car.png", second, dtype=np.uint8)
    labels = Labels(["ground", "road", "car"] if task == "multiclass" else ["road", "car"], task=task)
    masks = {"road": tmp_path / "roads/*.png", "car": tmp_path / "cars/*_car.png"}
    data = FolderDataset(tmp_path / "images", masks, labels)
    found = [ids.flatten(-2).unique(dim=-1).flatten().tolist() for _, ids in data]
    assert found == ([[1], [2]] if task == "multiclass" else [[1, 0], [0, 1]])
    with pytest.raises(InputError, match="no class is called 'roat'; did you mean 'road'"):
        FolderDataset(tmp_path / "images", {"roat": tmp_path / "roads"}, labels)[0]


def test_yolo_beside_the_images_and_in_folders(tmp_path):
    for name in "pq":
        image(tmp_path / f"images/{name}.jpg")
        (tmp_path / f"images/{name}.txt").write_text("0 0 0 0.5 0 0.5 1 0 1\n")
    (tmp_path / "images/classes.txt").write_text("leaf\n")
    labels = Labels(["leaf"], task="binary")
    beside = FolderDataset(tmp_path / "images", None, labels)
    assert list(beside.ids) == ["p", "q"]
    assert beside[0][1].tolist() == [[1, 0, 0], [1, 0, 0]]
    (tmp_path / "labels").mkdir()
    for path in (tmp_path / "images").glob("*.txt"):
        path.rename(tmp_path / "labels" / path.name)
    apart = FolderDataset(tmp_path / "images", tmp_path / "labels", labels)
    assert apart[1][1].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert list(FolderDataset(tmp_path / "images/*.jpg", tmp_path / "labels/*.txt", labels).ids) == ["p", "q"]
    (tmp_path / "labels/q.txt").unlink()
    with pytest.raises(DataError, match=r"1 image without a mask: q\.jpg"):
        FolderDataset(tmp_path / "images", tmp_path / "labels", labels)


# Lists


@pytest.mark.parametrize(
    "text",
    [
        "im/p 1.jpg\tgt/p.png\nim/q.jpg\tgt/q.png",
        "im/p 1.jpg,gt/p.png\nim/q.jpg, gt/q.png\n",
        "image;mask\nim/p 1.jpg;gt/p.png\nim/q.jpg;gt/q.png\n",
        '# of today\n"im/p 1.jpg" gt/p.png\n\nim/q.jpg   gt/q.png\n   \n',
        "\ufeffimage,mask\r\n\r\nim/p 1.jpg,gt/p.png\r\nim/q.jpg,gt/q.png\r\n",
        "im\\p 1.jpg\tgt\\p.png\rim\\q.jpg\tgt\\q.png\r",
    ],
)
def test_a_list_in_any_dress(tmp_path, text):
    for number, (first, second) in enumerate([("p 1", "p"), ("q", "q")]):
        image(tmp_path / f"im/{first}.jpg", 10 * number)
        mask(tmp_path / f"gt/{second}.png", number)
    (tmp_path / "list.txt").write_bytes(text.encode())
    data = FolderDataset(tmp_path, None, NAMES, list_file=tmp_path / "list.txt")
    assert list(data.ids) == ["im/p 1", "im/q"]
    assert [int(one.max()) for _, one in data] == [0, 1]


def test_a_list_keeps_its_order_and_has_two_roots(tmp_path):
    for name in "pqr":
        image(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"masks/{name}.png")
    (tmp_path / "list.csv").write_text("r.jpg,r.png\np.jpg,p.png\n")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", NAMES, list_file=tmp_path / "list.csv")
    assert list(data.ids) == ["r", "p"]
    assert data.files(0) == (tmp_path / "images/r.jpg", tmp_path / "masks/r.png")


@pytest.fixture
def listed(tmp_path):
    """A function that reads a list of the given text; below `root` lie p.jpg and p.png, beside it secret.png."""
    root = tmp_path / "root"
    image(root / "p.jpg")
    mask(root / "p.png")
    mask(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")

    def read(text, **options):
        (tmp_path / "list.txt").write_text(text)
        return FolderDataset(root, None, NAMES, list_file=tmp_path / "list.txt", **options)

    return read


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/etc/passwd p.png", "'/etc/passwd' is an absolute path; expected one below"),
        ("C:\\p.jpg p.png", "'C:.*p.jpg' is an absolute path"),
        ("\\\\host\\p.jpg p.png", "is an absolute path"),
        ("p.jpg ../secret.png", "'../secret.png' leaves its root|'../secret.png' .*leaves its root"),
        ("p.jpg link.png", "'link.png' leaves its root|'link.png' .*leaves its root"),
        ("p.jpg p\0.png", "cannot be read"),
        (f"p.jpg {'x' * 5000}.png", "cannot be read|not found"),
        ("p.jpg", "expected an image and its mask, .*; got 1 column: 'p.jpg'"),
        ("p.jpg p.png q.png", "got 3 columns"),
        ("p.jpg,", "got 2 columns"),
    ],
)
def test_lines_that_cannot_be(listed, line, message):
    with pytest.raises(DataError, match=f"(line 2.*)?({message})"):
        listed(f"\n{line}\n")
    if "not found" not in message:
        with pytest.raises(DataError, match="line 2"):
            listed(f"\n{line}\n")


def test_listed_files_that_are_not_there(listed):
    text = "p.jpg p.png\nq.jpg q.png\nr.jpg p.png\np.png s.png\n"
    with pytest.raises(
        MissingFileError,
        match=r"3 files not found, .*list\.txt: q\.jpg \(line 2\), r\.jpg \(line 3\), s\.png \(line 4\); expected",
    ):
        listed(text)
    pairing = listed(text, strict=False).pairing
    assert pairing.ids == ("p",)
    assert [path.name for path in pairing.images_without_mask] == ["p.png"]
    assert [path.name for path in pairing.masks_without_image] == ["p.png"]
    assert pairing.missing == ("q.jpg (line 2)", "r.jpg (line 3)", "s.png (line 4)")


def test_lists_of_nothing_and_of_the_same(listed, tmp_path):
    with pytest.raises(DataError, match=r"no images in the list .*list\.txt"):
        listed("\n\n# nothing\n")
    with pytest.raises(DataError, match=r"names an image more than once: p\.jpg \(lines 1, 3\)"):
        listed("p.jpg p.png\n\np.jpg p.png\n")
    with pytest.raises(MissingFileError, match=r"no file .*nowhere\.txt; expected a text file"):
        FolderDataset(tmp_path, None, NAMES, list_file=tmp_path / "nowhere.txt")
    (tmp_path / "binary.txt").write_bytes(b"p.jpg \xff\xfe.png")
    with pytest.raises(DataError, match=r"binary\.txt is not a text file in UTF-8"):
        FolderDataset(tmp_path, None, NAMES, list_file=tmp_path / "binary.txt")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(string.printable + "\0\ufeff\u2028", max_size=60).map(str.encode))
def test_any_bytes_are_a_list_or_an_error_of_ours(tmp_path, data):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    try:
        found = pair_list(path, tmp_path, tmp_path)
    except SegkitError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    for pair in found.pairs:
        assert all(file.resolve().is_relative_to(tmp_path.resolve()) for file in pair)


# What the labels learn from the files


def test_labels_keep_what_255_was_found_to_be(tmp_path):
    for number, value in enumerate([0, 255]):
        image(tmp_path / f"images/{number}.jpg")
        mask(tmp_path / f"masks/{number}.png", value)
    two = Labels(["cell"], task="binary")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", two)
    assert data.labels.values == {255: 1}
    assert Labels.from_dict(data.labels.to_dict()) == data.labels
    mask(tmp_path / "masks/1.png", 1)
    mask(tmp_path / "masks/0.png", 255)
    other = FolderDataset(tmp_path / "images", tmp_path / "masks", two)
    assert other.labels.values == {}
    assert other[0][1].unique().tolist() == [255]
    # The labels that were found on other files are taken at their word.
    assert FolderDataset(tmp_path / "images", tmp_path / "masks", data.labels)[0][1].unique().tolist() == [1]


def test_values_of_labels_map_what_is_in_the_files(tmp_path):
    image(tmp_path / "images/p.jpg")
    mask(tmp_path / "masks/p.png", 26)
    labels = Labels(["road", "car"], values={7: 0, 26: 1, 0: 255})
    assert FolderDataset(tmp_path / "images", tmp_path / "masks", labels)[0][1].unique().tolist() == [1]
    given = FolderDataset(tmp_path / "images", tmp_path / "masks", labels, values={26: 0})
    assert given.labels.values == {26: 0}
    assert given[0][1].unique().tolist() == [0]


def test_the_path_of_a_pattern_may_be_relative(drives, monkeypatch):
    monkeypatch.chdir(drives)
    assert FolderDataset("d1/rgb/*_rgb.png", "d1/gt/*_gt.png", NAMES).files(0)[0] == Path("d1/rgb/x_rgb.png")
