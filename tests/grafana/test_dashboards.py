"""The dashboards in the repository: as their script makes them, and complete."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from grafana.make import DASHBOARDS, FOLDER, make
from service.docs import library
from tests.support.doc_blocks import ROOT


def panels(name: str) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard, rows left out."""
    document = json.loads((FOLDER / f"{name}.json").read_text())
    return (panel for panel in document["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_what_is_kept_is_what_the_script_makes(name: str) -> None:
    """A change by hand would be lost: `python -m grafana.make` after every change of the script."""
    assert (FOLDER / f"{name}.json").read_text() == make(name)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_says_what_it_shows(name: str) -> None:
    """A title, a sentence, a unit, and something to ask for."""
    found = list(panels(name))
    assert len(found) > 3
    for panel in found:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_what_is_judged_leads_to_what_to_do(name: str) -> None:
    """A panel with limits has a link to a section of the runbooks that exists."""
    text = (ROOT / "service" / "docs" / "runbooks.md").read_text()
    sections = {library.anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    judged = [
        panel
        for panel in panels(name)
        if len(panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])) > 1
    ]

    assert len(judged) >= 5
    for panel in judged:
        (link,) = panel["links"]
        address, _, anchor = link["url"].partition("#")
        assert (address, anchor in sections) == ("${service}/docs/guide/runbooks", True), panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_an_import_finds_its_data_source(name: str) -> None:
    """The uid of a Prometheus is another in each Grafana: all is asked of the one that is chosen."""
    text = (FOLDER / f"{name}.json").read_text()
    (source, *_) = json.loads(text)["templating"]["list"]

    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${source}", f"autoenhance-batch-{name}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_what_can_be_chosen_selects(name: str) -> None:
    """Every panel of series of ours is of the job, and of the instances where series have one."""
    document = json.loads((FOLDER / f"{name}.json").read_text())

    assert [variable["name"] for variable in document["templating"]["list"]] == ["source", "job", "instance", "service"]
    for panel in panels(name):
        for target in panel["targets"]:
            selectors = re.findall(r"(\S+?)\{([^}]*)\}", target["expr"])
            assert selectors
            for series, selector in selectors:
                assert 'job="$job"' in selector
                assert ('instance=~"$instance"' in selector) is not series.rpartition("(")[2].startswith(
                    ("job:", "job_")
                )


def test_titles_differ() -> None:
    """What one says to a colleague names one panel."""
    titles = [panel["title"] for name in DASHBOARDS for panel in panels(name)]

    assert len(set(titles)) == len(titles)


def test_runbooks_send_people_to_panels_that_exist() -> None:
    """Whoever was just woken shall not look for one that is called otherwise."""
    alerts = (ROOT / "service" / "docs" / "runbooks.md").read_text().partition("## Alerts")[2]
    titles = {panel["title"] for name in DASHBOARDS for panel in panels(name)}

    named = set(re.findall(r'"([^"]+)"', alerts))

    assert named
    assert named - titles == set()
