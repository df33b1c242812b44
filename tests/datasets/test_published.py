"""The published data sets, each from small files in its official layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import ADE20K, CamVid, Cityscapes, OxfordPet, PascalVOC
from segkit.datasets._camvid_colors import split_of_frame
from segkit.datasets.pascal_voc import voc_palette
from segkit.errors import DataError, InputError, LabelError, MissingFileError, UnknownNameError

SIZE = (4, 6)


def photo(path, shape=(*SIZE, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, 90, np.uint8)).save(path)


def mask(path, values, palette=None):
    """A mask whose first pixels have the given values; the others have the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(SIZE, values[-1], np.uint8)
    pixels.ravel()[: len(values)] = values
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette([part for color in palette for part in color])
    picture.save(path)


def first(data, count, index=0):
    return data[index][1].flatten()[:count].tolist()


def check_item(data, index=0):
    image, ids = data[index]
    assert (image.shape, image.dtype, ids.shape, ids.dtype) == ((3, *SIZE), torch.uint8, SIZE, torch.uint8)


# Cityscapes


@pytest.fixture
def cityscapes(tmp_path):
    for split, cities in {"train": ["aachen", "ulm"], "val": ["munster"]}.items():
        for city in cities:
            for frame in ("000000", "000001"):
                name = f"{city}_{frame}_000019"
                photo(tmp_path / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")
                base = tmp_path / f"gtFine/{split}/{city}/{name}_gtFine"
                mask(base.with_name(f"{base.name}_labelIds.png"), [*range(34), 255][: SIZE[0] * SIZE[1]])
                mask(base.with_name(f"{base.name}_instanceIds.png"), [200])
                photo(base.with_name(f"{base.name}_color.png"), (*SIZE, 4))
                base.with_name(f"{base.name}_polygons.json").write_text(json.dumps({"objects": []}))
    return tmp_path


# Ids of labels.py in github.com/mcordts/cityscapesScripts, in the order of the ids from 0: -1 is "ignored".
TRAIN_IDS = [-1] * 7 + [0, 1, -1, -1, 2, 3, 4, -1, -1, -1, 5, -1, *range(6, 16), -1, -1, 16, 17, 18]


def test_cityscapes(cityscapes):
    data = Cityscapes(cityscapes)
    check_item(data)
    assert data.num_classes == 19
    assert list(data.ids)[:3] == ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"]
    assert list(data.groups) == ["aachen", "aachen", "ulm", "ulm"]
    assert list(Cityscapes(cityscapes, "val").groups) == ["munster", "munster"]
    expected = [255 if value < 0 else value for value in TRAIN_IDS]
    assert first(data, 24) == expected[:24]
    assert data.labels.map_values([[*range(34), -1, 255]]).tolist() == [[*expected, 255, 255]]
    assert [path.name for path in data.files(0)] == [
        "aachen_000000_000019_leftImg8bit.png",
        "aachen_000000_000019_gtFine_labelIds.png",
    ]


def test_cityscapes_draws_outlines_where_no_ids_are(cityscapes):
    for path in cityscapes.rglob("*_labelIds.png"):
        path.unlink()
    road = {"label": "road", "polygon": [[0, 0], [5, 0], [5, 3], [0, 3]]}
    car = {"label": "cargroup", "polygon": [[1, 1], [2, 1], [2, 2], [1, 2]]}
    for path in cityscapes.rglob("*_polygons.json"):
        path.write_text(json.dumps({"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": [road, car]}))
    data = Cityscapes(cityscapes)
    check_item(data)
    expected = np.zeros(SIZE, np.uint8)
    expected[1:3, 1:3] = 13
    assert (data[0][1].numpy() == expected).all()
    assert data.files(0)[1].name == "aachen_000000_000019_gtFine_polygons.json"


def test_cityscapes_says_how_to_get_it(tmp_path, cityscapes):
    with pytest.raises(
        MissingFileError, match=r"gtCoarse/train; found there: gtFine, leftImg8bit; Cityscapes needs an account: .*root"
    ):
        Cityscapes(cityscapes, annotations="coarse")
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere: expected Cityscapes .*account"):
        Cityscapes(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=rf"did you mean the root {tmp_path}\?"):
        Cityscapes(cityscapes / "leftImg8bit")
    with pytest.raises(
        UnknownNameError, match=r"`split` must be one of train, val, test; got 'vel'; did you mean 'val'"
    ):
        Cityscapes(cityscapes, "vel")


def test_cityscapes_with_unknown_ids(cityscapes):
    path = cityscapes / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    mask(path, [7, 34])
    with pytest.raises(LabelError, match=r"34 \(23 pixels\) in .*aachen_000000_000019_gtFine_labelIds\.png"):
        Cityscapes(cityscapes)[0]


def test_a_frame_without_a_mask(cityscapes):
    (cityscapes / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"1 image without a mask: ulm_000001_000019_leftImg8bit\.png"):
        Cityscapes(cityscapes)


# ADE20K


@pytest.fixture
def ade20k(tmp_path):
    root = tmp_path / "data/ADEChallengeData2016"
    for folder, short in (("training", "train"), ("validation", "val")):
        for number in (1, 2):
            name = f"ADE_{short}_0000000{number}"
            photo(root / f"images/{folder}/{name}.jpg", SIZE if number == 2 else (*SIZE, 3))
            mask(root / f"annotations/{folder}/{name}.png", [0, 1, 2, 13, 150])
    return root


def test_ade20k(ade20k):
    data = ADE20K(ade20k, "val")
    assert list(data.ids) == ["ADE_val_00000001", "ADE_val_00000002"]
    assert data.num_classes == 150
    assert [data.labels.names[value] for value in (0, 1, 12, 149)] == ["wall", "building", "person", "flag"]
    assert first(data, 5) == [255, 0, 1, 12, 149]
    for index in (0, 1):  # the second photo is grey
        check_item(data, index)


def test_ade20k_in_another_folder(ade20k):
    with pytest.raises(MissingFileError, match=rf"found there: data; did you mean the root {ade20k}\?"):
        ADE20K(ade20k.parent.parent)
    with pytest.raises(MissingFileError, match=r"`ADE20K\(root, download=True\)` brings it from http"):
        ADE20K(ade20k.parent / "ADEChallenge")
    mask(ade20k / "annotations/training/ADE_train_00000001.png", [151])
    with pytest.raises(LabelError, match=r"151 .*ADE_train_00000001\.png"):
        ADE20K(ade20k)[0]


# PASCAL VOC

# The first colours of the masks as the development kit's pages show them.
VOC_COLORS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit/VOC2012"
    for number in range(4):
        photo(root / f"JPEGImages/2007_00000{number}.jpg")
    for number in range(3):
        mask(root / f"SegmentationClass/2007_00000{number}.png", [0, 15, 20, 255], voc_palette(256))
        mask(root / f"SegmentationClassAug/2007_00000{number}.png", [number])
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000002\n2007_000000\n")
    (lists / "val.txt").write_bytes(b"2007_000001\r\n\r\n")
    lines = [f"/JPEGImages/2007_00000{i}.jpg /SegmentationClassAug/2007_00000{i}.png\n" for i in (0, 1, 2)]
    (lists / "trainaug.txt").write_text("".join(lines))
    return root


def test_voc(voc):
    data = PascalVOC(voc)
    assert list(data.ids) == ["2007_000002", "2007_000000"]
    check_item(data)
    assert data.num_classes == 21
    assert (data.labels.names[0], data.labels.names[15], data.labels.names[20]) == ("background", "person", "tvmonitor")
    assert list(data.labels.palette[:7]) == VOC_COLORS
    assert data.labels.palette[20] == (0, 64, 128)
    assert first(data, 4) == [0, 15, 20, 255]
    assert list(PascalVOC(voc, "val").ids) == ["2007_000001"]


def test_voc_with_the_semantic_boundaries(voc):
    data = PascalVOC(voc, "trainaug", masks="SegmentationClassAug")
    assert [int(ids[0, 0]) for _, ids in data] == [0, 1, 2]


def test_voc_lists_that_cannot_be(voc):
    with pytest.raises(MissingFileError, match=r"lists there: train, trainaug, val; did you mean 'train'\?"):
        PascalVOC(voc, "trian")
    lists = voc / "ImageSets/Segmentation"
    (lists / "own.txt").write_text("2007_000003\n2007_000009\n")
    with pytest.raises(
        MissingFileError,
        match=r"own\.txt names 3 files that are not there: SegmentationClass/2007_000003\.png, JPEGImages/2007_000009",
    ):
        PascalVOC(voc, "own")
    (lists / "own.txt").write_text("2007_000001\n../..\n")
    with pytest.raises(DataError, match=r"own\.txt, line 2: expected the name of an image; got '\.\./\.\.'"):
        PascalVOC(voc, "own")
    (lists / "own.txt").write_text("2007_000001\n2007_000001\n")
    with pytest.raises(DataError, match="names 2007_000001 more than once"):
        PascalVOC(voc, "own")
    (lists / "own.txt").write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        PascalVOC(voc, "own")
    for split in ("../train", "", "a/b"):
        with pytest.raises(InputError, match="`split` must be a name in the root"):
            PascalVOC(voc, split)


def test_voc_at_the_wrong_root(voc):
    with pytest.raises(MissingFileError, match=rf"found there: VOCdevkit; did you mean the root {voc}\?"):
        PascalVOC(voc.parent.parent)


# Oxford-IIIT Pet


@pytest.fixture
def pets(tmp_path):
    for name in ("Abyssinian_1", "beagle_2", "beagle_3"):
        photo(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"annotations/trimaps/{name}.png", [1, 2, 3, 2])
    (tmp_path / "annotations/trimaps/._beagle_2.png").write_bytes(b"what a Mac adds")
    (tmp_path / "annotations/trainval.txt").write_text(
        "#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\nbeagle_2 5 2 3\n"
    )
    (tmp_path / "annotations/test.txt").write_text("beagle_3 5 2 3\n")
    return tmp_path


def test_pets(pets):
    data = OxfordPet(pets)
    check_item(data)
    assert list(data.ids) == ["Abyssinian_1", "beagle_2"]
    assert (data.num_classes, data.labels.task, data.labels.value_names) == (1, "binary", ("background", "pet"))
    assert first(data, 4) == [1, 0, 255, 0]
    three = OxfordPet(pets, "test", classes=3)
    assert three.labels.names == ("pet", "background", "border")
    assert first(three, 4) == [0, 1, 2, 1]


def test_pets_that_cannot_be(pets):
    with pytest.raises(InputError, match=r"`classes` must be 1 \(pet or not\) or 3"):
        OxfordPet(pets, classes=2)
    mask(pets / "annotations/trimaps/beagle_2.png", [4, 1])
    with pytest.raises(LabelError, match=r"4 \(1 pixel\) in .*beagle_2\.png"):
        OxfordPet(pets)[1]


# CamVid with 32 colours

# Lines of label_colors.txt, as they go around with the data.
LABEL_COLORS = """64 128 64 Animal\n192 0 128 Archway\n0 128 192 Bicyclist\n0 128 64 Bridge\n128 0 0 Building
64 0 128 Car\n64 0 192 CartLuggagePram\n192 128 64 Child\n192 192 128 Column_Pole\n64 64 128 Fence
128 0 192 LaneMkgsDriv
192 0 64 LaneMkgsNonDriv\n128 128 64 Misc_Text\n192 0 192 MotorcycleScooter\n128 64 64 OtherMoving
64 192 128 ParkingBlock\n64 64 0 Pedestrian\n128 64 128 Road\n128 128 192 RoadShoulder\n0 0 192 Sidewalk
192 128 128 SignSymbol\n128 128 128 Sky\n64 128 192 SUVPickupTruck\n0 0 64 TrafficCone\n0 64 64 TrafficLight
192 64 128 Train\n128 128 0 Tree\n192 128 192 Truck_Bus\n64 0 64 Tunnel\n192 192 0 VegetationMisc\n0 0 0 Void
64 192 0 Wall""".splitlines()


def colors_of_all():
    return np.array([[int(part) for part in line.split()[:3]] for line in LABEL_COLORS], np.uint8).reshape(4, 8, 3)


@pytest.fixture(params=["official", "by split"])
def colored(request, tmp_path):
    frames = {"train": "0001TP_006690", "val": "0016E5_07959", "test": "Seq05VD_f00000"}
    for split, name in frames.items():
        official = request.param == "official"
        photo(tmp_path / ("701_StillsRaw_full" if official else split) / f"{name}.png", (4, 8, 3))
        masks = tmp_path / ("LabeledApproved_full" if official else f"{split}_labels")
        masks.mkdir(exist_ok=True)
        Image.fromarray(colors_of_all()).save(masks / f"{name}_L.png")
    return tmp_path


def test_camvid_with_32_colours(colored):
    names = [line.split()[3] for line in LABEL_COLORS]
    classes = [name for name in names if name != "Void"]
    for split, stem in (("train", "0001TP_006690"), ("val", "0016E5_07959"), ("test", "Seq05VD_f00000")):
        data = CamVid(colored, split, classes=32)
        assert (list(data.ids), list(data.groups)) == ([stem], [stem.split("_")[0]])
        assert list(data.labels.names) == classes
        found = data[0][1].flatten().tolist()
        assert found == [255 if name == "Void" else classes.index(name) for name in names]


def test_colours_merge_into_the_eleven_classes(colored):
    data = CamVid(colored, "train")
    assert data.num_classes == 11
    found = dict(zip([line.split()[3] for line in LABEL_COLORS], data[0][1].flatten().tolist(), strict=True))
    names = {name: "void" if value == 255 else data.labels.names[value] for name, value in found.items()}
    assert [name for name, became in names.items() if became == "void"] == ["Void"]
    for name, became in {"Sky": "sky", "Wall": "building", "LaneMkgsDriv": "road", "Child": "pedestrian"}.items():
        assert names[name] == became
    for street in data.labels.names:
        assert street in names.values()


def test_the_splits_of_frames_are_segnets(camvid_root):
    for split in ("train", "val"):
        assert {split_of_frame(path.stem) for path in (camvid_root / split).iterdir()} == {split}
    assert split_of_frame("0001TP_008550") == "test"


def test_colours_that_are_not_there(camvid_root, colored):
    with pytest.raises(
        MissingFileError,
        match=r"no masks of 32 colours for the split 'train'.*found there: train, trainannot, val, valannot \(masks of "
        r"ids.*leave out `classes=32`\); 701_StillsRaw_full\.zip and .* are on http",
    ):
        CamVid(camvid_root, classes=32)
    with pytest.raises(DataError, match="only SegNet's copy of CamVid, with 11 classes, is downloaded"):
        CamVid(colored, classes=32, download=True)
    with pytest.raises(InputError, match="`classes` must be 11 or 32; got 12"):
        CamVid(colored, classes=12)


def test_a_colour_that_camvid_has_not(colored):
    path = next(colored.rglob("0001TP_006690_L.png"))
    pixels = colors_of_all()
    pixels[0, 0] = (1, 2, 3)
    Image.fromarray(pixels).save(path)
    with pytest.raises(LabelError, match=r"\(1, 2, 3\) \(1 pixel\) in .*0001TP_006690_L\.png"):
        CamVid(colored, classes=32)[0]
    Image.fromarray(pixels[:, :, 0]).save(path)
    with pytest.raises(DataError, match=r"0001TP_006690_L\.png has one channel; expected the colours of CamVid"):
        CamVid(colored, classes=32)[0]
