"""Every score passes the common checks, and each check catches the score that it is made for."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from segkit.metrics import (
    boundary_iou,
    check_metric,
    dice,
    f_beta,
    iou,
    miou,
    object_scores,
    pixel_accuracy,
    precision,
    recall,
    scores,
    specificity,
    surface_scores,
    trimap_iou,
)


def mean(score, **options):
    def metric(pred, target, *, num_classes, ignore_index):
        return scores(pred, target, num_classes=num_classes, ignore_index=ignore_index, **options).mean(score)

    return metric


def surface(score):
    def metric(pred, target, *, num_classes, ignore_index):
        found = surface_scores(pred, target, num_classes=num_classes, ignore_index=ignore_index)
        return found.mean(score)

    return metric


def objects(score):
    def metric(pred, target, *, num_classes, ignore_index):
        found = object_scores(pred, target, num_classes=num_classes, ignore_index=ignore_index, bounds=[1e9])
        return getattr(found, score)[:, 0]

    return metric


COUNTED = {
    "iou": iou,
    "dice": dice,
    "precision": precision,
    "recall": recall,
    "f_beta": functools.partial(f_beta, beta=2.0),
    "miou": miou,
    "pixel_accuracy": pixel_accuracy,
    **{
        score: mean(score)
        for score in (
            "micro_iou",
            "mean_dice",
            "micro_dice",
            "frequency_weighted_iou",
            "mean_precision",
            "class_accuracy",
        )
    },
    **{f"miou {name}": functools.partial(miou, protocol=name) for name in ("present-in-target", "micro")},
}


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("num_classes", [3, 4, 9])
def test_counted_scores(name, num_classes):
    check_metric(COUNTED[name], num_classes=num_classes)


@pytest.mark.parametrize("seed", range(5))
def test_other_label_maps(seed):
    check_metric(iou, seed=seed)


@pytest.mark.parametrize("score", ["kappa", "mcc", "mean_specificity"])
def test_scores_whose_worst_depends_on_the_data(score):
    check_metric(mean(score), worst=None)


@pytest.mark.parametrize("name", ["per-image", "per-image-per-class", "per-image-present-in-target", "micro-per-image"])
def test_protocols_of_images(name):
    check_metric(functools.partial(miou, protocol=name), adds_up=False)


@pytest.mark.parametrize("metric", [boundary_iou, trimap_iou])
def test_borders(metric):
    check_metric(metric, adds_up=False)


@pytest.mark.parametrize(("score", "perfect"), [("hausdorff", 0.0), ("hd95", 0.0), ("assd", 0.0), ("nsd", 1.0)])
def test_surfaces(score, perfect):
    check_metric(surface(score), perfect=perfect, worst=None, adds_up=False)


@pytest.mark.parametrize("score", ["iou", "recall", "found"])
def test_objects(score):
    check_metric(objects(score), adds_up=False)


class TestEachCheckCatches:
    """A score with one fault each."""

    def fault(self, metric, message, **options):
        with pytest.raises(AssertionError, match=message):
            check_metric(metric, **options)

    def test_a_value_that_is_not_one(self):
        self.fault(lambda *a, **k: 2 * iou(*a, **k), "a perfect prediction must give")

    def test_a_score_that_is_never_bad(self):
        self.fault(lambda *a, **k: (1 + iou(*a, **k)) / 2, "wrong everywhere must give")

    def test_an_absent_class_that_counts(self):
        self.fault(lambda *a, **k: np.nan_to_num(iou(*a, **k), nan=1.0), "a class that is nowhere must be NaN")

    def test_zero_for_nothing(self):
        self.fault(lambda *a, **k: np.nan_to_num(miou(*a, **k)), "no valid pixel must give NaN")

    def test_ignored_pixels_that_count(self):
        def counts_them(pred, target, *, num_classes, ignore_index):
            right = miou(pred, target, num_classes=num_classes, ignore_index=ignore_index)
            return right * (1 + 1e-3 * np.mean([np.mean(p) for p in pred])) if right == right else right

        self.fault(counts_them, "under ignored pixels", perfect=None)

    def test_an_order_that_matters(self):
        self.fault(lambda p, t, **k: miou(p[:1], t[:1], **k), "in another order")

    def test_classes_that_are_not_alike(self):
        def metric(pred, target, *, num_classes, ignore_index):
            return iou(pred, target, num_classes=num_classes, ignore_index=ignore_index)[0]

        self.fault(metric, "renumbered", worst=0.0)

    def test_arithmetic_that_wraps(self):
        def metric(pred, target, *, num_classes, ignore_index):
            pred, target = np.asarray(pred), np.asarray(target)
            if pred.dtype != np.uint8:
                return miou(pred, target, num_classes=num_classes, ignore_index=ignore_index)
            codes = (target * np.uint8(num_classes) + pred)[target != ignore_index]
            matrix = np.bincount(codes, minlength=300)[:256].reshape(16, 16)[:num_classes, :num_classes]
            return matrix.trace() / max(matrix.sum(), 1)

        self.fault(metric, "label maps of uint8")

    def test_means_of_parts_that_pretend_to_be_the_whole(self):
        self.fault(functools.partial(miou, protocol="per-image"), "cut in two")

    def test_a_wrong_shape(self):
        self.fault(lambda *a, **k: iou(*a, **k)[:2], "one number or one a class")

    def test_specificity_has_no_absent_class(self):
        self.fault(specificity, "wrong everywhere|nowhere must be NaN")
