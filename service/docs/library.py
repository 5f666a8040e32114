"""The pages of the docs, as HTML and as passages. Reads files and is slow: call it on a thread."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = Path(__file__).parent
ADDRESS = "/docs/guide"

DOORS = {
    "For users": ("quick-start", "recipes", "command-line", "errors", "faq", "versions"),
    "For operators": ("operating", "settings", "runbooks"),
    "How it works": ("architecture", "design-notes"),
}
"""The navigation: for whom a page is. Every page stands behind one of them."""
_LINK = re.compile(r"(?P<slug>[a-z0-9-]+)\.md(?P<anchor>#.*)?")
_NAME_CELL = re.compile(r"<td><code>(\w+)</code></td>")
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_HEAD = re.compile(r"<th>(.*?)</th>")
_ROW = re.compile(r"<tr>\n<td.*?</tr>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True, slots=True)
class Passage:
    """A heading with its text, or one row of a table below it: the unit of search."""

    title: str
    url: str
    text: str
    is_row: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    slug: str
    title: str
    html: str
    passages: tuple[Passage, ...]


@cache
def pages() -> dict[str, Page]:
    """Every page by its slug, in the order of the navigation."""
    slugs = [slug for behind in DOORS.values() for slug in behind]
    return {slug: _page(slug, slugs) for slug in slugs}


def _page(slug: str, slugs: Sequence[str]) -> Page:
    text = (FOLDER / f"{slug}.md").read_text("utf-8")
    tokens = _markdown.parse(text)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(_plain(tokens[index + 1])))
        for child in token.children or ():
            if child.type == "link_open" and (link := _LINK.fullmatch(str(child.attrGet("href")))):
                if link["slug"] not in slugs:
                    raise ValueError(f"{slug}.md links to {link['slug']}.md, which does not exist")
                child.attrSet("href", f"{ADDRESS}/{link['slug']}{link['anchor'] or ''}")
    title = next(_plain(tokens[index + 1]) for index, token in enumerate(tokens) if token.type == "heading_open")
    html = _markdown.renderer.render(tokens, _markdown.options, {})
    return Page(slug, title, _scrollable(html), tuple(_passages(slug, title, tokens)))


def anchor(heading: str) -> str:
    """The id of a heading in its page, formed as on the usual code hosts."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _passages(slug: str, page_title: str, tokens: Sequence[Token]) -> Iterator[Passage]:
    title, url, texts = page_title, f"{ADDRESS}/{slug}", list[str]()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            if texts:
                yield Passage(title, url, "\n".join(texts))
            heading = _plain(tokens[index + 1])
            title = heading if heading == page_title else f"{page_title}: {heading}"
            url, texts = f"{ADDRESS}/{slug}#{anchor(heading)}", []
        elif token.type == "tr_open" and token.level >= 2:
            cells = [cell for cell in _row(tokens[index + 1 :]) if cell]
            if tokens[index + 1].type == "td_open":
                yield Passage(title, url, ": ".join(cells), is_row=True)
        elif token.type == "inline" and tokens[index - 1].type == "paragraph_open":
            texts.append(_plain(token))
        elif token.type == "fence":
            texts.append(token.content.strip())
    if texts:
        yield Passage(title, url, "\n".join(texts))


def _row(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "tr_close":
            return
        if token.type == "inline":
            yield _plain(token)


def _plain(token: Token) -> str:
    """An inline token's words."""
    pieces = ("\n" if child.type == "softbreak" else child.content for child in token.children or ())
    return " ".join("".join(pieces).split())


def _scrollable(html: str) -> str:
    """Let wide tables, code and pictures scroll by themselves, also by keyboard, and let the rows of tables be linked
    to."""
    html = _TABLE.sub(_labelled, _named(html)).replace("<p><img", '<p class="wide-picture" tabindex="0"><img')
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    return html.replace("<pre>", '<pre tabindex="0">')


def _labelled(table: re.Match[str]) -> str:
    """Say at each cell of a table of three columns or more which column it is in: on a phone the cells of a row stand
    one below the other."""
    heads = [_TAG.sub("", head) for head in _HEAD.findall(table[0])]
    if len(heads) < 3:
        return table[0]

    def row(found: re.Match[str]) -> str:
        first, *others = found[0].split("<td")[1:]
        cells = (f'<td data-column="{head}"{cell}' for head, cell in zip(heads[1:], others, strict=True))
        return "".join(("<tr>\n<td", first, *cells))

    return _ROW.sub(row, table[0])


def _named(html: str) -> str:
    """Give each cell that holds a name its id, unless an earlier table has it, and let long names break at a `_`."""
    seen = set[str]()

    def cell(found: re.Match[str]) -> str:
        name = found[1]
        place = "" if name in seen else f' id="{name}"'
        seen.add(name)
        return f"<td{place}><code>{name.replace('_', '_<wbr>')}</code></td>"

    return _NAME_CELL.sub(cell, html)
