"""Every way of counting gives the oracle's integers: runs, bytes, nibbles, wide ids, threads, strange layouts."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references.metrics import numpy_confusion_matrix, slow_confusion_matrix
from segkit.errors import LabelError
from segkit.metrics import _threads, confusion_matrix
from segkit.metrics._blocks import SMALL
from segkit.metrics._runs import BLOCK, find_ends

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.uint64]


def maps(kind: str, num_classes: int, shape=(300, 1801), seed=0):
    """Prediction and target, larger than a block and of odd size."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    noise = rng.integers(0, num_classes, (2, *shape))
    blobs = rng.integers(0, num_classes, (2, shape[0] // 20 + 1, shape[1] // 20 + 1))
    blobs = blobs.repeat(20, axis=1).repeat(20, axis=2)[:, : shape[0], : shape[1]]
    pred, target = {
        "constant": (np.zeros(shape, int), np.full(shape, num_classes - 1)),
        "checkerboard": ((rows + columns) % 2, (rows + columns + 1) % 2),
        "noise": noise,
        "blobs": blobs,
        "blobs and noise": (np.where(columns < 900, blobs[0], noise[0]), np.where(rows < 170, blobs[1], noise[1])),
        "stripes": (columns // 6 % num_classes, columns // 7 % num_classes),
    }[kind]
    return pred, target.copy()


KINDS = ["constant", "checkerboard", "noise", "blobs", "blobs and noise", "stripes"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_classes", [2, 15, 16, 255])
@pytest.mark.parametrize("ignored", [0.1, 0.9])
def test_every_kind_of_map(kind, num_classes, ignored):
    pred, target = maps(kind, num_classes)
    target[np.random.default_rng(1).random(target.shape) < ignored] = 255
    pred, target = pred.astype(np.uint8), target.astype(np.uint8)
    expected = numpy_confusion_matrix(pred, target, num_classes)
    for threads in (1, 2):
        np.testing.assert_array_equal(
            confusion_matrix(pred, target, num_classes=num_classes, threads=threads), expected
        )


@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize("pred_dtype", INTEGERS)
@pytest.mark.parametrize("target_dtype", INTEGERS)
def test_every_dtype(kind, pred_dtype, target_dtype):
    pred, target = maps(kind, 20, shape=(100, 203))
    target[:, 50:60] = 99
    expected = numpy_confusion_matrix(pred, target, 20, 99)
    counted = confusion_matrix(pred.astype(pred_dtype), target.astype(target_dtype), num_classes=20, ignore_index=99)
    np.testing.assert_array_equal(counted, expected)


@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize("num_classes", [256, 300, 2000])
def test_many_classes(kind, num_classes):
    pred, target = maps(kind, num_classes)
    target[3:9] = -1
    expected = numpy_confusion_matrix(pred, target, num_classes, -1)
    np.testing.assert_array_equal(confusion_matrix(pred, target, num_classes=num_classes, ignore_index=-1), expected)
    small = pred[:9, :9].astype(np.int16), target[:9, :9].astype(np.int16)
    np.testing.assert_array_equal(
        confusion_matrix(*small, num_classes=num_classes, ignore_index=-1),
        numpy_confusion_matrix(*small, num_classes, -1),
    )


@pytest.mark.parametrize("ignore_index", [11, 12, 15, 16, 100, 254, 255, 256, 1000, -1, -100])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_any_ignore_index(kind, ignore_index):
    pred, target = maps(kind, 11, shape=(120, 131))
    target[10:30] = ignore_index
    expected = numpy_confusion_matrix(pred, target, 11, ignore_index)
    np.testing.assert_array_equal(confusion_matrix(pred, target, num_classes=11, ignore_index=ignore_index), expected)
    if 0 <= ignore_index <= 255:
        bytes_ = pred.astype(np.uint8), target.astype(np.uint8)
        np.testing.assert_array_equal(confusion_matrix(*bytes_, num_classes=11, ignore_index=ignore_index), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("size", [(7, 9), (120, 131), (300, 1801)])
@pytest.mark.parametrize("side", ["pred", "target"])
def test_one_wrong_value_is_always_found(kind, dtype, size, side):
    for num_classes, wrong in [(11, 11), (11, 15), (11, 100), (19, 19), (19, 254)] + [(11, -1)] * (dtype != np.uint8):
        pred, target = (values.astype(dtype) for values in maps(kind, num_classes, shape=size))
        target[0, :5] = 255
        bad = {"pred": pred, "target": target}[side]
        bad[-1, 4] = wrong
        with pytest.raises(LabelError, match=rf"`{side}` .* got {wrong} \(1 pixels\), first at \({size[0] - 1}, 4\)"):
            confusion_matrix(pred, target, num_classes=num_classes)
        target[-1, 4] = 255  # and is nothing under an ignored pixel
        expected = numpy_confusion_matrix(pred, target, num_classes)
        np.testing.assert_array_equal(confusion_matrix(pred, target, num_classes=num_classes), expected)


@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_any_layout(kind):
    pred, target = (values.astype(np.uint8) for values in maps(kind, 7, shape=(600, 1400)))
    views = {
        "every other column": lambda a: a[:, ::2],
        "flipped": lambda a: a[::-1, ::-1],
        "transposed": lambda a: a.T,
        "Fortran order": np.asfortranarray,
        "last axis first": lambda a: np.moveaxis(a.reshape(600, 350, 4), 2, 0),
        "one long column": lambda a: a.reshape(-1, 2)[:, :1],
        "one long row": lambda a: a.reshape(-1, 2).T[:1],
        "broadcast": lambda a: np.broadcast_to(a[:, :1], (600, 1400)),
    }
    for name, view in views.items():
        for threads in (1, 2):
            counted = confusion_matrix(view(pred), view(target), num_classes=7, threads=threads)
            expected = numpy_confusion_matrix(view(pred), view(target), 7)
            np.testing.assert_array_equal(counted, expected, err_msg=name)
        mixed = confusion_matrix(view(pred).copy(order="C"), view(target), num_classes=7)
        np.testing.assert_array_equal(mixed, numpy_confusion_matrix(view(pred), view(target), 7), err_msg=name)


def test_broadcast_maps_are_counted_in_blocks_beyond_int32():
    one_row = np.zeros((1, 1 << 18), np.uint8)
    huge = np.broadcast_to(one_row, (1 << 13, 1 << 18))
    assert huge.size == 1 << 31
    assert confusion_matrix(huge, huge, num_classes=2, threads=2)[0, 0] == 1 << 31


def cases(largest: int):
    """Maps of runs, of any sizes around the limits where the way of counting changes."""
    return st.fixed_dictionaries(
        {
            "num_classes": st.integers(1, 20) | st.sampled_from([150, 254, 255]),
            "size": st.integers(0, 40) | st.sampled_from([SMALL - 1, SMALL, SMALL + 1, SMALL + 9, largest]),
            "run": st.integers(1, 30),
            "ignored": st.sampled_from([0.0, 0.1, 0.6, 1.0]),
            "agree": st.sampled_from([0.0, 0.5, 0.97, 1.0]),
            "dtype": st.sampled_from([np.uint8, np.uint8, np.int16, np.int64]),
            "threads": st.sampled_from([1, 1, 1, 3]),
            "seed": st.integers(0, 2**32 - 1),
        }
    )


def check_case(case):
    rng, K, size = np.random.default_rng(case["seed"]), case["num_classes"], case["size"]
    runs = size // case["run"] + 1
    target = rng.integers(0, K, runs).repeat(case["run"])[:size]
    pred = np.where(rng.random(runs).repeat(case["run"])[:size] < case["agree"], target, rng.integers(0, K, size))
    target[rng.random(runs).repeat(case["run"])[:size] < case["ignored"]] = 255
    pred, target = pred.astype(case["dtype"]), target.astype(np.uint8)
    matrix = confusion_matrix(pred, target, num_classes=K, threads=case["threads"])
    oracle = slow_confusion_matrix if size <= 40 else numpy_confusion_matrix
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, np.reshape(oracle(pred, target, K), (K, K)))


@settings(max_examples=500)
@given(cases(40_000))
def test_equals_the_oracle(case):
    check_case(case)


@pytest.mark.exhaustive
@settings(max_examples=10_000)
@given(cases(BLOCK + 12))
def test_equals_the_oracle_in_ten_thousand_cases(case):
    check_case(case)


@given(st.lists(st.integers(1, 40), min_size=100, max_size=200), st.integers(0, 7))
def test_ends_of_runs(lengths, cut):
    codes = np.repeat(np.arange(len(lengths)) % 2, lengths).astype(np.uint8)[cut:]
    ends = find_ends(codes, np.zeros_like(codes))
    expected = np.append(np.flatnonzero(codes[1:] != codes[:-1]), len(codes) - 1)
    if ends is not None:
        np.testing.assert_array_equal(ends, expected)
    assert (ends is None) == (len(expected) - 1 > 0.14 * len(codes))


@pytest.mark.parametrize("kind", ["blobs", "noise", "runs"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize("layout", [np.asarray, lambda a: a[::-1]], ids=["flat", "flipped"])
def test_extra_memory_stays_under_16_mb(kind, dtype, layout, monkeypatch):
    shape = (1200, 2800)
    if kind == "runs":  # as many as are still counted as runs
        pred = (np.arange(shape[0] * shape[1]) // 8 % 150).reshape(shape)
        pred, target = pred.astype(dtype), pred.astype(dtype)
    else:
        pred, target = (values.astype(dtype) for values in maps(kind, 150, shape=shape))
    pred, target, peaks = layout(pred), layout(target), []
    monkeypatch.setattr(_threads, "_helpers", None)  # new threads, whose own memory counts as well

    def measure():
        tracemalloc.start()
        confusion_matrix(pred, target, num_classes=150, threads=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    caller = threading.Thread(target=measure)
    caller.start()
    caller.join()
    assert peaks[0] < 16 * 2**20


@pytest.mark.parametrize("threads", [1, 3])
def test_one_matrix_an_image(threads):
    pred, target = (values.astype(np.uint8) for values in maps("blobs", 5, shape=(400, 300)))
    stack = pred.reshape(8, 50, 300), target.reshape(8, 50, 300)
    matrices = confusion_matrix(*stack, num_classes=5, per_image=True, threads=threads)
    assert matrices.shape == (8, 5, 5)
    for matrix, p, t in zip(matrices, *stack, strict=True):
        np.testing.assert_array_equal(matrix, numpy_confusion_matrix(p, t, 5))
    assert confusion_matrix([], [], num_classes=5, per_image=True).shape == (0, 5, 5)
    stack[0][6, 2, 2] = 9
    with pytest.raises(LabelError, match="of image 6"):
        confusion_matrix(*stack, num_classes=5, per_image=True, threads=threads)
