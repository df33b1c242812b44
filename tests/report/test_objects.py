from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from segkit.datasets import CamVid, StreetScenes, Subset
from segkit.errors import InputError, LabelError, ShapeError
from segkit.labels import Labels
from segkit.metrics import Evaluation, Objects, Scores
from segkit.report import knows_objects, measure_objects, write_report
from segkit.report._things import Crops

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


def rows(objects: Objects) -> list[tuple[Any, ...]]:
    values = [None] * len(objects) if objects.values is None else objects.values.tolist()
    columns = (objects.images, objects.classes, objects.pixels, objects.hits)
    return list(zip(*(column.tolist() for column in columns), values, map(tuple, objects.boxes.tolist()), strict=True))


def test_found_are_the_pixels_of_an_object_with_its_class_ignored_ones_left_out() -> None:
    found = measure_objects(Two(), Two().sample, labels=LABELS)
    assert rows(found) == [(0, 1, 15, 10, 4 / 24, (3, 2, 6, 8)), (0, 2, 3, 0, 0.0, (3, 3, 6, 4))]


def test_an_object_that_is_ignored_altogether_is_left_out() -> None:
    def sample(index: int) -> tuple[Any, Any, Any]:
        image, target, pred = Two().sample(index)
        return image, np.where(target == 2, 255, target), pred

    assert measure_objects(Two(), sample, labels=LABELS).classes.tolist() == [1]


def test_at_most_so_many_images_are_predicted_evenly() -> None:
    found = measure_objects(Two(101), Two(101).sample, labels=LABELS, max_images=5)
    assert found.images.tolist() == [0, 0, 25, 25, 50, 50, 75, 75, 100, 100]


def test_a_subset_knows_what_its_data_set_knows() -> None:
    scenes = StreetScenes(8, size=(60, 80), seed=2)
    part = Subset(Subset(scenes, [6, 1, 3]), [2, 0])  # scenes 3 and 6

    def sample(dataset: Any) -> Any:
        return lambda index: (*dataset[index], dataset[index][1].roll(1, dims=0))

    everything = rows(measure_objects(scenes, sample(scenes), labels=scenes.labels))
    expected = [(place, *row[1:]) for place, image in enumerate((3, 6)) for row in everything if row[0] == image]
    assert rows(measure_objects(part, sample(part), labels=scenes.labels)) == expected
    assert knows_objects(part)


def test_objects_of_camvid_are_the_regions_of_its_classes(camvid_root: Path) -> None:
    frames = Subset(CamVid(camvid_root, split="val"), [3, 50])
    assert not knows_objects(frames)
    labels = frames.labels

    def sample(index: int) -> tuple[Any, Any, Any]:
        image, mask = frames[index]
        return image, mask, mask.roll(3, dims=1).where(mask.roll(3, dims=1) != 255, 0)

    found = measure_objects(frames, sample, labels=labels)
    expected = []
    for index in range(2):
        _, target, pred = (np.asarray(part) for part in sample(index))
        for value in range(11):
            numbers, _ = ndimage.label(target == value, np.ones((3, 3)))
            for number, place in enumerate(ndimage.find_objects(numbers), 1):
                mine = numbers == number
                if mine.sum() * 10_000 >= target.size:
                    box = (place[0].start, place[1].start, place[0].stop, place[1].stop)
                    expected.append((index, value, int(mine.sum()), int((mine & (pred == value)).sum()), None, box))
    assert sorted(rows(found), key=str) == sorted(expected, key=str)
    assert len(found) > 40


def test_a_background_is_no_object() -> None:
    pairs = [(np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=np.uint8))]
    for labels in (Labels(["leaf"], task="binary"), Labels(["Background", "leaf"])):
        found = measure_objects(pairs, lambda index: (*pairs[index], pairs[index][1]), labels=labels)  # type: ignore[arg-type]
        assert found.classes.tolist() == [1]
        assert found.recall.tolist() == [1.0]


def test_a_data_set_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="the data set is empty"):
        measure_objects(Two(0), Two().sample, labels=LABELS)
    with pytest.raises(
        ShapeError, match=r"the instances of item 0 must have the size of its mask, \(4, 4\); got \(10,"
    ):
        measure_objects(Two(), lambda index: (None, np.zeros((4, 4), int), np.zeros((4, 4), int)), labels=LABELS)
    with pytest.raises(ShapeError, match=r"prediction of item 0 must have the image's size \(10, 12\); got \(4, 4\)"):
        measure_objects(Two(), lambda index: (None, np.zeros((10, 12), int), np.zeros((4, 4), int)), labels=LABELS)


def test_street_scenes_against_one_object_at_a_time() -> None:
    scenes = StreetScenes(3, size=(90, 120), seed=2)

    def sample(index: int) -> tuple[Any, Any, Any]:
        image, mask = scenes[index]
        return image, mask, mask.roll(2, dims=1)

    expected = []
    for index in range(3):
        owner, (_, target, pred) = scenes.instances(index), sample(index)
        for number, thing in enumerate(scenes.objects(index)):
            mine = owner == number
            hits = int(((pred == target) & mine).sum())
            expected.append((index, thing.class_id, thing.area, hits, thing.occluded, thing.box))
    assert rows(measure_objects(scenes, sample, labels=scenes.labels)) == expected


def things(*parts: tuple[int, int, int, float, int]) -> Objects:
    """Objects from (class, pixels, hits, hidden share, image)."""
    classes, pixels, hits, hidden, images = (np.array(column) for column in zip(*parts, strict=True))
    boxes = np.array([(2, 2, 6, 8)] * len(parts))
    return Objects(images, classes, boxes, pixels, hits, np.zeros_like(hits), hidden)


def written(objects: Objects | None, tmp_path: Path, read_page: Any, **more: Any) -> Any:
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


SOME = (
    (1, 10, 1, 0.6, 0), (1, 20, 1, 0.05, 0), (1, 100, 50, 0.3, 0),
    (2, 200, 200, 0.0, 0), (2, 1000, 990, 0.1, 0), (2, 5000, 4000, 0.5, 1),
)  # fmt: skip


def test_the_page_has_recall_by_size_by_hidden_share_and_by_class(tmp_path: Path, read_page: Any) -> None:
    page = written(things(*SOME), tmp_path, read_page)
    text = "|".join(page.text)
    # A third of each class is small: recalls 0.1 and 1.
    assert "|Small|2|0.550|50.0 %|0.0 %" in text
    assert "|Medium|2|0.520|50.0 %|50.0 %" in text  # 0.05, which is missed, and 0.99
    assert "|Large|2|0.650|100.0 %|0.0 %" in text
    assert "Visible (less than 10 % hidden)|2|0.525|50.0 %|50.0 %" in text
    assert "Partly hidden (10 to 50 %)|2|0.745|100.0 %|0.0 %" in text
    assert "Mostly hidden (50 % and more)|2|0.450|50.0 %|0.0 %" in text
    assert "|car|3|0.217|0.100|0.050|0.500|20 to 20|" in text
    assert "|person|3|0.930|1.000|0.990|0.800|1\u202f000 to 1\u202f000|" in text
    assert "person| in |scene <1>|: 80.0 % of 5\u202f000 pixels found, 50.0 % hidden" in text, "the worst of its class"
    assert "connected region" not in text
    crops = [a for a in page.all("img") if (a["alt"] or "").endswith(": image, truth, prediction")]
    assert len(crops) == 3 + 3 + 2


def test_regions_are_said_to_be_regions_and_have_no_hidden_share(tmp_path: Path, read_page: Any) -> None:
    page = written(replace(things(*SOME), values=None), tmp_path, read_page)
    text = "|".join(page.text)
    assert "By size" in text
    assert "Here an object is a connected region of one class in the truth" in text
    assert "hidden" not in text


def test_the_page_says_of_how_many_images_the_objects_are(tmp_path: Path, read_page: Any) -> None:
    some = "These are the objects of 1 of the 2 images."
    assert some in "|".join(written(things(*SOME[:5]), tmp_path, read_page).text)
    assert some not in "|".join(written(things(*SOME), tmp_path, read_page).text)


def test_a_page_without_objects_has_no_section_of_them(tmp_path: Path, read_page: Any) -> None:
    for nothing in (None, things(*SOME)[:0]):
        assert "Objects" not in written(nothing, tmp_path, read_page).text


def test_objects_that_do_not_fit_the_evaluation_are_refused(tmp_path: Path, read_page: Any) -> None:
    for wrong in ((3, 1, 1, 0.0, 0), (1, 1, 1, 0.0, 2)):
        with pytest.raises(InputError, match="`objects` must lie in the 2 images"):
            written(things(*SOME, wrong), tmp_path, read_page)


def test_a_baseline_stands_beside_the_model(tmp_path: Path, read_page: Any) -> None:
    evaluation = Evaluation(3, names=LABELS.names)
    evaluation.add(np.array([[[50, 50, 0], [0, 25, 75], [0, 0, 0]]]))
    baseline = evaluation.scores()
    page = written(None, tmp_path, read_page, baseline=baseline)
    row = page.text.index("Baseline: the most frequent class at each position")
    shown = (baseline.miou, baseline.micro_iou, baseline.mean_dice, baseline.pixel_accuracy)
    assert page.text[row + 1 : row + 5] == [f"{value:.3f}" for value in shown]
    ticks = [float(a["x"]) for a in page.all("rect") if a.get("class") == "tick"]
    assert ticks == pytest.approx([100 * value for value in baseline.iou], abs=0.01)
    with pytest.raises(InputError, match="`baseline` must have the 3 values"):
        written(None, tmp_path, read_page, baseline=Evaluation(4).scores())
    for wrong in (Scores(baseline.matrix), Scores(baseline.matrix, names=LABELS.names, protocol="micro")):
        with pytest.raises(InputError, match="`baseline` must be comparable with `scores`"):
            written(None, tmp_path, read_page, baseline=wrong)


@pytest.mark.parametrize(
    ("size", "box"),
    [((10, 12), (2, 2, 6, 8)), ((300, 200), (0, 0, 1, 1)), ((60, 400), (10, 380, 60, 400)), ((1, 1), (0, 0, 1, 1))],
)
def test_a_crop_holds_its_object_whatever_its_place(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    target = np.zeros(size, np.uint8)
    target[box[0] : box[2], box[1] : box[3]] = 1
    crops = Crops(lambda index: (np.full((1, *size), 90, np.uint8), target, np.zeros(size, np.uint8)), LABELS)
    uri = crops.uri(0, box)
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"), np.int64)
    red = abs(strip - (250, 0, 0)).max(axis=2) < 60
    assert red[:, 116:228].any(), "the truth has it"
    assert not red[:, 232:].any(), "the prediction does not"


def test_crops_have_the_box_in_each_part_and_dots_where_pixels_are_ignored() -> None:
    target = np.zeros((100, 100), np.uint8)
    target[:, 70:] = 255
    image = np.full((3, 100, 100), 90, np.uint8)
    uri = Crops(lambda index: (image, target, np.zeros_like(target)), LABELS).uri(0, (30, 30, 70, 70))
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"), np.int64)
    for start in (0, 116, 232):
        part = strip[:, start : start + 112]
        assert part[56, :40].max() > 150, "the box's left side"
        assert part[:40, 56].max() > 150, "its top"
    ignored = strip[:, 116 + 100 : 116 + 112]
    assert ignored.std() > 8, "dotted"
    assert ignored.min() > 100, "and light"
    assert strip[:, 232 + 100 : 232 + 112].max() < 60, "the prediction ignores nothing"


def test_a_crop_of_masks_that_do_not_fit_says_whose_they_are() -> None:
    wrong = np.full((9, 9), 7)
    crops = Crops(lambda index: (np.zeros((1, 9, 9), np.uint8), np.zeros((9, 9), int), wrong), LABELS)
    with pytest.raises(LabelError, match="in prediction of item 4"):
        crops.uri(4, (0, 0, 3, 3))
