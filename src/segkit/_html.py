"""HTML that is escaped by default: elements, tables, and the shell of a page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence

__all__ = ["Html", "escape", "fragment", "page", "swatch", "table", "tag"]

_VOID = frozenset({"br", "hr", "img", "link", "meta"})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Text that is markup already. Whatever is not `Html` is escaped where it enters an element.

    A notebook shows it as what it means.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def escape(value: object) -> Html:
    """Return ``value`` as markup: `Html` as it stands, anything else as escaped text.

    Control characters and lone surrogates (undecodable file names have them) become U+FFFD: no page may hold them.

    Example:
        >>> escape("<script>")
        '&lt;script&gt;'
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(_CONTROL.sub("\ufffd", str(value)), quote=True))


def fragment(parts: Iterable[object], between: str = "") -> Html:
    """Join ``parts``, each escaped unless it is `Html`."""
    return Html(escape(between).join(escape(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; its children and its attributes' values are escaped.

    Args:
        name: the element's name.
        *children: text, or `Html`; none for elements that have none, such as ``img``.
        **attributes: a trailing underscore is dropped (``class_``), others become hyphens (``aria_label``); ``None``
            and ``False`` leave the attribute out, ``True`` gives it no value.

    Example:
        >>> tag("td", "a < b", class_="number", title=None)
        '<td class="number">a &lt; b</td>'
    """
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in _VOID:
        assert not children, f"<{name}> holds nothing"
        return Html(opened)
    return Html(f"{opened}{fragment(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    # The page's policy forbids inline style and script, and it links to nothing outside itself.
    assert not name.startswith(("on", "style")), name
    assert name not in ("href", "src") or str(value).startswith(("#", "data:image/")), str(value)[:80]
    return f" {name}" if value is True else f' {name}="{escape(value)}"'


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "") -> Html:
    """Return a plain table, such as a notebook shows; every cell is escaped unless it is `Html`.

    Example:
        >>> table(["class", "IoU"], [["a < b", 0.5]])
        '<table><tr><th>class</th><th>IoU</th></tr><tr><td>a &lt; b</td><td>0.5</td></tr></table>'
    """
    titles = tag("tr", *(tag("th", cell) for cell in head))
    body = (tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    return tag("table", tag("caption", caption) if caption else Html(), titles, *body)


def swatch(color: Iterable[int]) -> Html:
    """Return a small square of one colour, drawn as SVG: colour from data needs no inline style."""
    square = tag("rect", width="12", height="12", rx="2.5", fill="#" + "".join(f"{part:02x}" for part in color))
    return tag("svg", square, class_="swatch", viewBox="0 0 12 12", width="12", height="12", aria_hidden="true")


def page(title: str, body: Html, style: str) -> Html:
    """Return a whole page that loads nothing, runs nothing and sends nothing.

    Its Content-Security-Policy allows inline pictures and this one style sheet (by its hash); no script, no address.

    Args:
        title: plain text.
        body: the content.
        style: a style sheet.
    """
    assert "</" not in style, "a style sheet that closes its element"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = fragment(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Html(style)),
        ],
        "\n",
    )
    return Html(f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n")
