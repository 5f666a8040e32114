"""Makes the dashboards: `python -m grafana.make` writes them to `grafana/dashboards/`. Needs grafana-foundation-sdk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh

from grafana import service, store_and_jobs
from grafana.panels import SOURCE, Row

FOLDER = Path(__file__).parent / "dashboards"

DASHBOARDS: Mapping[str, tuple[str, Sequence[Row]]] = {
    "service": ("Autoenhance Batch", service.ROWS),
    "store-and-jobs": ("Autoenhance Batch: store, jobs and callers", store_and_jobs.ROWS),
}


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
        .with_variable(
            dashboard.QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query("label_values(batch_build_info, job)")
            .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        )
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
