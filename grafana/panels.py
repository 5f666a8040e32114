"""What our panels have in common: a title, a sentence, a unit, and a query or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
"""The Prometheus that the dashboard's variable names: its uid is another in each Grafana."""
HEIGHT = 8
"""Of a panel, in grid rows; the dashboard is 24 columns wide."""

PER_SECOND = "suffix:/s"
"""Unit of what is neither a request nor a byte."""

# What a legend's word means is seen before it is read. Shades, for several may mean the same.
_COLORS = {
    "^(2..|success|downloaded|complete|delivered|hit)$": "green",
    "^(3..|stored|joined|processing)$": "blue",
    "^(4..|partial|retry|stale|queued)$": "orange",
    "^(5..|failure|failed|error)$": "red",
    "^(cancelled|stopped|none)$": "purple",
}

CHOSEN = 'job="$job",instance=~"$instance"'
"""Selects what the variables of the dashboard select."""
RUNBOOKS = "${service}/docs/guide/runbooks"
"""The address of the runbooks, at the service that the variable names."""

_GOOD, _FAIR, _BAD = "green", "orange", "red"

Queries = Mapping[str, str]
"""Expressions by legend; `{{label}}` stands for a label's value."""


@dataclass(frozen=True)
class Limits:
    """From where on a value is no longer good: `fair` asks for attention, `bad` for action.

    `low`: less is worse. `runbook`: the section that says what to do.
    """

    fair: float | None
    bad: float
    low: bool = False
    runbook: str | None = None

    def thresholds(self) -> dashboard.ThresholdsConfig:
        """The same for Grafana, where each colour holds from its value up."""
        above = [(self.fair, _FAIR), (self.bad, _BAD)] if not self.low else [(self.bad, _FAIR), (self.fair, _GOOD)]
        steps = [Threshold(value=None, color=_BAD if self.low else _GOOD)]
        steps += [Threshold(value=value, color=color) for value, color in above if value is not None]
        return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)

    def links(self) -> list[Builder[DashboardLink]]:
        """To the runbook."""
        if self.runbook is None:
            return []
        link = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK)
        return [link.url(f"{RUNBOOKS}#{self.runbook}").target_blank(target_blank=True)]


@dataclass(frozen=True)
class Row:
    """Panels that answer one question."""

    title: str
    panels: Sequence[stat.Panel | timeseries.Panel]


def share(part: str, whole: str) -> str:
    """A ratio that is 0 where nothing of the part happened."""
    return f"({part} or vector(0)) / {whole}"


def rate(series: str, by: str = "", matching: str = "") -> str:
    """Per-second rate of a counter over all instances, summed by labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({_of_job(series, matching)}[$__rate_interval]))"


def _of_job(series: str, matching: str) -> str:
    return f"{series}{{{CHOSEN}{',' + matching if matching else ''}}}"


def occurred(series: str, by: str, matching: str = "") -> str:
    """The same of what occurred in the time that is looked at, else `none`: few of many values are in the legend."""
    ever = f"sum by ({by}) (increase({_of_job(series, matching)}[$__range] @ end())) > 0"
    none = f'label_replace(vector(0), "{by.partition(",")[0]}", "none", "", "")'
    return f"({rate(series, by, matching)} and {ever}) or on () ({none} unless on () ({ever}))"


def quantiles(histogram: str) -> Queries:
    """P50, P95 and P99 of a histogram over all instances."""
    buckets = rate(f"{histogram}_bucket", "le")
    return {f"P{percent}": f"histogram_quantile(0.{percent}, {buckets})" for percent in (50, 95, 99)}


def lines(
    title: str,
    sentence: str,
    unit: str,
    queries: Queries,
    *,
    span: int = 8,
    stacked: bool = False,
    top: float | None = None,
    states: Sequence[str] = (),
    limits: Limits | None = None,
) -> timeseries.Panel:
    """Values over time. `states` are names of values: 0 is shown as the first, 1 as the second.

    `limits` are shown as lines behind them.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(sentence)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(HEIGHT)
        .span(span)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(25 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if top is not None:
        panel = panel.max(top)
    if states:
        names = {str(value): ValueMappingResult(text=state, index=value) for value, state in enumerate(states)}
        mapping: list[ValueMapping] = [ValueMap(options=names)]
        panel = panel.mappings(mapping).decimals(0).line_interpolation(LineInterpolation.STEP_AFTER)
    if limits is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(limits.thresholds()).thresholds_style(dashed).links(limits.links())
    for legend, color in _COLORS.items():
        shades = DynamicConfigValue("color", {"mode": FieldColorModeId.SHADES.value, "fixedColor": color})
        panel = panel.override_by_regexp(legend, [shades])
    for index, (legend, expression) in enumerate(queries.items()):
        panel = panel.with_target(_target(index, legend, expression))
    return panel


def figure(
    title: str,
    sentence: str,
    unit: str,
    expression: str,
    *,
    span: int = 4,
    decimals: int = 0,
    limits: Limits | None = None,
) -> stat.Panel:
    """One number, now, with its recent course behind it; with `limits` its colour says whether it is good."""
    panel = (
        stat.Panel()
        .title(title)
        .description(sentence)
        .datasource(SOURCE)
        .unit(unit)
        .decimals(decimals)
        .height(HEIGHT // 2)
        .span(span)
        .color_mode(BigValueColorMode.NONE if limits is None else BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .with_target(_target(0, title, expression))
    )
    return panel if limits is None else panel.thresholds(limits.thresholds()).links(limits.links())


def _target(index: int, legend: str, expression: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(SOURCE)
        .expr(expression)
        .legend_format(legend)
        .ref_id("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index])
        .exemplar("_bucket" in expression)
    )
