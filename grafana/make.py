"""Makes the dashboards: `python -m grafana.make` writes them to `grafana/dashboards/`. Needs grafana-foundation-sdk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
)

from grafana import service, store_and_jobs
from grafana.panels import RUNBOOKS, SOURCE, Row

FOLDER = Path(__file__).parent / "dashboards"

DASHBOARDS: Mapping[str, tuple[str, Sequence[Row]]] = {
    "service": ("Autoenhance Batch", service.ROWS),
    "store-and-jobs": ("Autoenhance Batch: store, jobs and callers", store_and_jobs.ROWS),
}


_SERVICE = "http://localhost:8000"
# Instances that began within the step that is looked at; the first one that had a version.
_RESTARTS = 'time() - process_start_time_seconds{job="$job",instance=~"$instance"} < $__interval_ms / 1000'
_RELEASES = (
    'count by (version) (batch_build_info{job="$job"})'
    ' unless on (version) count by (version) (last_over_time(batch_build_info{job="$job"}[1h] offset $__interval))'
)


def _annotation(name: str, color: str, expression: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(color).expr(expression)
    )


def _link(title: str, url: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)
    return link.icon("doc").target_blank(target_blank=True)


def make(name: str) -> str:
    """One dashboard as JSON."""
    title, contents = DASHBOARDS[name]
    made = (
        dashboard.Dashboard(title)
        .uid(f"autoenhance-batch-{name}")
        .tags(["autoenhance-batch"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query("label_values(batch_build_info, job)")
            .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        )
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Instance")
            .datasource(SOURCE)
            .query('label_values(batch_build_info{job="$job"}, instance)')
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
            .current(VariableOption(text="All", value="$__all", selected=True))
        )
        .with_variable(
            dashboard.TextBoxVariable("service").label("Service, for links to runbooks").default_value(_SERVICE)
        )
        .annotation(_annotation("Restarts", "orange", _RESTARTS))
        .annotation(_annotation("Releases", "blue", _RELEASES))
        .link(_link("Runbooks", RUNBOOKS))
        .link(_link("Metrics", "${service}/docs/guide/operating#metrics"))
    )
    for row in contents:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(make(name))


if __name__ == "__main__":
    main()
