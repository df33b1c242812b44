"""The check of data: every planted fault found where it was planted, and none invented where nothing is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from references.faulty import NAMES, Folders, clean, image_of, mask_of, planted
from segkit import Labels, inspect_dataset
from segkit.datasets import CamVid, DatasetReport, FolderDataset, SegmentationDataset, StreetScenes, Subset
from segkit.datasets._images import image_array, mask_array
from segkit.datasets.inspection._facts import Facts, ImageFacts
from segkit.datasets.inspection._hash import fingerprint
from segkit.datasets.inspection._leakage import near_pairs
from segkit.errors import InputError


def opened(folders: Folders, labels: Any = NAMES) -> list[FolderDataset]:
    return [
        FolderDataset(folders.root / split / "images", folders.root / split / "masks", labels, strict=False)
        for split in ("train", "val")
    ]


def inspected(folders: Folders, labels: Any = NAMES) -> DatasetReport:
    return inspect_dataset(*opened(folders, labels), names=["train", "val"])


def kinds(report: DatasetReport) -> set[str]:
    return {problem.kind for problem in report.problems}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folders, DatasetReport]:
    folders = planted(tmp_path_factory.mktemp("faulty"))
    datasets = opened(folders)
    folders.mask(*folders.planted["missing"]).unlink()  # after the data set has listed it
    return folders, inspect_dataset(*datasets, names=["train", "val"])


def test_nothing_is_invented_where_nothing_is_wrong(tmp_path: Path) -> None:
    report = inspected(clean(tmp_path))
    assert report.problems == ()
    assert report.ok
    assert report.verdict == "nothing wrong was found"
    assert str(report.splits[0]) == "train: 30 items, 60x80, 3 channels of uint8"


def test_every_planted_fault_is_found_where_it_is(faulty: tuple[Folders, DatasetReport]) -> None:
    folders, report = faulty
    found = {
        kind: {item.removeprefix("train/") for problem in report.find(kind) for item in problem.items}
        for kind in folders.planted
    }
    in_files = {"truncated", "unreadable", "missing"}
    for kind in in_files:
        found[kind] = {Path(item).stem for item in found[kind]}
    expected = {kind: {item.removeprefix("train/") for item in items} for kind, items in folders.planted.items()}
    expected["channels"] |= expected["nan"]  # a float picture is a grey one, too
    assert found == expected


def test_no_fault_is_found_that_was_not_planted(faulty: tuple[Folders, DatasetReport]) -> None:
    folders, report = faulty
    assert kinds(report) - set(folders.planted) == {"pixel_type"}  # of the float picture
    assert not report.ok
    assert {problem.severity for problem in report.problems} == {"error", "warning"}
    severities = [problem.severity for problem in report.problems]
    assert severities == sorted(severities), "errors come first"


def test_causes_and_mendings_are_said(faulty: tuple[Folders, DatasetReport]) -> None:
    _, report = faulty
    text = str(report)
    for part in (
        "1 of 35 masks holds ids that are one too high: 1..4 and never 0",
        "Ignore it: `values={4: 255}`",
        "a void class that is not mapped",
        "colours of Pascal VOC's palette, which stand for ids ((0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2",
        "RGBA, as a palette mask becomes when a program opens it and saves it again",
        "three equal channels; the values: 0, 1, 2, 3",
        "saved as JPEG, which changes values at every border",
        "100 % of the borders between two ids pass through an id in between",
        "0 and 255 alone, and 255 means 'ignored': every pixel that counts is class 0, 'ground'",
        "image 60x80 with mask 55x76",
        "`suggested_labels()` has a mapping",
    ):
        assert part in text, part


def test_suggested_labels_map_only_what_harms_no_sound_mask(faulty: tuple[Folders, DatasetReport]) -> None:
    """Ids that are one too high in one file are no reason to shift those of the others."""
    _, report = faulty
    assert report.suggested_labels().values == {4: 255, 34: 255, 35: 255}
    assert report.suggested_labels().names == NAMES
    assert report.labels.values is None


@pytest.mark.parametrize(
    ("kind", "change", "values"),
    [
        ("one_too_high", lambda mask: mask + 1, {0: 255, 1: 0, 2: 1, 3: 2, 4: 3}),
        ("void", lambda mask: np.where(mask == 3, 4, mask), {4: 255}),
        ("void", lambda mask: np.where(mask == 3, 200, mask), {200: 255}),
        ("unknown_values", lambda mask: np.array([0, 7, 9, 3])[mask], {7: 255, 9: 255}),
    ],
)
def test_the_suggested_mapping_mends_the_folder(
    tmp_path: Path, kind: str, change: Callable[[Any], Any], values: dict[int, int]
) -> None:
    folders = clean(tmp_path, train=5, val=3)
    for path in tmp_path.glob("*/masks/*.png"):
        Image.fromarray(change(np.array(Image.open(path))).astype(np.uint8)).save(path)
    report = inspected(folders)
    assert [problem.kind for problem in report.errors] == [kind]
    assert report.errors[0].message.startswith("all 8 masks hold")
    assert report.suggested_labels().values == values
    mended = inspected(folders, report.suggested_labels())
    assert mended.ok, str(mended)


@pytest.mark.parametrize(
    ("pair", "classes", "values"),
    [
        ((0, 128), 2, {128: 1}),
        ((0, 2), 2, {2: 1}),
        ((0, 65535), 2, {65535: 1}),
        ((50, 200), 2, {50: 0, 200: 1}),
        ((0, 200), 3, None),
        ((50, 200), 3, None),
    ],
)
def test_no_mapping_is_suggested_that_would_leave_one_class(
    tmp_path: Path, pair: tuple[int, int], classes: int, values: dict[int, int] | None
) -> None:
    """To ignore the object's value would mend the error, and teach background alone."""
    folders = clean(tmp_path, train=5, val=3)
    for path in tmp_path.glob("*/masks/*.png"):
        Image.fromarray(np.where(np.array(Image.open(path)) > 0, pair[1], pair[0]).astype(np.uint16)).save(path)
    names = ["ground", "plant", "stone"][:classes]
    report = inspected(folders, names)
    (problem,) = report.errors
    assert problem.kind == "unknown_values"
    assert "no void, since without" in problem.message
    assert report.suggested_labels().values == values
    if values is not None:
        assert not inspected(folders, report.suggested_labels()).errors


def test_what_is_negative_is_void_though_one_class_is_left() -> None:
    pairs = [(image_of(i, mask_of(i)).transpose(2, 0, 1), np.where(mask_of(i) > 0, 1, -100)) for i in range(4)]
    report = inspect_dataset(pairs, labels=Labels(["ground", "plant"]))
    assert report.suggested_labels().values == {-100: 255}


def test_ids_that_are_one_too_high_of_two_classes_are_written_once(tmp_path: Path) -> None:
    folders = clean(tmp_path, train=5, val=3)
    for path in tmp_path.glob("*/masks/*.png"):
        Image.fromarray((1 + (np.array(Image.open(path)) > 0)).astype(np.uint8)).save(path)
    (problem,) = inspected(folders, ["ground", "plant"]).errors
    assert problem.suggestion == "Subtract 1: `values={0: 255, 1: 0, 2: 1}`"


def test_a_void_class_is_told_from_ids_that_are_one_too_high(tmp_path: Path, camvid_root: Path) -> None:
    """Class 0 is missing in half of the frames, as it would be were the ids one too high: the others tell."""
    train = CamVid(camvid_root)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(0, 360, 18):
        image, mask = (Image.open(path) for path in train.files(index))
        turned = np.array([*range(1, 11), 0, 11], np.uint8)[
            np.array(mask)
        ]  # the bicyclist, in half of them, is class 0
        image.resize((240, 180)).save(tmp_path / "images" / f"{index:03d}.png")
        Image.fromarray(turned[::2, ::2]).save(tmp_path / "masks" / f"{index:03d}.png")
    names = [f"class {value}" for value in range(11)]
    report = inspect_dataset(FolderDataset(tmp_path / "images", tmp_path / "masks", names))
    assert kinds(report) == {"void"}
    assert "all 20 masks hold the value 11 outside 0..10" in report.problems[0].message
    assert report.suggested_labels().values == {11: 255}


@pytest.mark.parametrize("classes", [2, 4])
def test_black_and_white_masks_that_raise_nothing(tmp_path: Path, classes: int) -> None:
    """255 is the ignored value: without a word, all that is learnt is class 0."""

    class Plain(SegmentationDataset):
        def __init__(self) -> None:
            super().__init__(Labels([f"class {value}" for value in range(classes)]), ids=[str(i) for i in range(5)])

        def __getitem__(self, index: int) -> Any:
            mask = mask_of(index)
            return torch.from_numpy(image_of(index, mask)).permute(2, 0, 1), torch.from_numpy(
                (mask > 0) * np.uint8(255)
            )

    report = inspect_dataset(Plain())
    (problem,) = report.find("zero_255")
    assert problem.severity == "error"
    assert "all 5 masks hold 0 and 255 alone" in problem.message
    assert problem.values == ({255: 1} if classes == 2 else {})
    assert 'task="binary"' in problem.suggestion or classes == 2


def test_void_beside_classes_is_no_black_and_white_mask(tmp_path: Path) -> None:
    folders = clean(tmp_path, train=6, val=2)
    for number in range(6):
        path = folders.mask(f"plant_{number:02d}")
        mask = np.array(Image.open(path))
        mask[:, :9] = 255
        Image.fromarray(np.where(mask == 255, 255, 0).astype(np.uint8) if number == 0 else mask).save(path)
    assert inspected(folders).problems == ()


def test_black_and_white_masks_that_the_reader_maps_are_no_problem(tmp_path: Path) -> None:
    folders = clean(tmp_path, train=5, val=3)
    for path in tmp_path.glob("*/masks/*.png"):
        Image.fromarray((np.array(Image.open(path)) > 0) * np.uint8(255)).save(path)
    assert inspected(folders, ["ground", "plant"]).problems == ()


def test_smoothed_black_and_white_masks_are_cut_at_the_middle(tmp_path: Path) -> None:
    folders = clean(tmp_path, train=3, val=1)
    for path in tmp_path.glob("*/masks/*.png"):
        mask = Image.fromarray((np.array(Image.open(path)) > 0) * np.uint8(255))
        mask.resize((40, 30)).resize((80, 60), Image.Resampling.BILINEAR).save(path)
    labels = Labels(["plant"], task="binary", ignore_index=-1)
    report = inspected(folders, labels)
    assert kinds(report) == {"interpolated"}
    values = report.suggested_labels().values
    assert values is not None
    assert (values[127], values[128], values[255]) == (0, 1, 1)


@pytest.mark.parametrize("drawn", ["after the turn", "before the turn"])
def test_a_camera_that_stored_its_picture_turned(tmp_path: Path, drawn: str) -> None:
    """A reader turns the image upright; a mask that was drawn on the stored pixels no longer fits."""
    folders = clean(tmp_path, train=4, val=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folders.image("plant_01")
    Image.open(path).save(path.with_suffix(".jpg"), exif=exif, quality=95)
    path.unlink()
    if drawn == "after the turn":
        Image.open(folders.mask("plant_01")).transpose(Image.Transpose.ROTATE_270).save(folders.mask("plant_01"))
    report = inspected(folders)
    assert kinds(report) == (set() if drawn == "after the turn" else {"orientation"})
    if report.problems:
        assert "image 80x60 with mask 60x80 (height x width)" in report.problems[0].message


# Anybody's data sets, without files.


class Anybodys:
    """Items of a list; no labels, no ids, no files."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def sound(index: int) -> tuple[Any, Any]:
    mask = mask_of(index)
    return image_of(index, mask).transpose(2, 0, 1), mask


def test_anybodys_data_set_of_arrays_is_sound() -> None:
    data = Anybodys([sound(index) for index in range(5)])
    assert inspect_dataset(data, labels=Labels(NAMES)).problems == ()
    with pytest.raises(InputError, match="says nothing about its classes; pass `labels="):
        inspect_dataset(data)
    with pytest.raises(InputError, match="is empty"):
        inspect_dataset(Anybodys([]), labels=Labels(NAMES))


def test_anybodys_faults_without_files() -> None:
    image, mask = sound(7)
    items = [
        sound(0),
        sound(1),
        (sound(2)[0], sound(2)[1].astype(np.float32)),
        (sound(3)[0], sound(3)[1][:-1]),
        (sound(4)[0], sound(4)[1] + 9 * (sound(4)[1] == 3)),
        OSError("the disk is gone"),
        (np.where(mask == 2, np.nan, image.astype(np.float32)), mask),
        sound(8)[0],
    ]
    report = inspect_dataset(Anybodys(items), labels=Labels(NAMES), workers=0)
    expected = {
        "mask_type": ("2",),
        "size": ("3",),
        "void": ("4",),
        "unreadable": ("5", "7"),
        "nan": ("6",),
    }
    assert {problem.kind: problem.items for problem in report.errors} == expected
    assert "the disk is gone" in report.find("unreadable")[0].message


def test_multilabel_masks_are_counted_by_plane() -> None:
    labels = Labels(["leaf", "fruit"], task="multilabel")
    items = [
        (sound(index)[0], np.stack([sound(index)[1] == 1, sound(index)[1] >= 2]).astype(np.uint8)) for index in range(4)
    ]
    report = inspect_dataset(Anybodys(items), labels=labels)
    assert report.problems == ()
    statistics = report.splits[0].statistics
    assert statistics is not None
    assert statistics.pixels.tolist() == [sum(int(mask[plane].sum()) for _, mask in items) for plane in (0, 1)]


# Splits that share what they should not.


def test_camvid_shares_a_drive_between_train_and_val(camvid_root: Path) -> None:
    """Without being told: the data set knows the drive of each frame."""
    train, val = CamVid(camvid_root), CamVid(camvid_root, split="val")
    report = inspect_dataset(Subset(train, range(0, 367, 12)), Subset(val, range(0, 101, 12)), names=["train", "val"])
    assert report.ok
    assert [problem.kind for problem in report.problems if problem.kind != "absent_class"] == ["leak_group"]
    (problem,) = report.find("leak_group")
    assert problem.items == ("0016E5",)
    assert "val shares 1 group with train: 0016E5 (the data set's groups)" in problem.message


def test_the_drive_is_guessed_from_names_alone_and_the_pictures_confirm_it(camvid_root: Path) -> None:
    def folder(split: str) -> FolderDataset:
        names = [f"class {value}" for value in range(12)]
        return FolderDataset(camvid_root / split, camvid_root / f"{split}annot", names)

    parts = [Subset(folder("train"), range(0, 367, 4)), Subset(folder("val"), range(0, 101, 2))]
    (problem,) = inspect_dataset(*parts, names=["train", "val"]).find("leak_group")
    assert problem.severity == "warning"
    assert problem.items == ("0016E5",)
    assert "a guess: groups read off the beginnings of the names; the pictures confirm it" in problem.message


def named(names: list[str], first: int) -> Any:
    data = Anybodys([sound(first + number) for number in range(len(names))])
    data.ids = names
    return data


def test_a_guess_that_the_pictures_do_not_confirm_is_a_note() -> None:
    """Breeds of Oxford's pets look like groups by their names; their pictures have nothing in common."""
    breeds = ["Bengal", "Persian", "Sphynx"]
    train, val = (named([f"{breed}_{number}" for breed in breeds for number in range(4)], first) for first in (0, 100))
    (problem,) = inspect_dataset(train, val, labels=Labels(NAMES)).problems
    assert (problem.kind, problem.severity) == ("leak_group", "note")
    assert "the pictures themselves do not confirm it" in problem.message


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (["img_001", "img_002", "img_003"], ["img_101", "img_102"]),
        (["2007_000032", "2007_000039", "2008_000003", "2008_000007"], ["2007_000033", "2008_000008"]),
        (["train_a1_1", "train_a1_2", "train_b1_1", "train_b1_2"], ["val_c1_1", "val_c1_2"]),
        (["0001", "0002", "0003"], ["0004"]),
        (["one", "two"], ["three"]),
    ],
)
def test_names_that_tell_no_groups(train: list[str], val: list[str]) -> None:
    assert inspect_dataset(named(train, 0), named(val, 50), labels=Labels(NAMES)).find("leak_group") == ()


@pytest.mark.parametrize(
    "names", [("p1s1", "p1s2", "p2s1", "p2s2"), ("train/p1-s1", "train/p1-s2", "val/p2-s1", "p2_s2")]
)
def test_patients_are_guessed_from_many_ways_to_name(names: tuple[str, ...]) -> None:
    data = named(list(names), 0), named([name.replace("s", "s1") for name in names[2:]], 50)
    (problem,) = inspect_dataset(*data, labels=Labels(NAMES)).find("leak_group")
    assert len(problem.items) == 1


def test_groups_by_a_pattern_or_a_function() -> None:
    train, val = named(["x-anna-1", "x-anna-2", "x-bob-1"], 0), named(["y-bob-2", "y-cem-1"], 50)
    for rule in (r"-(\w+)-", lambda name: name.split("-")[1]):
        (problem,) = inspect_dataset(train, val, labels=Labels(NAMES), groups=rule).find("leak_group")
        assert problem.items == ("bob",)
        assert problem.severity == "warning"
    with pytest.raises(InputError, match=r"must be a regular expression; '\(' is none"):
        inspect_dataset(train, val, labels=Labels(NAMES), groups="(")
    with pytest.raises(InputError, match="fits none of the names, such as 'x-anna-1'"):
        inspect_dataset(train, val, labels=Labels(NAMES), groups="patient")


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter"])
def test_near_equal_frames_of_camvid_are_found_and_others_are_not(camvid_root: Path, change: str) -> None:
    train = CamVid(camvid_root)
    frames = [train[index] for index in range(0, 360, 40)]
    copies = []
    for image, mask in frames[:3]:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        if change == "jpeg":
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=50)
            picture = Image.open(buffer)
        elif change == "half":
            picture = picture.resize((240, 180), Image.Resampling.BILINEAR)
        pixels = np.array(picture)
        if change == "brighter":
            pixels = np.clip(pixels * 1.15 + 10, 0, 255).astype(np.uint8)
        if change == "half":
            mask = mask[::2, ::2]
        copies.append((pixels.transpose(2, 0, 1), mask))
    report = inspect_dataset(Anybodys(frames), Anybodys(copies), labels=train.labels, names=["train", "val"])
    assert [problem.items for problem in report.find("leak_near")] == [
        ("train/0 ~ val/0", "train/1 ~ val/1", "train/2 ~ val/2")
    ]
    assert report.find("leak_equal") == ()


def test_flat_images_are_near_nothing() -> None:
    """Their hash would be rounding: all black slices would be copies of one another."""
    rng = np.random.default_rng(0)
    flat = [(rng.integers(10, 13, (3, 60, 80), dtype=np.uint8), mask_of(index)) for index in range(4)]
    black = [(np.zeros((3, 60, 80), np.uint8), mask_of(index)) for index in range(2)]
    report = inspect_dataset(Anybodys(flat[:2] + black), Anybodys(flat[2:] + black), labels=Labels(NAMES))
    assert kinds(report) == {"constant_image"}


def test_generated_scenes_are_sound() -> None:
    report = inspect_dataset(StreetScenes(4, size=(96, 128)), StreetScenes(4, size=(96, 128), seed=1))
    assert kinds(report) <= {"absent_class"}, str(report)


# What no file may do: end the check.


class OfFiles(Anybodys):
    """Items that are read by whatever reads them, and say from where."""

    def __init__(self, pairs: list[tuple[Path, Path]]) -> None:
        super().__init__(pairs)

    def files(self, index: int) -> tuple[Path, Path]:
        return self.items[index]

    def __getitem__(self, index: int) -> Any:
        image, mask = self.items[index]
        return image_array(image).transpose(2, 0, 1), mask_array(mask)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".npy"]),
    st.integers(0, 400),
    st.integers(0, 255),
    st.integers(0, 500),
)
def test_damaged_files_end_no_check(tmp_path: Path, ending: str, place: int, value: int, cut: int) -> None:
    """A byte changed, and the end cut off, in an image and in a mask: found or harmless, never raised."""
    image, mask = tmp_path / f"image{ending}", tmp_path / f"mask{ending}"
    pixels = mask_of(0)[:20, :30]
    for path in (image, mask):
        if ending == ".npy":
            np.save(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
        content = bytearray(path.read_bytes())
        content[place % len(content)] = value
        path.write_bytes(content[: max(1, len(content) - cut % len(content))])
    report = inspect_dataset(OfFiles([(image, mask)]), labels=Labels(NAMES), workers=0)
    assert isinstance(str(report), str)
    read = report.splits[0].num_read
    assert read == 1 or not report.ok


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_near_pairs_are_those_of_all_pairs(seed: int) -> None:
    """Against all pairs one by one, among pictures of which some are noisy copies of one another."""
    rng = np.random.default_rng(seed)
    base = [rng.integers(0, 256, (1, 8, 8), dtype=np.uint8).repeat(4, 1).repeat(4, 2) for _ in range(4)]

    def facts(index: int) -> Facts:
        noisy = base[rng.integers(4)] + rng.normal(0, rng.choice([2, 30, 90]), (1, 32, 32))
        bits, thumb = fingerprint(np.clip(noisy, 0, 255).astype(np.uint8))
        image = ImageFacts((1, 32, 32), "uint8", 0, False, bytes([index]), bits, thumb)
        return Facts(index=index, name=str(index), image=image)

    first, second = [facts(index) for index in range(6)], [facts(index) for index in range(9)]
    expected = {}
    for other, theirs in enumerate(second):
        near = []
        for one, ours in enumerate(first):
            assert ours.image is not None
            assert theirs.image is not None
            bits = bin(ours.image.hash ^ theirs.image.hash).count("1")
            alike = np.corrcoef(ours.image.thumb.ravel(), theirs.image.thumb.ravel())[0, 1]
            if bits <= 8 and alike >= 0.97:
                near.append((bits, one))
        if near:
            expected[other] = min(near)[0]
    found = near_pairs(first, second)
    assert [other for _, other in found] == sorted(expected)
    for one, other in found:
        assert bin(first[one].image.hash ^ second[other].image.hash).count("1") == expected[other]


# The report.


def test_the_report_as_data_and_in_a_notebook(faulty: tuple[Folders, DatasetReport]) -> None:
    _, report = faulty
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["ok"] is False
    assert len(values["problems"]) == len(report.problems)
    assert values["suggested_values"] == {"4": 255, "34": 255, "35": 255}
    assert values["splits"][1]["num_items"] == 6
    assert "<table>" in report._repr_html_()
    assert report.problems[0].message in report._repr_html_()


def test_names_of_data_sets() -> None:
    data = Anybodys([sound(0)])
    labels = Labels(NAMES)
    assert inspect_dataset(data, labels=labels).splits[0].name == "the data set"
    assert [split.name for split in inspect_dataset(data, data, labels=labels).splits] == ["data set 1", "data set 2"]
    with pytest.raises(InputError, match="`names` must name each of the 2 data sets; got 1"):
        inspect_dataset(data, data, labels=labels, names=["a"])


def test_labels_that_differ_between_splits() -> None:
    data = [StreetScenes(1, size=(48, 64)), StreetScenes(1, size=(48, 64), seed=5)]
    data[1].labels = Labels(data[0].labels.names[::-1])
    (problem,) = inspect_dataset(*data).find("labels")
    assert problem.severity == "error"
    assert "in the same order" in problem.suggestion
