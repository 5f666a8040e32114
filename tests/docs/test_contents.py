"""The docs know every code, every setting and every page that there is."""

import re
from pathlib import Path

import pytest

from service import problems
from service.docs import library
from service.problems import Problem
from service.reasons import Reason, UploadReason
from service.settings import Settings
from tests.docs.blocks import PAGES, ROOT

ERRORS = (ROOT / "service" / "docs" / "errors.md").read_text()
README = (ROOT / "README.md").read_text()


def codes() -> list[type[Problem]]:
    """Every problem that has a code."""
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, type) and issubclass(kind, Problem)]
    return [kind for kind in kinds if hasattr(kind, "code")]


@pytest.mark.parametrize("kind", codes(), ids=lambda kind: kind.code)
def test_every_error_is_explained(kind: type[Problem]) -> None:
    """With its code and its status."""
    assert re.search(rf"^\| `{kind.code}` \| {kind.status.value} \| .+ \|", ERRORS, re.MULTILINE)


@pytest.mark.parametrize("reason", [*Reason, *UploadReason])
def test_every_reason_is_explained(reason: Reason | UploadReason) -> None:
    """Why an image is missing, and why a file was not uploaded."""
    assert re.search(rf"^\| `{reason}` \| [a-zA-Z]", ERRORS, re.MULTILINE)


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_is_explained(name: str) -> None:
    """On the settings page, in words."""
    rows = [one.text for one in library.pages()["settings"].passages if one.text.startswith(f"{name}: ")]

    assert len(rows) == 1
    assert len(rows[0].removeprefix(f"{name}: ")) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Also in the repository, where the pages are read as files; with an anchor that exists."""
    for target, anchor in re.findall(r"\]\((?!https?:|/|#)([^)#]+)(?:#([^)]*))?\)", page.read_text()):
        path = page.parent / target
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in [library.anchor(heading) for heading in headings], f"{target}#{anchor}"
