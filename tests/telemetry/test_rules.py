"""Recording rules and alerts: Prometheus's own tool judges them, and each alert leads to a runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api.routes import ROUTES
from service.docs import library
from tests.support.doc_blocks import ROOT
from tests.support.tools import require_tool
from tests.telemetry.test_metrics import CONTRACT, PROCESS, SHARED

FOLDER = ROOT / "deploy" / "prometheus"
ALERTS = FOLDER / "rules" / "alerts.yml"
TESTS = sorted((FOLDER / "tests").glob("*.test.yml"))
NAMES = re.compile(r"(?<![\w:\"])(?:job(?:_instance)?:[\w:]+|batch_\w+|process_\w+|up)\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def rules(path: Path) -> list[dict[str, Any]]:
    """All rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """All alerts."""
    return rules(ALERTS)


def test_prometheus_accepts_the_configuration() -> None:
    """The scrape configuration and every rule."""
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_each_alert_is_quiet_and_then_fires(path: Path) -> None:
    """`promtool test rules`, wording included."""
    promtool("test", "rules", str(path))


def test_alertmanager_accepts_the_example_and_sends_each_severity_its_way() -> None:
    """A page to the pager, a ticket to the tickets; every alert that is named there exists."""
    path = FOLDER / "alertmanager.yml"
    amtool = require_tool("amtool")

    subprocess.run([amtool, "check-config", path], check=True, capture_output=True)
    ways = {
        severity: subprocess.run(
            [amtool, "config", "routes", "test", f"--config.file={path}", f"severity={severity}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for severity in ("page", "ticket")
    }

    assert ways == {"page": "pager", "ticket": "tickets"}
    names = {alert["alert"] for alert in alerts()}
    patterns = [part for found in re.findall(r'alertname=~?"([^"]+)"', path.read_text()) for part in found.split("|")]
    assert patterns
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in names)] == []


def test_no_alert_is_untested() -> None:
    """Each has a minute in which it is quiet, and the next one, in which it fires."""
    documents = [yaml.safe_load(path.read_text()) for path in TESTS]
    tests = {test["name"]: test["alert_rule_test"] for document in documents for test in document["tests"]}

    assert {name.partition(":")[0] for name in tests} == {alert["alert"] for alert in alerts()}
    for name, (quiet, firing) in tests.items():
        assert quiet["alertname"] == firing["alertname"] == name.partition(":")[0]
        assert int(quiet["eval_time"][:-1]) + 1 == int(firing["eval_time"][:-1])
        assert "exp_alerts" not in quiet
        assert len(firing["exp_alerts"]) == 1


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_tells_what_to_do(alert: dict[str, Any]) -> None:
    """Summary, description, and a section in the runbooks: its severity, what it means, what to look at, what to do."""
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook_url"].partition("/docs/guide/")[2].partition("#")
    text = (ROOT / "service" / "docs" / f"{page}.md").read_text()
    sections = {library.anchor(part.partition("\n")[0]): part for part in re.split(r"^#+ ", text, flags=re.MULTILINE)}
    assert all(f"**{words}:**" in sections[anchor] for words in ("Means", "Look at", "Do"))
    assert f"**Severity:** {alert['labels']['severity']}.\n" in sections[anchor]


def test_rules_stand_on_series_that_exist() -> None:
    """Every name is one of the contract, or recorded here."""
    recorded = {rule["record"] for path in (FOLDER / "rules").glob("*.yml") for rule in rules(path) if "record" in rule}
    series = {f"batch_{name}" for name in CONTRACT | SHARED} | PROCESS | {"up"} | recorded
    series |= {name + suffix for name in series for suffix in SUFFIXES if name.endswith(("seconds", "bytes"))}

    found = [rule for path in (FOLDER / "rules").glob("*.yml") for rule in rules(path)]
    assert len(found) > 10
    for rule in found:
        names = set(NAMES.findall(rule["expr"]))
        assert names, rule
        assert names <= series, rule


def test_the_objective_is_about_every_route_that_downloads() -> None:
    """Share links too: who downloads by one feels a failure as every caller does."""
    text = "".join(path.read_text() for path in (FOLDER / "rules").glob("*.yml"))
    text += (ROOT / "grafana" / "dashboards" / "service.json").read_text()
    patterns = set(re.findall(r'route=~\\?"(\(/v1\).*?)\\?"', text))
    downloads = {route.canonical for route in ROUTES if route.buys}

    assert patterns
    assert "/s/{token}/download" in downloads
    for pattern in patterns:
        assert [route for route in downloads if not re.fullmatch(pattern, route)] == []


def promtool(*arguments: str) -> None:
    """Run it; what it says is the reason when it fails."""
    ended = subprocess.run([require_tool("promtool"), *arguments], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
