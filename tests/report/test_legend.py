"""Labels as markup: they know what a page or a notebook shows of them."""

from __future__ import annotations

from typing import Any

from segkit.labels import Labels


def test_a_legend_has_each_value_with_its_colour(read_page: Any) -> None:
    labels = Labels(["<i>road", "car"], palette=[(1, 2, 255), (0, 16, 0)])
    page = read_page(str(labels.legend()))
    assert [a["fill"] for a in page.all("rect")] == ["#0102ff", "#001000"]
    assert "".join(page.text).split() == ["<i>road", "car"]
    assert labels.legend()._repr_html_() == labels.legend()


def test_a_binary_legend_has_the_background(read_page: Any) -> None:
    page = read_page(str(Labels(["lesion"], task="binary").legend()))
    assert "".join(page.text).split() == ["background", "lesion"]


def test_a_notebook_shows_values_names_and_what_is_ignored(read_page: Any) -> None:
    page = read_page(Labels(["<i>road", "car"], ignore_index=9)._repr_html_())
    assert [text.strip() for text in page.text] == [
        "multiclass labels", "value", "class", "0", "<i>road", "1", "car", "9", "ignored",
    ]  # fmt: skip
