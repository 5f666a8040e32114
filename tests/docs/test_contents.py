"""The docs know every code, every setting and every page that there is."""

import re
from pathlib import Path

import pytest

from service.docs import library
from service.docs.tables import settings_table, with_code
from service.problems import Problem
from service.reasons import Reason, UploadReason
from service.settings import Settings
from tests.docs.blocks import PAGES, ROOT

README = (ROOT / "README.md").read_text()


def rows(page: str) -> list[str]:
    """The text of every row of the tables of a page, its cells joined."""
    return [one.text for one in library.pages()[page].passages if one.is_row]


def readme_settings() -> list[tuple[tuple[str, ...], str]]:
    """The rows of the README's table of settings: the names, and what is said of their defaults."""
    table = README.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z].*?) \| .* \| (.*?) ?\|$", table, re.MULTILINE)
    return [(tuple(re.findall(r"`(\w+)`", names)), default) for names, default in rows]


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
    places = [kind.type_uri().partition("#")[2] for kind in with_code()]
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
    (row,) = [row for row in rows("settings") if row.startswith(f"{name}: ")]

    assert len(row.removeprefix(f"{name}: ")) > 10


def test_the_readme_lists_every_setting_and_no_other() -> None:
    """Once each, a few to a row: whoever installs the service reads that table first."""
    listed = [name for names, _ in readme_settings() for name in names]

    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)


def test_the_readme_tells_the_defaults() -> None:
    """Those that are values, in the sequence of their names; what is unset is told in words, or not at all."""
    real = dict(re.findall(r"^\| `(\w+)` \| .* \| `(.+)` \|$", settings_table(), re.MULTILINE))

    told = {names: re.findall(r"`([^`]+)`", words) for names, words in readme_settings()}

    assert told["DATA_DIR",] == ["./data"]
    for names, values in told.items():
        assert [real[name] for name in names if name in real] == [one for one in values if one not in real], names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Also in the repository, where the pages are read as files; with an anchor that exists."""
    for target, anchor in re.findall(r"\]\((?!https?:|/|#)([^)#]+)(?:#([^)]*))?\)", page.read_text()):
        path = page.parent / target
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in [library.anchor(heading) for heading in headings], f"{target}#{anchor}"
