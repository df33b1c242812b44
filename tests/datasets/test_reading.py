"""`read_mask`: every encoding of a mask comes out as the same ids, or says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import FolderDataset, read_mask
from segkit.errors import DataError, InputError, LabelError, MissingFileError, ShapeError
from segkit.labels import Labels

IDS = np.array([[0, 1, 2, 0], [2, 2, 1, 255]], np.uint8)
PALETTE = [(0, 0, 200), (200, 10, 10), (10, 200, 10)]
LABELS = Labels(["ground", "cat", "dog"], palette=PALETTE)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


class TestFilesOfIds:
    def test_each_encoding_gives_the_same_ids(self, tmp_path):
        colors = np.vstack([np.array(PALETTE, np.uint8), np.zeros((253, 3), np.uint8)])[IDS]
        indexed = Image.fromarray(IDS)
        indexed.putpalette(np.vstack([PALETTE, np.full((253, 3), 7)]).ravel().tolist())
        indexed.save(tmp_path / "p.png")
        np.save(tmp_path / "a.npy", IDS.astype(np.int64))
        np.savez(tmp_path / "a.npz", label=IDS)
        paths = [
            save(tmp_path / "g.png", IDS),
            save(tmp_path / "g16.png", IDS.astype(np.uint16)),
            save(tmp_path / "g16.tif", IDS.astype(np.uint16)),
            save(tmp_path / "i.tif", IDS.astype(np.int32)),
            save(tmp_path / "c.png", colors),
            *(tmp_path / name for name in ("p.png", "a.npy", "a.npz")),
        ]
        for path in paths:
            mask = read_mask(path, LABELS, ignore_colors=[(0, 0, 0)])
            assert mask.dtype == torch.uint8
            assert mask.tolist() == IDS.tolist(), path.name

    def test_values_of_the_labels(self, tmp_path):
        labels = Labels(["road", "car"], values={7: 0, 26001: 1, 0: 255})
        path = save(tmp_path / "m.png", np.array([[7, 26001, 0]], np.uint16))
        assert read_mask(str(path), labels).tolist() == [[0, 1, 255]]
        with pytest.raises(LabelError, match=r"300 \(1 pixel\) in .*n\.png; likely labels that lack these ids"):
            read_mask(save(tmp_path / "n.png", np.array([[7, 300]], np.uint16)), labels)

    def test_0_and_255(self, tmp_path):
        path = save(tmp_path / "m.png", np.array([[0, 255]], np.uint8))
        assert read_mask(path, Labels(["cell"], task="binary", values={255: 1})).tolist() == [[0, 1]]
        # Of itself 255 may be "not labelled", which no reader can tell.
        assert read_mask(path, Labels(["cell"], task="binary")).tolist() == [[0, 255]]

    def test_one_bit(self, tmp_path):
        path = save(tmp_path / "m.png", np.array([[False, True]]))
        assert read_mask(path, Labels(["cell"], task="binary")).tolist() == [[0, 1]]

    def test_ids_in_three_channels_are_said(self, tmp_path):
        path = save(tmp_path / "m.png", np.dstack([IDS] * 3))
        with pytest.raises(LabelError, match=r"m\.png.*channels are equal: if these are ids, save it as 8-bit grey"):
            read_mask(path, LABELS)

    def test_a_jpeg_is_said(self, tmp_path):
        noisy = np.random.default_rng(0).integers(0, 3, (16, 16)).astype(np.uint8) * 100
        with pytest.raises(LabelError, match=r"m\.jpg; likely .* It is a JPEG, which changes values at every border"):
            read_mask(save(tmp_path / "m.jpg", noisy), LABELS)

    def test_no_file(self, tmp_path):
        for name in ("m.png", "m.txt", "m.json"):
            with pytest.raises(MissingFileError, match=f"no file .*{name}"):
                read_mask(tmp_path / name, LABELS, size=(2, 2))


class TestOneFileAClass:
    AREAS = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], np.uint8)

    def paths(self, folder, areas, names="ab"):
        return {name: save(folder / f"{name}.png", area * 255) for name, area in zip(names, areas, strict=True)}

    def test_multilabel(self, tmp_path):
        labels = Labels(["a", "b"], task="multilabel")
        paths = self.paths(tmp_path, self.AREAS)
        assert read_mask(list(paths.values()), labels).tolist() == self.AREAS.tolist()
        assert read_mask({"b": paths["b"]}, labels).tolist() == [[[0, 0, 0, 0]], self.AREAS[1].tolist()]

    def test_multiclass(self, tmp_path):
        apart = self.AREAS * (np.array([[[1, 1, 0, 0]], [[0, 0, 1, 0]]], np.uint8))
        paths = self.paths(tmp_path, apart)
        assert read_mask(paths, Labels(["rest", "a", "b"])).tolist() == [[1, 1, 2, 0]]
        assert read_mask(paths, Labels(["a", "b"])).tolist() == [[0, 0, 1, 255]]
        assert read_mask(list(paths.values()), Labels(["a", "b"])).tolist() == [[0, 0, 1, 255]]
        assert read_mask(paths, Labels(["a", "b", "c", "background"])).tolist() == [[0, 0, 1, 3]]
        assert read_mask({"a": paths["a"]}, Labels(["a"], task="binary")).tolist() == [[1, 1, 0, 0]]

    def test_what_is_wrong_is_said(self, tmp_path):
        paths = self.paths(tmp_path, self.AREAS)
        with pytest.raises(LabelError, match=r"b\.png: 1 pixel belong.* to another class.*multilabel"):
            read_mask(paths, Labels(["a", "b"]))
        with pytest.raises(InputError, match="no class is called 'cats'; did you mean 'cat'"):
            read_mask({"cats": paths["a"]}, LABELS)
        with pytest.raises(InputError, match=r"one file a class: 3 \(ground, cat, dog\); got 2"):
            read_mask(list(paths.values()), LABELS)
        with pytest.raises(InputError, match="got no file"):
            read_mask([], LABELS)
        grey = save(tmp_path / "grey.png", np.arange(5, dtype=np.uint8)[None])
        with pytest.raises(LabelError, match=r"grey\.png holds 5 values \(0, 1, 2, 3, 4\); expected 0 and one other"):
            read_mask({"a": grey}, Labels(["a", "b"]))
        wide = save(tmp_path / "wide.png", np.zeros((1, 5), np.uint8))
        with pytest.raises(ShapeError, match=r"one size; got 1x4 in .*a\.png and 1x5 in .*wide\.png"):
            read_mask([paths["a"], wide], Labels(["a", "b"]))

    def test_channels_of_one_file(self, tmp_path):
        planes = np.moveaxis(self.AREAS, 0, 2)
        np.save(tmp_path / "m.npy", planes)
        assert read_mask(tmp_path / "m.npy", Labels(["a", "b"], task="multilabel")).tolist() == self.AREAS.tolist()
        np.save(tmp_path / "m.npy", planes * 255.0)
        labels = Labels(["a", "b"], task="multilabel", values={255: 1})
        assert read_mask(tmp_path / "m.npy", labels).tolist() == self.AREAS.tolist()
        with pytest.raises(ShapeError, match=r"m\.npy has 2 channels; expected one a class, 3 \(a, b, c\)"):
            read_mask(tmp_path / "m.npy", Labels(["a", "b", "c"], task="multilabel"))
        np.save(tmp_path / "m.npy", planes / 2)
        with pytest.raises(DataError, match="fractions"):
            read_mask(tmp_path / "m.npy", labels)


def street(folder, objects, size=(6, 8)):
    path = folder / "a_polygons.json"
    path.write_text(json.dumps({"imgHeight": size[0], "imgWidth": size[1], "objects": objects}))
    return path


ROAD = {"label": "road", "polygon": [[0, 3], [7, 3], [7, 5], [0, 5]]}
CARS = {"label": "cargroup", "polygon": [[2, 2], [4, 2], [4, 4], [2, 4]]}


class TestCityscapes:
    def test_corners_are_pixels_and_later_ones_lie_on_top(self, tmp_path):
        mask = read_mask(street(tmp_path, [ROAD, CARS]), Labels(["road", "car"]))
        v = 255
        assert mask.tolist() == [
            [v, v, v, v, v, v, v, v],
            [v, v, v, v, v, v, v, v],
            [v, v, 1, 1, 1, v, v, v],
            [0, 0, 1, 1, 1, 0, 0, 0],
            [0, 0, 1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]

    def test_the_same_as_their_masks_of_ids(self, tmp_path):
        # With the ids of their own files, 7 and 26, and 0 for what is not labelled.
        labels = Labels(["flat", "vehicle", "void"], values={7: 0, 26: 1, 0: 2})
        mask = read_mask(street(tmp_path, [ROAD, CARS]), labels)
        assert mask[0, 0] == 2
        assert mask[3].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]

    def test_known_names_that_are_no_class_are_ignored(self, tmp_path):
        sky = {"label": "sky", "polygon": [[0, 0], [7, 0], [7, 5], [0, 5]]}
        gone = {**CARS, "deleted": 1}
        assert read_mask(street(tmp_path, [ROAD, sky, gone]), Labels(["road", "car"])).unique().tolist() == [255]

    @pytest.mark.parametrize(
        ("objects", "error", "message"),
        [
            (
                [{"label": "cow", "polygon": [[0, 0], [1, 1]]}],
                LabelError,
                "object 0: 'cow' is neither a class .road, car",
            ),
            ([{"label": "road"}], DataError, r"object 0 .'road'.: a polygon must have 2 points"),
            ([{"label": "road", "polygon": [[0, "x"]]}], DataError, "numbers x, y"),
            ([{"polygon": []}], DataError, "expected `label` and `polygon`"),
            ([5], DataError, "expected `label` and `polygon`; got 5"),
            ({}, DataError, "is no JSON of polygons; expected `imgHeight`"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path, objects, error, message):
        with pytest.raises(error, match=rf"a_polygons\.json.*{message}"):
            read_mask(street(tmp_path, objects), Labels(["road", "car"]))

    @pytest.mark.parametrize("size", [(0, 4), (4, 2.5), (None, 4), (2**31, 2**31)])
    def test_sizes(self, tmp_path, size):
        with pytest.raises(DataError, match=r"a_polygons\.json (gives no size|is too large)"):
            read_mask(street(tmp_path, [], size), Labels(["road", "car"]))


def yolo(folder, text):
    (folder / "m.txt").write_text(text)
    return folder / "m.txt"


class TestYolo:
    BOX = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"  # of 4x8: rows 1 and 2, columns 2 to 5

    def test_shares_of_the_size(self, tmp_path):
        mask = read_mask(yolo(tmp_path, f"1 {self.BOX}\n\n"), Labels(["cat", "dog"]), size=(4, 8))
        assert (mask[1:3, 2:6] == 1).all()
        assert (mask == 1).sum() == 8
        assert (mask == 255).sum() == 24

    def test_the_rest_is_background_where_there_is_one(self, tmp_path):
        path = yolo(tmp_path, f"0 {self.BOX}")
        assert read_mask(path, Labels(["cat"], task="binary"), size=(4, 8)).unique(return_counts=True)[1].tolist() == [
            24,
            8,
        ]
        labels = Labels(["background", "cat"], values={0: 1})
        assert read_mask(path, labels, size=(4, 8)).sum() == 8
        assert read_mask(path, Labels(["cat", "dog"], task="multilabel"), size=(4, 8)).sum((1, 2)).tolist() == [8, 0]

    def test_an_object_does_not_become_background_in_silence(self, tmp_path):
        """YOLO's first class has the number 0, which is the background's where the labels begin with one."""
        path = yolo(tmp_path, f"0 {self.BOX}")
        with pytest.raises(LabelError, match=r"line 1: class 0 would be 'background'.*values=\{0: 1, 1: 2"):
            read_mask(path, Labels(["background", "cat"]), size=(4, 8))
        assert read_mask(path, Labels(["background", "cat"], values={0: 0}), size=(4, 8)).sum() == 0

    @pytest.mark.parametrize("swap", [False, True])
    def test_the_smaller_lies_on_top_in_any_order(self, tmp_path, swap):
        lines = [f"0 {self.BOX}", "1 0.5 0.25 0.75 0.25 0.75 0.5 0.5 0.5"]
        mask = read_mask(yolo(tmp_path, "\n".join(lines[::-1] if swap else lines)), Labels(["cat", "dog"]), size=(4, 8))
        assert mask[1].tolist() == [255, 255, 0, 0, 1, 1, 255, 255]

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("0 0.5 0.5 0.2 0.2", DataError, "line 1: a box, not an outline"),
            ("\n0 0.5 0.5 x 0.2 0.2 0.1", DataError, "line 2: expected `class x y x y"),
            ("0.5 0.5 0.5 0.2 0.2 0.2 0.1", DataError, "line 1: expected `class"),
            ("0 1 2 3", DataError, "line 1"),
            ("0 100 100 200 100 200 200", DataError, "shares of width and height, 0 to 1; got 200"),
            ("0 nan 0 1 1 0 1", DataError, "shares of width and height"),
            ("7 0 0 1 1 0 1", LabelError, r"line 1: class 7 is none of the classes .*cat, dog.*values={7: 255}"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path, text, error, message):
        with pytest.raises(error, match=rf"(?s)m\.txt, .*{message}"):
            read_mask(yolo(tmp_path, text), Labels(["cat", "dog"]), size=(4, 8))

    def test_the_size_is_asked_for(self, tmp_path):
        with pytest.raises(InputError, match=r"m\.txt gives its outlines as shares.*`size=\(height, width\)`"):
            read_mask(yolo(tmp_path, f"0 {self.BOX}"), Labels(["cat", "dog"]))

    def test_binary_bytes(self, tmp_path):
        (tmp_path / "m.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match=r"cannot read .*m\.txt as text"):
            read_mask(tmp_path / "m.txt", LABELS, size=(4, 8))


def test_a_mask_of_the_stored_picture_is_told_from_a_wrong_one(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "images" / "a.jpg", exif=exif)
    Image.new("L", (8, 4)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(ShapeError, match=r"8x4 in .*a\.jpg and 4x8 in .*a\.jpg has EXIF orientation 6.*as stored"):
        FolderDataset(tmp_path / "images", tmp_path / "masks", ["x", "y"])[0]
    Image.new("L", (8, 4)).save(tmp_path / "masks" / "a.png", exif=exif)
    image, mask = FolderDataset(tmp_path / "images", tmp_path / "masks", ["x", "y"])[0]
    assert image.shape[1:] == mask.shape == (8, 4)


def test_a_folder_of_outlines(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "images" / "m.jpg")
    yolo(tmp_path / "labels", f"0 {TestYolo.BOX}\n")
    data = FolderDataset(tmp_path / "images", tmp_path / "labels", Labels(["cat"], task="binary"))
    assert data[0][1].sum() == 8
    (tmp_path / "labels" / "m.txt").rename(tmp_path / "m.txt")
    street(tmp_path / "labels", [ROAD], (4, 8)).rename(tmp_path / "labels" / "m.json")
    data = FolderDataset(tmp_path / "images", tmp_path / "labels", ["road", "car"])
    assert data[0][1].unique().tolist() == [0, 255]
    street(tmp_path / "labels", [ROAD], (5, 8)).rename(tmp_path / "labels" / "m.json")
    with pytest.raises(ShapeError, match=r"4x8 in .*m\.jpg and 5x8 in .*m\.json"):
        data[0]
