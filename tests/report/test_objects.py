from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segkit.datasets import CamVid, StreetScenes, Subset
from segkit.errors import InputError, ShapeError
from segkit.labels import Labels
from segkit.metrics import Evaluation, Scores
from segkit.report import ObjectRecall, knows_objects, measure_objects, write_report
from segkit.report._things import Crops, size_bounds

LABELS = Labels(["ground", "car", "person"], palette=[(9, 9, 9), (250, 0, 0), (0, 250, 0)])


@dataclass
class Thing:
    class_id: int
    box: tuple[int, int, int, int]
    area: int
    occluded: float


class Two:
    """A car with a person before it, in every one of ``length`` scenes."""

    def __init__(self, length: int = 1) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def objects(self, index: int) -> list[Thing]:
        return [Thing(1, (2, 2, 6, 8), 20, 4 / 24), Thing(2, (2, 3, 6, 4), 4, 0.0)]

    def instances(self, index: int) -> np.ndarray:
        owner = np.full((10, 12), -1, np.int32)
        owner[2:6, 2:8] = 0
        owner[2:6, 3] = 1
        return owner

    def sample(self, index: int) -> tuple[Any, Any, Any]:
        target = np.array([1, 2, 0], np.uint8)[self.instances(index)]
        pred = np.where(target == 2, 1, target)  # the person is taken for a part of the car
        pred[5] = 0
        target[2] = 255
        return np.zeros((3, 10, 12), np.uint8), target, pred


def test_found_are_the_pixels_of_an_object_with_its_class_ignored_ones_left_out() -> None:
    car, person = measure_objects(Two(), Two().sample)
    assert car == ObjectRecall(0, 1, (2, 2, 6, 8), area=15, found=10, occluded=4 / 24)
    assert person == ObjectRecall(0, 2, (2, 3, 6, 4), area=3, found=0, occluded=0.0)
    assert car.recall == pytest.approx(2 / 3)


def test_an_object_that_is_ignored_altogether_is_left_out() -> None:
    def sample(index: int) -> tuple[Any, Any, Any]:
        image, target, pred = Two().sample(index)
        return image, np.where(target == 2, 255, target), pred

    assert [thing.class_id for thing in measure_objects(Two(), sample)] == [1]


def test_at_most_so_many_images_are_predicted_evenly() -> None:
    found = measure_objects(Two(101), Two(101).sample, max_images=5)
    assert [thing.image for thing in found] == [0, 0, 25, 25, 50, 50, 75, 75, 100, 100]


def test_a_subset_knows_what_its_data_set_knows() -> None:
    scenes = StreetScenes(8, size=(60, 80), seed=2)
    part = Subset(Subset(scenes, [6, 1, 3]), [2, 0])  # scenes 3 and 6

    def sample(dataset: Any) -> Any:
        return lambda index: (*dataset[index], dataset[index][1].roll(1, dims=0))

    everything = measure_objects(scenes, sample(scenes))
    expected = [
        replace(thing, image=place)
        for place, image in enumerate((3, 6))
        for thing in everything
        if thing.image == image
    ]
    assert measure_objects(part, sample(part)) == expected
    assert knows_objects(part)


def test_most_data_sets_know_no_objects(camvid_root: Path) -> None:
    assert not knows_objects(CamVid(camvid_root, split="val"))


def test_a_data_set_without_objects_is_refused() -> None:
    with pytest.raises(InputError, match="Evaluation does not know its objects"):
        measure_objects(Evaluation(2), Two().sample)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"item 0 must have one size; got \(10, 12\), \(4, 4\) and \(10, 12\)"):
        measure_objects(Two(), lambda index: (None, np.zeros((4, 4)), np.zeros((10, 12))))


def test_street_scenes_against_one_object_at_a_time() -> None:
    scenes = StreetScenes(3, size=(90, 120), seed=2)

    def sample(index: int) -> tuple[Any, Any, Any]:
        image, mask = scenes[index]
        return image, mask, mask.roll(2, dims=1)

    found = measure_objects(scenes, sample)
    expected = []
    for index in range(3):
        owner, (_, target, pred) = scenes.instances(index), sample(index)
        for number, thing in enumerate(scenes.objects(index)):
            mine = owner == number
            hits = int(((pred == target) & mine).sum())
            expected.append(ObjectRecall(index, thing.class_id, thing.box, int(mine.sum()), hits, thing.occluded))
    assert found == expected
    assert [thing.area for thing in found] == [thing.area for index in range(3) for thing in scenes.objects(index)]


def thing(area: int, found: int, class_id: int = 1, occluded: float | None = None, image: int = 0) -> ObjectRecall:
    return ObjectRecall(image, class_id, (2, 2, 6, 8), area, found, occluded)


def test_sizes_hold_a_third_each() -> None:
    assert size_bounds([thing(area, 0) for area in range(1, 10)]) == (3, 6)
    assert size_bounds([thing(7, 0)]) == (7, 7)


def written(objects: list[ObjectRecall], tmp_path: Path, read_page: Any, **more: Any) -> Any:
    evaluation = Evaluation(3, names=LABELS.names)
    scene = Two(2)
    for index in range(2):
        _, target, pred = scene.sample(index)
        evaluation.update(pred[None], target[None], ids=[f"scene <{index}>"])
    path = write_report(
        tmp_path / "r.html", scores=evaluation.scores(), evaluation=evaluation, labels=LABELS, sample=scene.sample,
        objects=objects, **more,
    )  # fmt: skip
    return read_page(path.read_text(encoding="utf-8"))


def test_the_page_has_recall_by_size_by_hidden_share_and_by_class(tmp_path: Path, read_page: Any) -> None:
    objects = [
        thing(10, 1, occluded=0.6), thing(20, 1, occluded=0.1), thing(100, 50, occluded=0.3),
        thing(200, 200, 2, 0.0), thing(1000, 990, 2, 0.5), thing(5000, 4000, 2, 0.51, image=1),
    ]  # fmt: skip
    page = written(objects, tmp_path, read_page)
    text = "|".join(page.text)
    # Small: recalls 0.1 and 0.05; one of two is missed (less than 10 %), none mostly found.
    assert "Small (up to 20 pixels)|2|0.075|0.0 %|50.0 %" in text
    assert "Medium (up to 200)|2|0.750|100.0 %|0.0 %" in text
    assert "Large (over 200)|2|0.895|100.0 %|0.0 %" in text
    assert "Visible (10 % hidden at most)|2|0.525|50.0 %|50.0 %" in text
    assert "Partly hidden (10 to 50 %)|2|0.745|100.0 %|0.0 %" in text
    assert "Mostly hidden|2|0.450|50.0 %|0.0 %" in text
    assert "car|3|0.217|0.075|0.500|\N{EN DASH}|" in text
    assert "person|3|0.930|\N{EN DASH}|1.000|0.895|" in text
    assert "person| in |scene <1>|: 80.0 % of 5\u2009000 pixels found, 51.0 % hidden" in text, "the worst of the large"
    crops = [a for a in page.all("img") if (a["alt"] or "").endswith(": image, truth, prediction")]
    assert len(crops) == 3 + 3 + 2


def test_without_hidden_shares_there_is_no_table_of_them(tmp_path: Path, read_page: Any) -> None:
    page = written([thing(10, 1)], tmp_path, read_page)
    assert "By size" in page.text
    assert "By hidden share" not in page.text


def test_objects_that_do_not_fit_the_evaluation_are_refused(tmp_path: Path, read_page: Any) -> None:
    for wrong in (thing(1, 1, class_id=3), thing(1, 1, image=2)):
        with pytest.raises(InputError, match="`objects` must lie in the 2 images"):
            written([wrong], tmp_path, read_page)


def test_a_baseline_stands_beside_the_model(tmp_path: Path, read_page: Any) -> None:
    evaluation = Evaluation(3, names=LABELS.names)
    evaluation.add(np.array([[[50, 50, 0], [0, 25, 75], [0, 0, 0]]]))
    baseline = evaluation.scores()
    page = written([], tmp_path, read_page, baseline=baseline)
    row = page.text.index("Baseline: the most frequent class at each position")
    shown = (baseline.miou, baseline.micro_iou, baseline.mean_dice, baseline.pixel_accuracy)
    assert page.text[row + 1 : row + 5] == [f"{value:.3f}" for value in shown]
    ticks = [float(a["x"]) for a in page.all("rect") if a.get("class") == "tick"]
    assert ticks == pytest.approx([100 * value for value in baseline.iou], abs=0.01)
    with pytest.raises(InputError, match="`baseline` must have the 3 values"):
        written([], tmp_path, read_page, baseline=Evaluation(4).scores())
    for wrong in (Scores(baseline.matrix), Scores(baseline.matrix, names=LABELS.names, protocol="micro")):
        with pytest.raises(InputError, match="`baseline` must be comparable with `scores`"):
            written([], tmp_path, read_page, baseline=wrong)


@pytest.mark.parametrize(
    ("size", "box"),
    [((10, 12), (2, 2, 6, 8)), ((300, 200), (0, 0, 1, 1)), ((60, 400), (10, 380, 60, 400)), ((1, 1), (0, 0, 1, 1))],
)
def test_a_crop_holds_its_object_whatever_its_place(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    target = np.zeros(size, np.uint8)
    target[box[0] : box[2], box[1] : box[3]] = 1
    crops = Crops(lambda index: (np.full((1, *size), 90, np.uint8), target, np.zeros(size, np.uint8)), LABELS)
    uri = crops.uri(ObjectRecall(0, 1, box, 1, 0))
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"), np.int64)
    red = abs(strip - (250, 0, 0)).max(axis=2) < 60
    assert red[:, 116:228].any(), "the truth has it"
    assert not red[:, 232:].any(), "the prediction does not"
