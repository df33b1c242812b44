"""Counting, scores and surfaces against the libraries in use, on the same masks and in one run.

    python benchmarks/metrics.py [camvid folder] [rounds]

Needs the `bench` extra and the real masks. Every result is compared for equality first. Contenders take turns; a cell
is the median with the middle half of the rounds, and a ratio is of medians, of wall time and (of CPU time).
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numba
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torchmetrics
from metrics_data import VOID, Maps, logits_of, odd_maps, real_maps
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from segkit.metrics import (
    Evaluation,
    confusion_matrix,
    confusion_matrix_from_logits,
    miou,
    surface_scores,
)

Runs = Mapping[str, Callable[[], object]]
Times = dict[str, list[tuple[float, float]]]

CAMVID = Path(__file__).parents[1] / "../shared/data/camvid"


# ---- rivals that are code, not libraries


def classic(pred: NDArray[np.uint8], target: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """The recipe that is copied from project to project: mask, one code a pixel, bincount."""
    valid = target < num_classes
    codes = num_classes * target[valid].astype(int) + pred[valid]
    return np.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes)


@numba.njit(nogil=True)
def numba_loop(pred: NDArray[np.uint8], target: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """What a compiler makes of the plain loop; it checks no range."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for place in range(target.size):
        if target[place] < num_classes:
            matrix[target[place], pred[place]] += 1
    return matrix


def common_script(preds: NDArray[np.uint8], targets: NDArray[np.uint8], num_classes: int) -> float:
    """The mean-IoU script that evaluation scripts share: three histograms an image."""
    inside = np.zeros(num_classes)
    areas = np.zeros(num_classes)
    limits = (0, num_classes - 1)
    for pred, target in zip(preds, targets, strict=True):
        valid = np.not_equal(target, VOID)
        guess, truth = pred[valid], target[valid]
        hit = guess[guess == truth]
        inside += np.histogram(hit, bins=num_classes, range=limits)[0]
        areas += np.histogram(guess, bins=num_classes, range=limits)[0]
        areas += np.histogram(truth, bins=num_classes, range=limits)[0]
    union = areas - inside
    with np.errstate(invalid="ignore"):
        return float(np.nanmean(inside / union))


# ---- measuring


def measure(runs: Runs, rounds: int, rest: float = 0.02) -> Times:
    """Wall and CPU milliseconds of each run, in turns, forth and back; the first round warms up.

    Before each is a rest in seconds: threads of the one before spin for a while after their work.
    """
    times: Times = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in list(runs)[:: 1 if number % 2 else -1]:
            time.sleep(rest)
            wall, cpu = time.perf_counter(), time.process_time()
            runs[name]()
            if number:
                times[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    return times


def median(times: Times, name: str, clock: int = 0) -> float:
    return statistics.median(pair[clock] for pair in times[name])


def cell(times: Times, name: str) -> str:
    values = [wall for wall, _ in times[name]]
    low, high = np.percentile(values, [25, 75])
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def ratio(times: Times, rival: str, ours: str) -> str:
    wall, cpu = (median(times, rival, clock) / median(times, ours, clock) for clock in (0, 1))
    return f"{wall:.1f} ({cpu:.1f})"


def megabytes(run: Callable[[], object]) -> float:
    """The peak of resident memory above what was there before."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 16)  # large blocks go back to the system, so that what is resident is in use
    run()
    gc.collect()
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1e3


def _status(row: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(row))
    return float(line.split()[1])


# ---- tables


def label_maps(maps: list[Maps], rounds: int) -> None:
    print("\n### Label maps, against the classic recipe and a numba loop (our time over its, CPU)\n")
    print("| maps | classic, ms | 1 thread | times faster (CPU) | 2 threads | times faster | / numba |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one in maps:
        _label_maps(one, rounds)


def _label_maps(one: Maps, rounds: int) -> None:
    p, t, K = one.pred, one.target, one.num_classes
    expected = classic(p, t, K)
    runs: Runs = {
        "classic": lambda: classic(p, t, K),
        "one": lambda: confusion_matrix(p, t, num_classes=K, threads=1),
        "two": lambda: confusion_matrix(p, t, num_classes=K, threads=2),
        "numba": lambda: numba_loop(p.reshape(-1), t.reshape(-1), K),
    }
    for name, run in runs.items():
        assert np.array_equal(np.asarray(run()), expected), (one.name, name)
    times = measure(runs, rounds, rest=0)
    base = median(times, "classic")
    print(
        f"| {one.name} ({one.pixels / 1e6:.1f} Mpx) | {cell(times, 'classic')} | {cell(times, 'one')} | "
        f"{ratio(times, 'classic', 'one')} | {cell(times, 'two')} | {base / median(times, 'two'):.1f} | "
        f"{median(times, 'one', 1) / median(times, 'numba', 1):.2f} |",
        flush=True,
    )


# ---- libraries, called as their users do


def torchmetrics_jaccard(pred: Tensor, target: Tensor, num_classes: int, validate: bool = True) -> float:
    metric = MulticlassJaccardIndex(num_classes=num_classes, ignore_index=VOID, validate_args=validate)
    for p, t in batches(pred, target):
        metric.update(p, t)
    return float(metric.compute())


def smp_stats(pred: Tensor, target: Tensor, num_classes: int) -> float:
    parts = [
        smp.metrics.get_stats(p, t, mode="multiclass", num_classes=num_classes, ignore_index=VOID)
        for p, t in batches(pred, target)
    ]
    tp, fp, fn, _ = (torch.cat([part[n] for part in parts]).sum(0) for n in range(4))
    union = tp + fp + fn
    return float((tp[union > 0] / union[union > 0]).mean())


def torchmetrics_mean_iou(pred: Tensor, target: Tensor, num_classes: int) -> float:
    # It knows no ignored value: void becomes a class of its own.
    metric = MeanIoU(num_classes=num_classes + 1, include_background=True, input_format="index")
    for p, t in batches(pred, target):
        metric.update(p, t)
    return float(metric.compute())


def our_evaluation(pred: NDArray[np.uint8], target: NDArray[np.uint8], num_classes: int) -> float:
    evaluation = Evaluation(num_classes)
    for start in range(0, len(pred), 8):
        evaluation.update(pred[start : start + 8], target[start : start + 8])
    return evaluation.scores().miou


def batches(pred: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(pred.split(8), target.split(8), strict=True)


def libraries(maps: list[Maps], rounds: int) -> None:
    print("\n### Mean IoU, against libraries as they are called (batches of 8, default threads)\n")
    print("`miou` counts all pixels at once, `Evaluation` keeps a matrix an image, as the last two rivals do.\n")
    print("| maps | rival | its ms | ours | ms | times faster (CPU) |")
    print("|---|---|--:|---|--:|--:|")
    for one in maps:
        _libraries(one, rounds)


def _libraries(one: Maps, rounds: int) -> None:
    p, t, K = one.pred, one.target, one.num_classes
    wide_p, wide_t = torch.from_numpy(p).long(), torch.from_numpy(t).long()
    runs: Runs = {
        "miou": lambda: miou(p, t, num_classes=K),
        "Evaluation": lambda: our_evaluation(p, t, K),
        "torchmetrics Jaccard": lambda: torchmetrics_jaccard(wide_p, wide_t, K),
        "the same, validate_args=False": lambda: torchmetrics_jaccard(wide_p, wide_t, K, validate=False),
        "common mean-IoU script": lambda: common_script(p, t, K),
        "smp get_stats": lambda: smp_stats(wide_p, wide_t, K),
    }
    found = {name: float(str(run())) for name, run in runs.items()}
    assert max(found.values()) - min(found.values()) < 1e-5, found
    times = measure(runs, rounds)
    for rival in ("torchmetrics Jaccard", "the same, validate_args=False", "common mean-IoU script"):
        print(_row(one.name, rival, "miou", times), flush=True)
    print(_row(one.name, "smp get_stats", "Evaluation", times), flush=True)
    # One-hot planes of int64: a few images are enough to tell.
    few = slice(0, min(8 if K < 100 else 2, len(p)))
    void_last = torch.where(wide_t == VOID, K, wide_t)[few]
    slow: Runs = {
        "Evaluation": lambda: our_evaluation(p[few], t[few], K),
        "torchmetrics MeanIoU": lambda: torchmetrics_mean_iou(wide_p[few], void_last, K),
    }
    print(
        _row(f"{one.name}, {few.stop} of them", "torchmetrics MeanIoU", "Evaluation", measure(slow, rounds)), flush=True
    )


def _row(maps: str, rival: str, ours: str, times: Times) -> str:
    return f"| {maps} | {rival} | {cell(times, rival)} | `{ours}` | {cell(times, ours)} | {ratio(times, rival, ours)} |"


def from_logits(maps: list[Maps], rounds: int) -> None:
    print("\n### From logits (float32, default threads)\n")
    print("| logits | rival | its ms | ours, ms | times faster (CPU) | its extra MB | ours |")
    print("|---|---|--:|--:|--:|--:|--:|")
    timed = []
    for one in maps:
        count = {11: 8, 19: 1, 150: 1}[one.num_classes]
        runs = _from_logits(one, count)
        timed.append((f"{count} x {one.name}", runs, measure(runs, rounds)))
    for name, runs, times in timed:  # measuring memory slows what comes after
        memory = {contender: megabytes(run) for contender, run in runs.items()}
        for rival in ("torchmetrics Jaccard", "argmax + smp get_stats"):
            print(
                f"| {name} | {rival} | {cell(times, rival)} | {cell(times, 'ours')} | "
                f"{ratio(times, rival, 'ours')} | {memory[rival]:.0f} | {memory['ours']:.1f} |",
                flush=True,
            )


def _from_logits(one: Maps, count: int) -> Runs:
    K = one.num_classes
    logits = torch.from_numpy(logits_of(one, count))
    target = torch.from_numpy(one.target[:count]).long()

    def jaccard() -> NDArray[np.int64]:
        metric = MulticlassJaccardIndex(num_classes=K, ignore_index=VOID)
        metric.update(logits, target)
        return np.asarray(metric.confmat)

    def stats() -> NDArray[np.int64]:
        guess = logits.argmax(1)
        tp, *_ = smp.metrics.get_stats(guess, target, mode="multiclass", num_classes=K, ignore_index=VOID)
        return np.asarray(tp.sum(0))

    runs: Runs = {
        "ours": lambda: confusion_matrix_from_logits(logits, target),
        "torchmetrics Jaccard": jaccard,
        "argmax + smp get_stats": stats,
    }
    matrix = confusion_matrix_from_logits(logits, target)
    assert np.array_equal(matrix, jaccard())
    assert np.array_equal(matrix.diagonal(), stats())
    return runs


def surfaces(maps: Maps, rounds: int, count: int = 4) -> None:
    print(f"\n### Surfaces of {count} CamVid masks; ours gives all four scores in that time\n")
    print("| score | MONAI, ms | ours, ms | times faster (CPU) |")
    print("|---|--:|--:|--:|")
    K, void = maps.num_classes, maps.target[:count] == VOID
    pred, target = np.where(void, VOID, maps.pred[:count]), maps.target[:count]

    def planes(masks: NDArray[np.uint8]) -> Tensor:
        ids = torch.from_numpy(np.where(masks == VOID, K, masks)).long()
        return torch.nn.functional.one_hot(ids, K + 1)[..., :K].permute(0, 3, 1, 2)

    one, two = planes(pred), planes(target)
    everything = {"include_background": True}
    rivals = {
        "HD95": lambda: compute_hausdorff_distance(one, two, percentile=95, **everything),
        "Hausdorff": lambda: compute_hausdorff_distance(one, two, **everything),
        "ASSD": lambda: compute_average_surface_distance(one, two, symmetric=True, **everything),
        "NSD": lambda: compute_surface_dice(one, two, [1.0] * K, **everything),
    }
    found = surface_scores(pred, target, num_classes=K)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of classes that are absent
        for name, ours in zip(rivals, (found.hd95, found.hausdorff, found.assd, found.nsd), strict=True):
            theirs = rivals[name]().numpy()
            some = np.isfinite(theirs) & np.isfinite(ours)
            assert some.mean() > 0.8
            assert np.allclose(theirs[some], ours[some], atol=1e-3), name
        times = measure({"ours": lambda: surface_scores(pred, target, num_classes=K), **rivals}, rounds)
    for name in rivals:
        print(f"| {name} | {cell(times, name)} | {cell(times, 'ours')} | {ratio(times, name, 'ours')} |", flush=True)


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else CAMVID
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    print(f"numpy {np.__version__}, torch {torch.__version__}, torchmetrics {torchmetrics.__version__}, ", end="")
    print(f"{torch.get_num_threads()} torch threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    maps = real_maps(root)
    for one in maps:
        valid = one.target != VOID
        expected = sklearn_confusion_matrix(one.target[valid], one.pred[valid], labels=range(one.num_classes))
        assert np.array_equal(confusion_matrix(one.pred, one.target, num_classes=one.num_classes), expected)
    label_maps(maps, rounds)
    label_maps([odd for K in (11, 19, 150) for odd in odd_maps(K)], rounds)
    libraries(maps, max(3, rounds // 3))
    surfaces(maps[0], max(3, rounds // 3))
    from_logits(maps, max(3, rounds // 3))


if __name__ == "__main__":
    main()
