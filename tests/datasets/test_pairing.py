"""Which files make pairs, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.datasets._pairing import match, pair_folders
from segkit.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def shown(pairing, root):
    return [tuple(path.relative_to(root).as_posix() for path in pair) for pair in pairing.pairs]


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_every_file_is_in_one_place(images, masks):
    found = match(
        {str(i): Path(f"i{i}") for i in images}, {str(i): Path(f"m{i}") for i in masks}, where="images in x", rule="r"
    )
    assert {int(name) for name in found.ids} == images & masks
    assert {int(path.name[1:]) for path in found.images_without_mask} == images - masks
    assert {int(path.name[1:]) for path in found.masks_without_image} == masks - images
    assert all(
        image.name[1:] == mask.name[1:] == name for name, (image, mask) in zip(found.ids, found.pairs, strict=True)
    )
    if images != masks or not images:
        with pytest.raises(DataError):
            found.check()
    else:
        assert found.check() is found


def test_nested_folders_pair_by_their_path(tmp_path):
    touch(tmp_path / "i", "x/a.jpg", "y/a.jpg", "b.png", ".hidden/c.png", "y/note.txt")
    touch(tmp_path / "m", "x/a.png", "y/a.png", "b.tif")
    found = pair_folders(tmp_path / "i", tmp_path / "m")
    assert found.ids == ("b", "x/a", "y/a")
    assert shown(found, tmp_path) == [("i/b.png", "m/b.tif"), ("i/x/a.jpg", "m/x/a.png"), ("i/y/a.jpg", "m/y/a.png")]
    assert pair_folders(tmp_path / "i", tmp_path / "m", nested=False).ids == ("b",)


@pytest.mark.parametrize("inner", ["masks", "a/masks"])
def test_the_masks_may_lie_within_the_images(tmp_path, inner):
    touch(tmp_path, "1.jpg", "2.jpg", f"{inner}/1.png", f"{inner}/2.png")
    assert pair_folders(tmp_path, tmp_path / inner).check().ids == ("1", "2")
    assert pair_folders(tmp_path / inner, tmp_path).check().ids == ("1", "2")


def test_links_to_folders_are_not_followed(tmp_path):
    touch(tmp_path / "i", "a.jpg")
    touch(tmp_path / "m", "a.png")
    (tmp_path / "i/loop").symlink_to(tmp_path / "i")
    assert pair_folders(tmp_path / "i", tmp_path / "m").check().ids == ("a",)


@pytest.mark.parametrize(
    ("image_suffix", "mask_suffix", "names"),
    [
        ("", "_mask", ["a.jpg", "a_mask.png", "b.jpg", "b_mask.png"]),
        ("_img", "_gt", ["a_img.jpg", "a_gt.png", "b_img.jpg", "b_gt.png", "b_depth.png"]),
        ("_leftImg8bit", "", ["a.png", "a_leftImg8bit.png", "b.png", "b_leftImg8bit.png"]),
        ("_a", "_b_a", ["a_a.jpg", "a_b_a.png", "b_a.png", "b_b_a.png"]),
    ],
)
def test_one_folder_with_suffixes(tmp_path, image_suffix, mask_suffix, names):
    touch(tmp_path, *names)
    found = pair_folders(tmp_path, tmp_path, image_suffix=image_suffix, mask_suffix=mask_suffix).check()
    assert found.ids == ("a", "b")
    assert [path.stem for path, _ in found.pairs] == [f"a{image_suffix}", f"b{image_suffix}"]
    assert [path.stem for _, path in found.pairs] == [f"a{mask_suffix}", f"b{mask_suffix}"]


def test_one_folder_without_suffixes(tmp_path):
    touch(tmp_path, "a.jpg", "a_m.png", "b.jpg", "b_m.png")
    with pytest.raises(DataError, match=r"4 images without a mask.*`mask_suffix='_m'` would pair them"):
        pair_folders(tmp_path, tmp_path).check()


def test_files_of_one_name(tmp_path):
    touch(tmp_path / "i", "a.jpg", "a.png", "x/b.jpg")
    touch(tmp_path / "m", "a.png", "x/b.png", "x/b.tif")
    with pytest.raises(DataError, match=r"files of one name: a\.jpg and a\.png, b\.png and b\.tif; keep one"):
        pair_folders(tmp_path / "i", tmp_path / "m").check()


def test_nothing_at_all(tmp_path):
    touch(tmp_path, "i/a.txt", "m/a.png")
    with pytest.raises(DataError, match=r"no image has a mask, images in .*i, masks in .*m; an image and its mask"):
        pair_folders(tmp_path / "i", tmp_path / "m").check_any()
    (tmp_path / "m/a.png").unlink()
    with pytest.raises(DataError, match=r"no images in .*i, masks in .*m; expected files that end in \.bmp"):
        pair_folders(tmp_path / "i", tmp_path / "m").check_any()
