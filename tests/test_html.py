from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit._html import Html, escape, fragment, page, swatch, table, tag

# What a page may not hold, and what a parser turns into something else, is the subject of a test of its own.
TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]))


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(TEXT, TEXT)
def test_text_and_attributes_come_back_as_they_were(text: str, title: str) -> None:
    reader = read(tag("td", text, title=title))
    assert reader.tags == [("td", {"title": title})]
    assert reader.text == text


@given(TEXT)
def test_nothing_but_markup_enters_unescaped(text: str) -> None:
    assert not re.search(r"[<>\"']", escape(text))
    assert escape(escape(text)) == escape(text)
    assert fragment([text, Html("<br>"), text]) == f"{escape(text)}<br>{escape(text)}"


def test_control_characters_and_lone_surrogates_are_replaced() -> None:
    undecodable = b"a\xff".decode("utf-8", "surrogateescape")
    assert escape(undecodable) == "a\ufffd"
    assert escape("a\x00b\x1b\tc\n") == "a\ufffdb\ufffd\tc\n"


def test_attributes_that_are_left_out_or_have_no_value() -> None:
    markup = tag("details", class_=None, hidden=False, open=True, aria_label="x", id="")
    assert markup == '<details open aria-label="x" id=""></details>'


@pytest.mark.parametrize("attributes", [{"style": "a"}, {"onclick": "a"}, {"href": "http://x"}, {"src": "x.png"}])
def test_what_the_policy_forbids_is_our_own_bug(attributes: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        tag("a", **attributes)


def test_void_elements_hold_nothing() -> None:
    assert tag("br") == "<br>"
    with pytest.raises(AssertionError):
        tag("img", "text")


def test_swatch_has_its_colour() -> None:
    fills = [attributes.get("fill") for _, attributes in read(swatch((0, 15, 255))).tags]
    assert fills == [None, "#000fff"]


def test_page_allows_its_own_style_alone() -> None:
    style = "p > a { color: red }"
    text = page("<b>", tag("p", "&"), style)
    reader = read(text)
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert policy.split("; ") == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert text.startswith("<!doctype html>\n<html")
    assert f"<style>{style}</style>" in text
    assert "<title>&lt;b&gt;</title>" in text
    with pytest.raises(AssertionError):
        page("t", Html(), "a</style>")


def test_a_table_escapes_its_cells_and_keeps_markup() -> None:
    reader = read(table(["<i>"], [[1], [Html("<br>")]], caption="a & b"))
    assert [name for name, _ in reader.tags] == ["table", "caption", "tr", "th", "tr", "td", "tr", "td", "br"]
    assert reader.text == "a & b<i>1"


def test_a_notebook_shows_markup_as_what_it_means() -> None:
    assert tag("b", "x")._repr_html_() == "<b>x</b>"
