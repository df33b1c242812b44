"""Labels: what they accept, and the way from colours to ids and back, against a pixel-by-pixel oracle."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segkit.errors import ConfigError, DataError, InputError, LabelError, MissingFileError, ShapeError, UnknownNameError
from segkit.labels import IGNORE_INDEX, Labels, default_palette

ROAD, CAR, VOID = (128, 64, 128), (64, 0, 128), (0, 0, 0)


@pytest.fixture
def labels() -> Labels:
    return Labels(["road", "car"], palette=[ROAD, CAR])


def slow_encode(mask, palette, ignore_colors, ignore_index):
    """One pixel at a time, by equality."""
    ids = []
    for row in mask:
        ids.append([])
        for pixel in row:
            color = tuple(int(part) for part in pixel)
            ids[-1].append(ignore_index if color in ignore_colors else list(palette).index(color))
    return np.array(ids)


class TestConstruction:
    def test_defaults(self):
        labels = Labels(["road", "car", "sky"])
        assert labels.num_classes == 3
        assert labels.names == ("road", "car", "sky")
        assert labels.ignore_index == IGNORE_INDEX == 255
        assert labels.task == "multiclass"
        assert labels.palette == default_palette(3)
        assert labels.mask_dtype == np.uint8

    def test_any_iterable_of_names(self):
        assert Labels(name for name in ("a", "b")).names == ("a", "b")

    def test_binary_has_one_class_and_two_values(self):
        labels = Labels(["crack"], task="binary")
        assert labels.num_classes == 1
        assert labels.value_names == ("background", "crack")
        assert labels.value_palette == ((0, 0, 0), labels.palette[0])

    def test_multilabel_may_have_one_class(self):
        assert Labels(["crack"], task="multilabel").value_names == ("crack",)

    @pytest.mark.parametrize(
        ("count", "ignore", "dtype"), [(255, 255, np.uint8), (256, -1, np.int32), (300, -1, np.int32)]
    )
    def test_many_classes_take_int32_masks_and_ignore_minus_one(self, count, ignore, dtype):
        labels = Labels([f"c{number}" for number in range(count)])
        assert labels.ignore_index == ignore
        assert labels.mask_dtype == dtype

    @pytest.mark.parametrize("ignore_index", [-1, -100, 256])
    def test_an_ignore_index_outside_a_byte_takes_int32_masks(self, ignore_index):
        assert Labels(["a", "b"], ignore_index=ignore_index).mask_dtype == np.int32

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"names": "road"}, "single string 'road'"),
            ({"names": []}, "at least 2 classes; got 0"),
            ({"names": ["road"]}, 'use task="binary"'),
            ({"names": ["road", ""]}, "non-empty strings"),
            ({"names": ["road", " "]}, "non-empty strings"),
            ({"names": ["road", 1]}, "non-empty strings"),
            ({"names": ["road", "car", "road"]}, "repeated: road"),
            ({"names": ["a", "b"], "task": "binary"}, 'use task="multiclass"'),
            ({"names": [], "task": "multilabel"}, "at least 2 classes; got 0"),
            ({"names": ["a", "b"], "ignore_index": 1}, r"`ignore_index` \(=1\) lies inside 0\.\.1"),
            ({"names": ["a"], "task": "binary", "ignore_index": 1}, r"lies inside 0\.\.1"),
            ({"names": ["a", "b"], "ignore_index": 2.5}, "whole number; got 2.5"),
            ({"names": ["a", "b"], "ignore_index": True}, "whole number; got True"),
            ({"names": ["a", "b"], "palette": [ROAD]}, r"2 rows of \(red, green, blue\); got shape \(1, 3\)"),
            ({"names": ["a", "b"], "palette": [(0, 0), (1, 1)]}, r"got shape \(2, 2\)"),
            ({"names": ["a", "b"], "palette": [(0, 0, 0), (1, 1)]}, "rows of different lengths"),
            ({"names": ["a", "b"], "palette": [(0, 0, 0), (0, 0, 256)]}, "0..255; got int64 up to 256"),
            ({"names": ["a", "b"], "palette": [(0, 0, 0), (0, 0, -1)]}, r"0\.\.255"),
            ({"names": ["a", "b"], "palette": [(0.0, 0, 0), (0, 0, 1)]}, "whole numbers"),
            ({"names": ["a", "b"], "palette": [ROAD, ROAD]}, "same colour twice"),
        ],
    )
    def test_what_is_refused(self, arguments, message):
        with pytest.raises(InputError, match=message):
            Labels(**arguments)

    def test_an_unknown_task_is_answered_with_the_nearest(self):
        with pytest.raises(UnknownNameError, match="did you mean 'multiclass'"):
            Labels(["a", "b"], task="multi_class")

    def test_they_are_values(self, labels):
        same = Labels(["road", "car"], palette=np.array([ROAD, CAR], np.uint8))
        assert labels == same
        assert hash(labels) == hash(same)
        assert labels != Labels(["road", "car"])
        assert copy.deepcopy(labels) == labels
        assert pickle.loads(pickle.dumps(labels)) == labels  # as a loader's workers get them
        with pytest.raises(AttributeError):
            labels.names = ("other",)


class TestPalette:
    @given(st.integers(0, 700))
    def test_different_colours_and_never_black(self, count):
        colors = default_palette(count)
        assert len(set(colors)) == count == len(colors)
        assert (0, 0, 0) not in colors
        assert all(0 <= part <= 255 for color in colors for part in color)

    @given(st.integers(0, 60), st.integers(0, 60))
    def test_the_first_colours_do_not_depend_on_the_count(self, few, more):
        assert default_palette(few + more)[:few] == default_palette(few)


class TestEncode:
    def test_ids_of_colours(self, labels):
        encoded = labels.encode([[CAR, ROAD], [ROAD, VOID]], ignore_colors=[VOID])
        assert encoded.dtype == np.uint8
        assert encoded.tolist() == [[1, 0], [0, 255]]

    @given(st.data())
    def test_against_the_oracle_and_back(self, data):
        count = data.draw(st.integers(2, 9))
        colors = data.draw(
            st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=count + 1, max_size=count + 1, unique=True)
        )
        palette, void = colors[:-1], colors[-1]
        labels = Labels([f"c{number}" for number in range(count)], palette=palette)
        shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
        picks = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, count)))
        mask = np.array(colors, np.uint8)[picks]
        encoded = labels.encode(mask, ignore_colors=[void])
        np.testing.assert_array_equal(encoded, slow_encode(mask, palette, {void}, 255))
        np.testing.assert_array_equal(labels.decode(encoded, ignore_color=void), mask)

    @pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
    def test_empty(self, labels, shape):
        assert labels.encode(np.zeros(shape, np.uint8)).shape == shape[:2]

    def test_unknown_colours_are_named_with_their_counts_and_the_place(self, labels):
        mask = np.full((2, 3, 3), ROAD, np.uint8)
        mask[0, 0] = (1, 2, 3)
        mask[1, :2] = (9, 9, 9)
        with pytest.raises(LabelError, match=r"\(1, 2, 3\) \(1 pixel\), \(9, 9, 9\) \(2 pixels\) in 7.png"):
            labels.encode(mask, where="7.png")

    def test_many_unknown_colours_do_not_flood_the_message(self, labels):
        mask = np.stack(np.meshgrid(np.arange(30), np.arange(30), [7]), axis=-1)[:, :, 0].astype(np.uint8)
        with pytest.raises(LabelError, match="and 890 more") as caught:
            labels.encode(mask)
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize("shape", [(2, 2), (2, 2, 4), (2, 2, 1), (1, 2, 2, 3)])
    def test_other_shapes_are_refused(self, labels, shape):
        with pytest.raises(ShapeError, match=r"\(H, W, 3\)"):
            labels.encode(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("mask", [np.zeros((1, 1, 3)), np.full((1, 1, 3), 256), np.full((1, 1, 3), -1)])
    def test_what_is_no_byte_is_refused(self, labels, mask):
        with pytest.raises(LabelError, match=r"integers in 0\.\.255"):
            labels.encode(mask)

    def test_a_negative_ignore_index_fits_its_mask(self):
        labels = Labels(["a", "b"], palette=[ROAD, CAR], ignore_index=-100)
        encoded = labels.encode([[VOID]], ignore_colors=[VOID])
        assert encoded.dtype == np.int32
        assert encoded.tolist() == [[-100]]

    def test_a_binary_mask_has_a_black_background(self):
        labels = Labels(["crack"], palette=[CAR], task="binary")
        assert labels.encode([[VOID, CAR]]).tolist() == [[0, 1]]
        assert labels.decode([[0, 1]]).tolist() == [[list(VOID), list(CAR)]]


class TestCheckAndDecode:
    @given(
        hnp.arrays(
            hnp.integer_dtypes(), hnp.array_shapes(min_dims=2, max_dims=3, max_side=4), elements=st.integers(0, 4)
        ),
        st.integers(2, 6),
        st.sampled_from([-100, -1, 6, 255, 1000]),
    )
    def test_a_mask_passes_exactly_when_each_value_is_a_class_or_ignored(self, mask, num_classes, ignore_index):
        labels = Labels([f"c{number}" for number in range(num_classes)], ignore_index=ignore_index)
        allowed = {*range(num_classes), ignore_index}
        if set(mask.ravel().tolist()) <= allowed:
            np.testing.assert_array_equal(labels.check(mask), mask)
        else:
            with pytest.raises(LabelError):
                labels.check(mask)

    def test_the_ignored_value_passes_in_any_dtype(self):
        for ignore_index in (255, -1):
            labels = Labels(["a", "b"], ignore_index=ignore_index)
            assert labels.check(np.array([[0, ignore_index]], np.int16)).tolist() == [[0, ignore_index]]
            assert labels.decode(np.array([[0, ignore_index]], np.int64))[0, 1].tolist() == [0, 0, 0]

    def test_a_boolean_mask_is_zeros_and_ones(self):
        checked = Labels(["crack"], task="binary").check(np.array([[True, False]]))
        assert checked.dtype == np.uint8
        assert checked.tolist() == [[1, 0]]

    def test_a_multilabel_plane_holds_zeros_and_ones_whatever_the_count(self):
        labels = Labels(["a", "b", "c"], task="multilabel")
        assert labels.check(np.eye(3, dtype=np.uint8)).shape == (3, 3)
        with pytest.raises(LabelError, match="2 "):
            labels.check(np.full((3, 2, 2), 2))

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            ([[0, 1, 3, 3]], r"outside 0\.\.1 and ignore_index 11: 3 \(2 pixels\)"),
            ([[0, 255]], "a 0/255 mask: divide it by 255"),
            ([[1, 2]], "ids that start at 1: subtract 1"),
            (
                [[0, 128, 11]],
                r"an object at 128: map it with `values=\{128: 1\}`, or `values=\{128: 11\}` if it is void",
            ),
            ([[0, 1, 128]], r"labels that lack these ids: name them, or ignore them with `values=\{128: 11\}`"),
            ([[0, 1, 2]], "a void class that is not mapped: turn 2 into 11"),
            ([list(range(40))], "a picture instead of ids"),
            ([[0, -1]], r"-1 \(1 pixel\)"),
            ([[0.0, 1.0]], "must hold integers; got float64"),
        ],
    )
    def test_the_likely_cause_is_said(self, mask, message):
        with pytest.raises(LabelError, match=message):
            Labels(["a", "b"], ignore_index=11).check(np.array(mask))

    def test_the_place_is_said(self, labels):
        with pytest.raises(LabelError, match=r"in train/7\.png"):
            labels.check(np.array([[7]]), where="train/7.png")

    def test_decode_refuses_what_has_no_colour(self, labels):
        with pytest.raises(LabelError):
            labels.decode([[2]])

    def test_decode_of_256_classes_in_bytes(self):
        labels = Labels([f"c{number}" for number in range(256)])
        assert tuple(labels.decode(np.array([[255]], np.uint8))[0, 0].tolist()) == labels.palette[255]


def slow_map(raw, values):
    """One pixel at a time, by the mapping."""
    return [[values.get(value, value) for value in row] for row in raw]


class TestValues:
    LABELS = Labels(["road", "car"], values={7: 0, 8: 1, 26: 1, 0: 255})

    def test_merged_dropped_and_ignored(self):
        ids = self.LABELS.map_values(np.array([[7, 8], [26, 0]], np.uint8))
        assert ids.dtype == np.uint8
        assert ids.tolist() == [[0, 1], [1, 255]]

    def test_values_that_are_not_named_stay(self):
        assert self.LABELS.map_values([[1, 255]]).tolist() == [[1, 255]]
        assert Labels(["a", "b"]).map_values([[1, 255]]).dtype == np.uint8

    def test_what_it_does_not_know_is_named_with_its_file(self):
        raw = np.array([[7, 26, 9, 9, 300]], np.uint16)
        with pytest.raises(LabelError, match=r"9 \(2 pixels\), 300 \(1 pixel\) in train/7\.png; .*`values={9: 255}`"):
            self.LABELS.map_values(raw, where="train/7.png")

    @given(st.data())
    def test_against_the_oracle_in_any_type(self, data):
        dtype = data.draw(hnp.integer_dtypes(endianness="=") | hnp.unsigned_integer_dtypes(endianness="="))
        bounds = np.iinfo(dtype)
        low, high = max(bounds.min, -(2**31)), min(bounds.max, 2**31 - 1)
        values = data.draw(st.dictionaries(st.integers(low, high), st.sampled_from([0, 1, 2, -1]), min_size=1))
        raw = data.draw(
            hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.sampled_from([*values]))
        )
        ids = Labels(["a", "b", "c"], ignore_index=-1, values=values).map_values(raw)
        assert ids.dtype == np.int32
        assert ids.tolist() == slow_map(raw.tolist(), values)

    @pytest.mark.parametrize("raw", [26001, 65535, 2**31 - 1, -(2**31)])
    def test_wide_values(self, raw):
        mask = np.array([[raw, 0]], np.int64)
        assert Labels(["a", "b"], values={raw: 1}).map_values(mask).tolist() == [[1, 0]]
        assert Labels(["a", "b"], values={raw: 1}).map_values(np.zeros((1, 2), np.uint8)).tolist() == [[0, 0]]

    def test_planes_of_a_multilabel_task(self):
        labels = Labels(["a", "b"], task="multilabel", values={255: 1})
        assert labels.map_values(np.full((2, 1, 1), 255, np.uint8)).tolist() == [[[1]], [[1]]]

    def test_the_mask_is_left_as_it_was(self):
        raw = np.array([[7]], np.uint8)
        self.LABELS.map_values(raw)
        assert raw.tolist() == [[7]]

    def test_they_are_kept(self, tmp_path):
        assert hash(self.LABELS) == hash(Labels(["road", "car"]))
        assert Labels(["road", "car"]) != self.LABELS
        assert pickle.loads(pickle.dumps(self.LABELS)) == copy.deepcopy(self.LABELS) == self.LABELS
        for labels in (self.LABELS, Labels(["a", "b"], values={}), Labels(["a", "b"])):
            labels.save(tmp_path / "labels.json")
            assert Labels.load(tmp_path / "labels.json") == labels
        assert self.LABELS.to_dict()["values"] == {"0": 255, "7": 0, "8": 1, "26": 1}
        assert "values" not in Labels(["a", "b"]).to_dict()

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({1.5: 0}, "`values` must be a whole number; got 1.5"),
            ({1: 0.5}, "`values` must be a whole number; got 0.5"),
            ({2**31: 0}, "must be between"),
            ([(1, 0)], r"must map .*such as {7: 0}; got \[\(1, 0\)\]"),
            ({1: 2}, r"outside 0\.\.1 and ignore_index 255: 2 \(1 pixel\) in the ids that `values` leads to"),
        ],
    )
    def test_what_is_refused(self, values, message):
        with pytest.raises(InputError, match=message):
            Labels(["a", "b"], values=values)


class TestJson:
    @given(
        names=st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=5, unique=True),
        ignore_index=st.sampled_from([None, -1, 255, 1000]),
        task=st.sampled_from(["multiclass", "multilabel"]),
    )
    def test_round_trip(self, names, ignore_index, task):
        labels = Labels(names, ignore_index=ignore_index, task=task)
        assert Labels.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels

    def test_round_trip_through_a_file(self, labels, tmp_path):
        labels.save(tmp_path / "labels.json")
        assert Labels.load(str(tmp_path / "labels.json")) == labels

    def test_a_missing_folder_is_made_and_one_that_cannot_be_is_said(self, labels, tmp_path: Path):
        labels.save(tmp_path / "neu" / "labels.json")
        assert Labels.load(tmp_path / "neu" / "labels.json") == labels
        with pytest.raises(DataError, match=r"cannot write to the output folder .*labels\.json: .*; choose"):
            labels.save(tmp_path / "neu" / "labels.json" / "labels.json")

    def test_a_missing_file(self, tmp_path: Path):
        with pytest.raises(MissingFileError, match="absent"):
            Labels.load(tmp_path / "absent.json")

    @pytest.mark.parametrize(
        "values",
        [
            {},
            [],
            None,
            "road",
            {"names": 5},
            {"names": ["a"]},
            {"names": ["a", "b"], "palette": "red"},
            {"names": ["a", "b"], "palette": [[0, 0, "x"], [0, 0, 1]]},
            {"names": ["a", "b"], "colours": []},
            {"names": ["a", "b"], "ignore_index": "255"},
            {"names": ["a", "b"], "task": ["multiclass"]},
            {"names": ["a", "b"], "values": [1]},
            {"names": ["a", "b"], "values": {"x": 1}},
            {"names": ["a", "b"], "values": {"1": 5}},
        ],
    )
    def test_what_cannot_be_used_is_a_config_error(self, values):
        with pytest.raises(ConfigError):
            Labels.from_dict(values)
