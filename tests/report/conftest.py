"""A small evaluation with pictures, and a page read back as a browser's parser would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from segkit.labels import Labels
from segkit.metrics import Evaluation


@dataclass
class Job:
    """What `write_report` takes, made from ``num_images`` generated masks."""

    labels: Labels
    evaluation: Evaluation
    sample: Callable[[int], tuple[Any, Any, Any]]

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "scores": self.evaluation.scores(),
            "evaluation": self.evaluation,
            "labels": self.labels,
            "sample": self.sample,
        }


def _job(
    labels: Labels,
    num_images: int,
    *,
    size: tuple[int, int] = (24, 32),
    image: Callable[[np.random.Generator, tuple[int, int]], Any] | None = None,
    ids: list[str] | None = None,
    ignored: float = 0.1,
) -> Job:
    values = len(labels.value_names)

    def sample(index: int) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng((7, index))
        shape = (-(-size[0] // 6), -(-size[1] // 6))  # masks of blocks, as regions are
        target = rng.integers(0, values, shape).repeat(6, 0).repeat(6, 1)[: size[0], : size[1]]
        pred = np.where(rng.random(size) < (index % 10) / 12, rng.integers(0, values, size), target)
        target = np.where(rng.random(size) < ignored, labels.ignore_index, target)
        shown = rng.integers(0, 256, (3, *size), np.uint8) if image is None else image(rng, size)
        return shown, target.astype(labels.mask_dtype), pred.astype(labels.mask_dtype)

    evaluation = Evaluation(values, names=labels.value_names, ignore_index=labels.ignore_index)
    for index in range(num_images):
        _, target, pred = sample(index)
        evaluation.update(pred, target, ids=[ids[index] if ids else f"frame-{index:03d}"])
    return Job(labels, evaluation, sample)


@pytest.fixture
def make_job() -> Callable[..., Job]:
    return _job


@dataclass
class Page:
    """Elements, text and links of a page."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {attrs}"
        self.page.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.page.text.append(data)


def _read(text: str) -> Page:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open, f"left open: {reader.open}"
    return reader.page


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    return _read
