"""The mean IoU that each library gives for the same masks, and the protocol under which segkit gives that figure.

    python benchmarks/protocols.py [camvid folder]

Needs the `bench` extra and the real masks. Prints the table of docs/metrics.md; stops where a figure is not reproduced.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from metrics_data import VOID, Maps, camvid_drives
from monai.metrics import MeanIoU as MonaiMeanIoU
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from metrics import common_script
from segkit.metrics import Scores, confusion_matrix

CAMVID = Path(__file__).parents[1] / "../shared/data/camvid"


def figures(maps: Maps) -> dict[str, float]:
    """What each library says, as its documentation calls it; void is ignored where it can be."""
    K = maps.num_classes
    pred, target = torch.from_numpy(maps.pred).long(), torch.from_numpy(maps.target).long()
    found: dict[str, float] = {}
    for average in ("macro", "micro", "weighted"):
        metric = MulticlassJaccardIndex(num_classes=K, average=average, ignore_index=VOID)
        found[f'torchmetrics `MulticlassJaccardIndex(average="{average}")`'] = float(metric(pred, target))
    void_last = torch.where(target == VOID, K, target), torch.where(target == VOID, K, pred)
    whole = MeanIoU(num_classes=K + 1, include_background=True, input_format="index")
    for start in range(0, len(pred), 4):
        whole.update(void_last[1][start : start + 4], void_last[0][start : start + 4])
    found["torchmetrics `segmentation.MeanIoU` (void as a class: it ignores none)"] = float(whole.compute())
    stats = smp.metrics.get_stats(pred, target, mode="multiclass", num_classes=K, ignore_index=VOID)
    for reduction in ("micro", "macro", "micro-imagewise", "macro-imagewise"):
        value = float(smp.metrics.iou_score(*stats, reduction=reduction))
        found[f'segmentation_models.pytorch `iou_score(reduction="{reduction}")`'] = value
    one, two = (torch.nn.functional.one_hot(m, K + 1)[..., :K].permute(0, 3, 1, 2) for m in reversed(void_last))
    for reduction in ("mean", "mean_batch"):
        metric = MonaiMeanIoU(include_background=True, reduction=reduction)
        for start in range(0, len(pred), 8):
            metric(one[start : start + 8], two[start : start + 8])
        value = float(torch.nanmean(metric.aggregate()))
        found[f'MONAI `MeanIoU(reduction="{reduction}")`' + ", mean over classes" * (reduction != "mean")] = value
    valid = maps.target != VOID
    truth, guess = maps.target[valid], maps.pred[valid]
    for average in ("macro", "micro", "weighted"):
        found[f'scikit-learn `jaccard_score(average="{average}")`'] = jaccard_score(truth, guess, average=average)
    found["the common mean-IoU script (histograms, `nanmean`)"] = common_script(maps.pred, maps.target, K)
    return found


def ours(maps: Maps) -> dict[str, float]:
    """Ours by protocol, void ignored; and with void as a class."""
    matrices = confusion_matrix(maps.pred, maps.target, num_classes=maps.num_classes, per_image=True)
    values = {}
    for name in ("dataset", "present-in-target", "micro", "per-image", "per-image-per-class"):
        values[f'`"{name}"`'] = Scores(matrices, protocol=name).miou
    for name in ("per-image-present-in-target", "per-image-per-class-present-in-target", "per-pair", "micro-per-image"):
        values[f'`"{name}"`'] = Scores(matrices, protocol=name).miou
    for name in ("dataset", "per-image"):
        values[f'`"{name}", absent=1.0`'] = Scores(matrices, protocol=name, absent=1.0).miou
    values["`frequency_weighted_iou`"] = Scores(matrices).frequency_weighted_iou
    K = maps.num_classes
    target, pred = (np.where(maps.target == VOID, K, m) for m in (maps.target, maps.pred))
    with_void = confusion_matrix(pred, target, num_classes=K + 1, per_image=True)
    for name in ("dataset", "per-image", "per-pair"):
        values[f'`"{name}"`, void as a class'] = Scores(with_void, protocol=name).miou
    return values


def main() -> None:
    maps = camvid_drives(Path(sys.argv[1]) if len(sys.argv) > 1 else CAMVID)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = figures(maps)
    mine = ours(maps)
    print("| mean IoU of the same masks | figure | segkit's protocol | segkit's figure |")
    print("|---|--:|---|--:|")
    for name, value in sorted(theirs.items(), key=lambda item: item[1]):
        protocol = min(mine, key=lambda key: (abs(mine[key] - value) > 1e-5, "void" in key, len(key)))
        assert abs(mine[protocol] - value) < 1e-5, f"{name} gives {value}; none of {mine} does"
        print(f"| {name} | {value:.4f} | {protocol} | {mine[protocol]:.4f} |")


if __name__ == "__main__":
    main()
