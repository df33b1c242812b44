from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segkit.errors import DataError, InputError, LabelError, ShapeError
from segkit.labels import Labels
from segkit.metrics import Evaluation, Objects, Scores
from segkit.report import write_report

LABELS = Labels(["road", "car", "sky"])
HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>", "&amp; </style></title>", "a\x00\u202eb"]


def open_page(path: Path, read_page: Callable[[str], Any]) -> Any:
    return read_page(path.read_text(encoding="utf-8"))


def test_the_page_shows_the_scores_it_was_given(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 30)
    path = tmp_path / "report.html"
    assert write_report(path, **job.arguments, title="A run", info={"Model": "unet"}) == path
    page = open_page(path, read_page)
    scores = job.evaluation.scores()
    figures = (scores.miou, scores.micro_iou, scores.mean_dice, scores.pixel_accuracy)
    for expected in (*(f"{value:.3f}" for value in (*figures, *scores.iou, *scores.dice)), "A run", "unet", "30"):
        assert expected in page.text
    assert any(scores.protocol in text for text in page.text)
    assert any(f"{100 * scores.ignored_share:.1f} % of the pixels are ignored" in text for text in page.text)
    bars = [a for a in page.all("rect") if a.get("class") == "fill"]
    assert [float(a["width"]) for a in bars] == pytest.approx([100 * value for value in scores.iou], abs=0.01)


def test_the_matrix_is_shown_in_shares_of_each_row_with_counts(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 0)
    matrix = np.array([[[6000, 2000, 0], [0, 0, 0], [10, 0, 9990]]])  # nothing is a car
    job.evaluation.add(matrix, ["a"])
    image = np.zeros((3, 2, 2), np.uint8)
    mask = np.zeros((2, 2), np.uint8)
    page = open_page(
        write_report(tmp_path / "r.html", **{**job.arguments, "sample": lambda index: (image, mask, mask)}), read_page
    )
    titles = {a["title"]: a.get("class") for a in page.all("td") if "title" in a}
    assert titles == {
        "truth road, prediction road: 6\u202f000 pixels, 75.0 % of the truth": "f8",
        "truth road, prediction car: 2\u202f000 pixels, 25.0 % of the truth": "l3",
        "truth road, prediction sky: 0 pixels, 0.0 % of the truth": None,
        "truth car, prediction road: 0 pixels, none in the truth": None,
        "truth car, prediction car: 0 pixels, none in the truth": None,
        "truth car, prediction sky: 0 pixels, none in the truth": None,
        "truth sky, prediction road: 10 pixels, 0.1 % of the truth": None,
        "truth sky, prediction car: 0 pixels, 0.0 % of the truth": None,
        "truth sky, prediction sky: 9\u202f990 pixels, 99.9 % of the truth": "f10",
    }


def test_every_image_is_listed_and_every_link_leads_somewhere(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 60)
    page = open_page(write_report(tmp_path / "r.html", **job.arguments), read_page)
    assert set(job.evaluation.ids) <= set(page.text)
    anchors = page.values("id")
    assert len(anchors) == len(set(anchors))
    links = page.values("href")
    assert {link[1:] for link in links} <= set(anchors)
    assert {f"image-{index}" for index in range(60)} <= set(anchors)
    # The three worst images of each class, by that class's own IoU.
    ious = [np.diagonal(m) / np.maximum(m.sum(0) + m.sum(1) - np.diagonal(m), 1) for m in job.evaluation.matrices]
    for value in range(3):
        worst = min(range(60), key=lambda index: ious[index][value])
        assert f"#image-{worst}" in links


def test_only_the_chosen_images_are_asked_for_and_each_panel_decodes(
    make_job: Any, read_page: Any, tmp_path: Path
) -> None:
    job = make_job(LABELS, 60)
    asked: list[int] = []

    def sample(index: int) -> tuple[Any, Any, Any]:
        asked.append(index)
        return job.sample(index)

    page = open_page(write_report(tmp_path / "r.html", **{**job.arguments, "sample": sample}), read_page)
    assert len(asked) == len(set(asked)) <= 20
    pictures = page.all("img")
    assert len(pictures) == 4 * len(asked)
    for picture in pictures:
        decoded = Image.open(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2])))
        assert decoded.size == (int(picture["width"]), int(picture["height"]))
        assert picture["alt"]
    miou = [float(np.nanmean(row)) for row in (Evaluation_iou(matrix) for matrix in job.evaluation.matrices)]
    assert int(np.argmin(miou)) == asked[0]


def Evaluation_iou(matrix: np.ndarray) -> np.ndarray:
    union = matrix.sum(0) + matrix.sum(1) - np.diagonal(matrix)
    return np.where(union > 0, np.diagonal(matrix) / np.maximum(union, 1), np.nan)


def test_the_same_arguments_give_the_same_bytes(make_job: Any, tmp_path: Path) -> None:
    first, second = (
        write_report(tmp_path / name, **make_job(LABELS, 20).arguments).read_bytes() for name in ("a.html", "b.html")
    )
    assert first == second


def assert_harmless(page: Any) -> None:
    assert not {"script", "iframe", "object", "link", "form", "base"} & {name for name, _ in page.elements}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert all(link.startswith("#") for link in page.values("href"))
    assert all(source.startswith("data:image/") for source in page.values("src"))


def test_everything_from_data_is_escaped(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    labels = Labels(HOSTILE)
    job = make_job(labels, 25, ids=[f"{HOSTILE[index % 4]}{index}" for index in range(25)])
    path = write_report(tmp_path / "r.html", **job.arguments, title=HOSTILE[0], info={HOSTILE[1]: HOSTILE[2]})
    page = open_page(path, read_page)
    assert_harmless(page)
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[2], "a\ufffd\u202eb"} <= set(page.text)
    assert f"{HOSTILE[0]}0" in page.text


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=4, unique=True), title=st.text())
def test_any_text_leaves_the_page_whole(
    names: list[str], title: str, make_job: Any, read_page: Any, tmp_path: Path
) -> None:
    job = make_job(Labels(names), 2, ids=[title + "1", title + "2"], size=(6, 6))
    page = open_page(write_report(tmp_path / "r.html", **job.arguments, title=title, info={title: title}), read_page)
    assert_harmless(page)


IMAGES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Any]] = {
    "one channel": lambda rng, size: rng.integers(0, 256, (1, *size), np.uint8),
    "two channels": lambda rng, size: rng.integers(0, 256, (2, *size), np.uint8),
    "uint16": lambda rng, size: rng.integers(0, 65536, (1, *size), np.uint16),
    "float32, five channels": lambda rng, size: rng.normal(size=(5, *size)).astype(np.float32),
    "tensor in HWC memory": lambda rng, size: torch.from_numpy(rng.integers(0, 256, (*size, 3), np.uint8)).permute(
        2, 0, 1
    ),
    "uint16 tensor": lambda rng, size: torch.from_numpy(rng.integers(0, 65536, (1, *size), np.uint16)),
    "with NaN": lambda rng, size: np.where(rng.random((3, *size)) < 0.1, np.nan, 1.0),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_any_kind(kind: str, make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 3, image=IMAGES[kind])
    page = open_page(write_report(tmp_path / "r.html", **job.arguments), read_page)
    assert len(page.all("img")) == 12
    plain = kind in ("one channel", "tensor in HWC memory")
    assert any(text.startswith("Image shown: ") for text in page.text) is not plain


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (700, 2), (35, 51)])
def test_images_of_any_size(size: tuple[int, int], make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 3, size=size, ignored=0)
    assert len(open_page(write_report(tmp_path / "r.html", **job.arguments), read_page).all("img")) == 12


def test_a_binary_task_has_a_background_row(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(Labels(["lesion"], task="binary"), 12)
    page = open_page(write_report(tmp_path / "r.html", **job.arguments), read_page)
    assert {"background", "lesion"} <= set(page.text)


def test_scores_of_the_foreground_alone_have_one_row(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(Labels(["lesion"], task="binary"), 12)
    scores = Scores(job.evaluation.scores().matrix, names=["lesion"], task="binary")
    page = open_page(write_report(tmp_path / "r.html", **{**job.arguments, "scores": scores}), read_page)
    bars = [float(a["width"]) for a in page.all("rect") if a.get("class") == "fill"]
    assert bars == pytest.approx([100 * job.evaluation.scores().iou[1]], abs=0.01)
    assert any("only lesion counts, not the background" in text for text in page.text)


def test_another_protocol_is_named_and_explained(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 12)
    for protocol, said in (("per-image", "then the mean over images"), ("micro", "all pixels and all classes")):
        scores = Scores(np.stack(list(job.evaluation.matrices)), names=LABELS.names, protocol=protocol)
        page = open_page(write_report(tmp_path / "r.html", **{**job.arguments, "scores": scores}), read_page)
        assert any(f"\N{LEFT DOUBLE QUOTATION MARK}{protocol}\N{RIGHT DOUBLE QUOTATION MARK}" in t for t in page.text)
        assert any(said in text for text in page.text)


def test_many_classes_list_the_confusions_instead_of_the_matrix(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    labels = Labels([f"class {value}" for value in range(300)])  # int32 masks, ignored is -1
    page = open_page(write_report(tmp_path / "r.html", **make_job(labels, 12).arguments), read_page)
    assert any("too large for a page" in text for text in page.text)
    assert not [a for a in page.all("table") if a.get("class") == "matrix"]


def test_absent_classes_are_named_and_everything_ignored_is_no_crash(
    make_job: Any, read_page: Any, tmp_path: Path
) -> None:
    job = make_job(LABELS, 3, ignored=1.0)
    page = open_page(write_report(tmp_path / "r.html", **job.arguments), read_page)
    assert any("3 of 3 classes do not occur" in text and "(road, car, sky)" in text for text in page.text)
    assert any("100.0 % of the pixels are ignored" in text for text in page.text)


def test_a_perfect_result_has_no_confusions(make_job: Any, read_page: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 1)  # the first image is predicted without error
    page = open_page(write_report(tmp_path / "r.html", **job.arguments), read_page)
    assert "None: every pixel that counts is right." in page.text


def noise(rng: np.random.Generator, size: tuple[int, int]) -> Any:
    return rng.integers(0, 256, (3, *size), np.uint8)


def test_five_hundred_frames_stay_under_five_megabytes_even_of_noise(make_job: Any, tmp_path: Path) -> None:
    labels = Labels([f"class {value}" for value in range(40)])
    job = make_job(labels, 500, size=(12, 16))

    def sample(index: int) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(index)
        target, pred = rng.integers(0, 40, (2, 360, 480)).astype(np.uint8)
        return rng.integers(0, 256, (3, 360, 480), np.uint8), target, pred

    values = np.arange(40)
    boxes = np.stack([5 * values, 4 * values, 5 * values + 30, 4 * values + 40], axis=1)
    objects = Objects(12 * values, values, boxes, 100 * values + 1, 0 * values, 0 * values, values / 40)
    path = write_report(tmp_path / "r.html", **{**job.arguments, "sample": sample}, objects=objects)
    assert 1_000_000 < path.stat().st_size < 5_000_000


def test_a_report_is_written_whole_or_not_at_all(make_job: Any, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "r.html"
    write_report(path, **make_job(LABELS, 3).arguments)
    before = path.read_bytes()

    def fails(index: int) -> tuple[Any, Any, Any]:
        raise OSError("the image is gone")

    with pytest.raises(OSError, match="the image is gone"):
        write_report(path, **{**make_job(LABELS, 5).arguments, "sample": fails})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_bad_arguments_say_what_is_expected(make_job: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 3)
    path = tmp_path / "r.html"
    with pytest.raises(InputError, match="`evaluation` must have the 2 values that `labels` names; it has 3"):
        write_report(path, **{**job.arguments, "labels": Labels(["a", "b"])})
    with pytest.raises(InputError, match="`evaluation` must have the 3 values that `labels` names; it has 4"):
        write_report(path, **{**job.arguments, "evaluation": Evaluation(4)})
    with pytest.raises(
        InputError, match=r"`scores` must have the 3 values that `labels` names; its matrix is \(4, 4\)"
    ):
        write_report(path, **{**job.arguments, "scores": Scores(np.eye(4, dtype=int))})
    with pytest.raises(InputError, match="holds no image"):
        write_report(path, **{**job.arguments, "evaluation": Evaluation(3)})
    with pytest.raises(InputError, match="multilabel"):
        write_report(path, **{**job.arguments, "labels": Labels(["a", "b", "c"], task="multilabel")})
    with pytest.raises(DataError, match="is a folder: add a name"):
        write_report(tmp_path, **job.arguments)
    with pytest.raises(InputError, match=r"`sample\(0\)` \(frame-000\) must return \(image, target, pred\); got int"):
        write_report(path, **{**make_job(LABELS, 1).arguments, "sample": lambda index: 3})
    assert not path.exists()


def test_bad_pictures_say_whose_they_are(make_job: Any, tmp_path: Path) -> None:
    job = make_job(LABELS, 1)
    image, target, pred = job.sample(0)
    arguments = {**job.arguments}
    arguments["sample"] = lambda index: (image, target[:-1], pred)
    with pytest.raises(ShapeError, match=r"truth of frame-000 must have the image's size \(24, 32\); got \(23, 32\)"):
        write_report(tmp_path / "r.html", **arguments)
    arguments["sample"] = lambda index: (image, target, pred + 3)
    with pytest.raises(LabelError, match="in prediction of frame-000"):
        write_report(tmp_path / "r.html", **arguments)


def test_a_file_in_place_of_the_folder_is_named(make_job: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write to the output folder"):
        write_report(tmp_path / "file" / "r.html", **make_job(LABELS, 1).arguments)
