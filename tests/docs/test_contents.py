"""The docs know every code, every setting and every page that there is."""

import re
from pathlib import Path

import pytest

from service.docs import library
from service.docs.tables import filled, with_code
from service.problems import Problem
from service.reasons import Reason, UploadReason
from service.settings import Settings
from tests.support.doc_blocks import PAGES


def rows(page: str) -> list[str]:
    """The text of every row of the tables of a page, its cells joined."""
    return [one.text for one in library.pages()[page].passages if one.is_row]


@pytest.mark.parametrize("kind", with_code(), ids=lambda kind: kind.code)
def test_every_error_is_explained(kind: type[Problem]) -> None:
    """Once, with its code, its status, its title and what to do, at the place that the type of its documents names."""
    (row,) = [row for row in rows("errors") if row.startswith(f"{kind.code}: {kind.status.value}: ")]
    plain = row.replace("`", "")

    assert kind.title in plain
    assert kind.advice.replace("`", "") in plain
    assert kind.advice.endswith(".")
    assert not kind.title.endswith(".")


def test_the_type_of_an_error_is_the_place_of_its_row() -> None:
    """Each has one; no two share one."""
    html = library.pages()["errors"].html
    places = [kind.code for kind in with_code()]
    assert len(places) > 40

    for place in places:
        assert html.count(f'id="{place}"') == 1, place


@pytest.mark.parametrize("reason", [*Reason, *UploadReason])
def test_every_reason_is_explained(reason: Reason | UploadReason) -> None:
    """Why an image is missing, and why a file was not uploaded."""
    assert f"{reason}: {reason.advice}" in rows("errors")


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_is_explained(name: str) -> None:
    """On the settings page, in words."""
    assert Settings.model_fields[name.lower()].description, f"{name}: describe it below the field"
    meanings = [row.removeprefix(f"{name}: ") for row in rows("settings") if row.startswith(f"{name}: ")]

    assert len(meanings) == 1, f"{name}: run make docs"
    assert len(meanings[0]) > 10, f"{name}: describe it below the field"


def test_the_cells_of_a_wide_table_name_their_column() -> None:
    """Where a row has three cells or more, all but the first say what they are; of two, none does."""
    labelled = {slug: page.html.count("<td data-column=") for slug, page in library.pages().items()}
    cells = {slug: page.html.count("<td") for slug, page in library.pages().items()}
    rows = {slug: page.html.count("<tr>\n<td") for slug, page in library.pages().items()}

    assert labelled["settings"] == cells["settings"] - rows["settings"] > 0
    assert '<td data-column="What to do">' in library.pages()["errors"].html
    assert labelled["command-line"] == 0 < cells["command-line"]


def test_every_page_stands_behind_one_door() -> None:
    """For users, for operators, or how it works: a page that is written has its place in the navigation."""
    behind = [slug for slugs in library.DOORS.values() for slug in slugs]

    assert sorted(behind) == sorted(path.stem for path in library.FOLDER.glob("*.md"))


@pytest.mark.parametrize(("page", "tables"), [("settings", 1), ("errors", 3)])
def test_the_tables_in_a_page_are_those_of_the_code(page: str, tables: int) -> None:
    """`make docs` after every change of settings, errors and reasons: the pages are read in the repository too."""
    text = (library.FOLDER / f"{page}.md").read_text()

    assert text.count("(made by make docs: ") == tables
    assert filled(text) == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Also in the repository, where the pages are read as files; with an anchor that exists."""
    for target, anchor in re.findall(r"\]\((?!https?:|/|#)([^)#]+)(?:#([^)]*))?\)", page.read_text()):
        path = page.parent / target
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in [library.anchor(heading) for heading in headings], f"{target}#{anchor}"
