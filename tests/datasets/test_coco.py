"""COCO files as a data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import CocoDataset, create_dataset
from segkit.errors import DataError, InputError, LabelError, MissingFileError, ShapeError
from segkit.labels import Labels

V = 255
FRAME = {"id": 1, "file_name": "a.png", "height": 4, "width": 6}
CAT = {"id": 10, "image_id": 1, "category_id": 18, "segmentation": [[1, 0, 4, 0, 4, 3, 1, 3]]}
EAR = {"id": 11, "image_id": 1, "category_id": 17, "segmentation": {"size": [4, 6], "counts": [4, 1, 19]}}
CROWD = {
    "id": 12,
    "image_id": 1,
    "category_id": 17,
    "iscrowd": 1,
    "segmentation": {"size": [4, 6], "counts": [16, 8]},
}


def make(folder, annotations=(CAT, EAR), **changes):
    """Images a.png and sub/b.png of 4x6, and a file about them."""
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("a.png", "sub/b.png"):
        Image.new("RGB", (6, 4)).save(folder / name)
    file = {
        "info": {},
        "images": [
            {"id": 7, "file_name": "sub/b.png", "height": 4, "width": 6},
            {"id": 1, "file_name": "a.png", "height": 4, "width": 6},
        ],
        "annotations": annotations if isinstance(annotations, dict) else list(annotations),
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 17, "name": "cat"}],
        **changes,
    }
    (folder / "instances.json").write_text(json.dumps(file))
    return folder, folder / "instances.json"


def test_every_category_behind_a_background(tmp_path):
    data = CocoDataset(*make(tmp_path))
    assert data.labels.names == ("background", "cat", "dog")
    assert data.labels.values == {17: 1, 18: 2}
    assert list(data.ids) == ["sub/b", "a"]
    assert [path.name for path in data.files(1)] == ["a.png", "instances.json"]
    image, mask = data[1]
    assert image.shape == (3, 4, 6)
    assert mask.dtype == torch.uint8
    assert mask.tolist() == [[0, 1, 2, 2, 0, 0], [0, 2, 2, 2, 0, 0], [0, 2, 2, 2, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert not data[0][1].any()


def test_labels_of_ones_own(tmp_path):
    make(tmp_path)
    mask = create_dataset("coco", images=tmp_path, annotations=tmp_path / "instances.json", labels=["dog", "cat"])[1][1]
    assert mask[0].tolist() == [V, 1, 0, 0, V, V]
    merged = Labels(["animal"], task="binary", values={17: 1, 18: 1})
    assert CocoDataset(*make(tmp_path), merged)[1][1][0].tolist() == [0, 1, 1, 1, 0, 0]
    ignored = Labels(["background", "cat"], values={17: 1, 18: 255})
    assert CocoDataset(*make(tmp_path), ignored)[1][1][0].tolist() == [0, 1, V, V, 0, 0]
    planes = CocoDataset(*make(tmp_path), Labels(["cat", "dog"], task="multilabel"))[1][1]
    assert planes.shape == (2, 4, 6)
    assert planes[0].sum() == 1
    assert planes[1].sum() == 9, "under the cat there is a dog still"


@pytest.mark.parametrize(("crowd", "expected"), [("class", [1, 1]), ("ignore", [V, V]), ("skip", [0, 0])])
def test_crowds(tmp_path, crowd, expected):
    mask = CocoDataset(*make(tmp_path, (CAT, CROWD)), crowd=crowd)[1][1]
    assert mask[3, 4:].tolist() == expected
    assert mask[0].tolist()[1:4] == [2, 2, 2], "single things lie on ignored ones"


def test_crowds_of_a_multilabel_task_are_ignored_where_no_class_is_known(tmp_path):
    labels = Labels(["cat", "dog"], task="multilabel")
    planes = CocoDataset(
        *make(tmp_path, (CAT, {**CROWD, "segmentation": {"size": [4, 6], "counts": [8, 16]}})), labels, crowd="ignore"
    )[1][1]
    assert planes[:, 0, 3].tolist() == [V, 1]
    assert planes[:, 0, 5].tolist() == [V, V]


def test_resize_and_groups(tmp_path):
    data = CocoDataset(*make(tmp_path), resize=(8, 12), groups=lambda name: name[:1])
    assert data[1][0].shape[1:] == data[1][1].shape == (8, 12)
    assert data.groups == ["s", "a"]


def without(one, key):
    return {name: value for name, value in one.items() if name != key}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"annotations": {}}, DataError, "has no list `annotations`"),
        ({"images": [5]}, DataError, "has no list `images`"),
        ({"images": []}, DataError, "lists no images"),
        ({"images": [{"id": 1, "file_name": "a.png"}]}, DataError, "`height` and `width`; got {'id': 1"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 0, "width": 6}]}, DataError, "`height` and `width`"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 2**40, "width": 2**40}]}, DataError, "too large"),
        ({"images": [{**FRAME, "file_name": "c.png"}]}, MissingFileError, "1 image not found .*: c.png"),
        ({"images": [{**FRAME, "file_name": "../a.png"}]}, DataError, "leaves its root"),
        ({"annotations": [without(CAT, "image_id")]}, DataError, "must have `image_id` and `category_id`"),
        ({"annotations": [{**CAT, "image_id": 5}]}, DataError, "annotation 10 is of image 5, which is not listed"),
        ({"annotations": [{**CAT, "category_id": 5}]}, LabelError, r"do not know: no name \(5\)"),
        ({"categories": [{"id": 18}]}, DataError, "a category must have"),
        ({"categories": [{"id": 18, "name": "a"}, {"id": 18, "name": "b"}]}, DataError, "an `id` of its own"),
        ({"categories": [{"id": 18, "name": "a"}, {"id": 17, "name": "a"}]}, InputError, "repeated: a"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, changes, error, message):
    with pytest.raises(error, match=rf"(?s)(instances\.json|`names`).*{message}|{message}"):
        CocoDataset(*make(tmp_path, **changes))


def test_a_category_that_the_labels_lack_is_named(tmp_path):
    with pytest.raises(LabelError, match=r"do not know: dog \(18\); name them as classes, or map each id .*255"):
        CocoDataset(*make(tmp_path), ["cat", "cow"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "must be polygons or run lengths; got None"),
        ([[1, 2]], "3 points"),
        ([5], "3 points"),
        ({"size": [6, 4], "counts": [24]}, r"run lengths of \[6, 4\] in an image of \[4, 6\] \(height, width\)"),
        ({"size": [4, 6], "counts": [25]}, "must add up to 24"),
        ({"size": [4, 6]}, "must add up to 24"),
    ],
)
def test_areas_that_are_none(tmp_path, shape, message):
    data = CocoDataset(*make(tmp_path, [{**CAT, "segmentation": shape}]))
    with pytest.raises(DataError, match=rf"instances\.json, annotation 10: .*{message}"):
        data[1]


def test_an_image_of_another_size_is_named(tmp_path):
    data = CocoDataset(*make(tmp_path))
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ShapeError, match=r"5x6 in .*a\.png and 4x6 in .*instances\.json"):
        data[1]


def test_no_such_things(tmp_path):
    folder, file = make(tmp_path)
    with pytest.raises(MissingFileError, match=r"no file .*none\.json"):
        CocoDataset(folder, folder / "none.json")
    with pytest.raises(MissingFileError, match="`images`: no folder"):
        CocoDataset(folder / "none", file)
    file.write_text("[]")
    with pytest.raises(DataError, match="is no COCO file"):
        CocoDataset(folder, file)
