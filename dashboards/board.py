"""What a dashboard is made of, and its JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from grafana_foundation_sdk.builders import common as made
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders.bargauge import Panel as Bars
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.promql import ANY_WORKLOAD, CHOSEN, NODE_LABEL, WORKLOADS

Unit = Literal["short", "none", "s", "bytes", "binBps", "pps", "cps", "percentunit", "dtdurations"]
"""Grafana's names: `short` a number, `cps` something a second, `percentunit` a share (of time: CPUs)."""
Kind = Literal["lines", "areas", "number", "bars", "table"]

TAG: Final = "obi"
_STORE: Final = dashboard.DataSourceRef("prometheus", "${datasource}")
_EVERYTHING: Final = dashboard.VariableOption(selected=True, text="All", value="$__all")
_PLUGINS: Final = {"traces": "tempo", "logs": "loki"}
_REF_IDS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Jump:
    """From a panel to the spans or log events behind it."""

    title: str
    store: Literal["traces", "logs"]
    query: str
    """TraceQL or LogQL."""

    def url(self) -> str:
        """Where Grafana's Explore asks it, in the dashboard's time."""
        language = {"queryType": "traceql"} if self.store == "traces" else {"queryType": "range"}
        field = "query" if self.store == "traces" else "expr"
        where = {"type": _PLUGINS[self.store], "uid": f"${{{self.store}}}"}
        pane = {
            "datasource": where["uid"],
            "queries": [{"refId": "A", "datasource": where, **language, field: self.query}],
            "range": {"from": "${__from}", "to": "${__to}"},
        }
        text = quote(json.dumps({"obi": pane}), safe="")
        for variable in (self.store, "__from", "__to"):  # Grafana fills them in after this, so they stay as they are
            text = text.replace(quote(f"${{{variable}}}", safe=""), f"${{{variable}}}")
        return f"/explore?schemaVersion=1&panes={text}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its title asks, it answers."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    width: int = 12
    height: int = 8
    bad_from: float | None = None
    """From where on a number is red."""
    jumps: tuple[Jump, ...] = ()
    exemplars: bool = False
    """Whether dots lead to the spans of single operations."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    subjects: str = ""
    """Metric whose labels fill the variables `namespace` and `workload`; empty: nothing here belongs to a workload."""


def write(board: Board) -> str:
    """Make a dashboard's JSON."""
    built = (
        grafana.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .variables(_variables(board))
        .links([_others()])
    )
    number = 0
    for row in board.rows:
        number += 1
        built = built.with_row(grafana.Row(row.title).id(number))
        for panel in _filled(row.panels):
            number += 1
            built = built.with_panel(_panel(panel, number))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _filled(panels: Sequence[Panel]) -> Sequence[Panel]:
    used = 0
    for panel in panels:
        used += panel.width
        if used > _COLUMNS:
            raise ValueError(f"panel '{panel.title}' does not fit its line; make the widths add up to {_COLUMNS}")
        used %= _COLUMNS
    return panels


def _panel(panel: Panel, number: int) -> Timeseries | Stat | Bars | Table:
    built: Timeseries | Stat | Bars | Table = _shape(panel)
    built = (
        built.id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(_STORE)
        .unit(panel.unit)
        .height(panel.height)
        .span(panel.width)
        .links([grafana.DashboardLink(jump.title).type(_LINK).url(jump.url()).target_blank(True) for jump in panel.jumps])
    )
    for letter, query in zip(_REF_IDS, panel.queries, strict=False):
        asked = Dataquery().ref_id(letter).datasource(_STORE).expr(query.expr).legend_format(query.legend)
        over_time = panel.kind in {"lines", "areas"}
        asked = asked.range().exemplar(panel.exemplars) if over_time else asked.instant()
        if panel.kind == "table":
            asked = asked.format(PromQueryFormat.TABLE)
        built = built.with_target(asked)
    if panel.bad_from is not None:
        steps = [dashboard.Threshold(None, "green"), dashboard.Threshold(panel.bad_from, "red")]
        built = built.thresholds(grafana.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    return built


_LINK: Final = dashboard.DashboardLinkType.LINK


def _shape(panel: Panel) -> Timeseries | Stat | Bars | Table:
    if panel.kind == "number":
        last = made.ReduceDataOptions().calcs(["lastNotNull"])
        return Stat().reduce_options(last).graph_mode(common.BigValueGraphMode.NONE)
    if panel.kind == "bars":
        last = made.ReduceDataOptions().calcs(["lastNotNull"])
        return Bars().reduce_options(last).orientation(common.VizOrientation.HORIZONTAL).min(0)
    if panel.kind == "table":
        hidden = {"excludeByName": {"Time": True}, "renameByName": {NODE_LABEL: "node"}}
        return Table().with_transformation(dashboard.DataTransformerConfig("organize", options=hidden))
    lines = Timeseries().min(0).line_width(1).show_points(common.VisibilityMode.NEVER).fill_opacity(10)
    table = made.VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.BOTTOM)
    lines = lines.legend(table.show_legend(True).calcs(["lastNotNull", "max"]))
    lines = lines.tooltip(made.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if panel.kind == "areas":
        lines = lines.fill_opacity(40).stacking(made.StackingConfig().mode(common.StackingMode.NORMAL))
    return lines


def _variables(board: Board) -> list[Builder[dashboard.VariableModel]]:
    found: list[Builder[dashboard.VariableModel]] = [
        grafana.DatasourceVariable("datasource").label("Metrics").type("prometheus"),
        _labels("cluster", "Cluster", "label_values(obi_node_info, k8s_cluster_name)"),
        _labels("node", "Node", f'label_values(obi_node_info{{k8s_cluster_name=~"$cluster"}}, {NODE_LABEL})'),
    ]
    if board.subjects:
        found.append(_labels("namespace", "Namespace", f"label_values({board.subjects}, k8s_namespace_name)"))
        found.append(_workload(board.subjects))
    led_to = {jump.store for row in board.rows for panel in row.panels for jump in panel.jumps}
    for store, label in (("traces", "Traces"), ("logs", "Logs")):
        if store in led_to:
            found.append(grafana.DatasourceVariable(store).label(label).type(_PLUGINS[store]))
    return found


def _query(name: str, label: str, query: str) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(name)
        .label(label)
        .datasource(_STORE)
        .query({"query": query, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .current(_EVERYTHING)
    )


def _labels(name: str, label: str, query: str) -> grafana.QueryVariable:
    return _query(name, label, query).multi(True).all_value(".*")


def _workload(metric: str) -> grafana.QueryVariable:
    """One list over labels of several names: a choice is a whole matcher, such as `k8s_deployment_name="web"`."""
    groups = f'group by ({", ".join(WORKLOADS)}) ({metric}{{k8s_namespace_name=~"$namespace"}} {CHOSEN})'
    choice = f'/(?<value>(?:{"|".join(WORKLOADS)})="(?<text>[^"]+)")/'
    return _query("workload", "Workload", f"query_result({groups})").regex(choice).all_value(ANY_WORKLOAD)


def _others() -> grafana.DashboardLink:
    kind = dashboard.DashboardLinkType.DASHBOARDS
    link = grafana.DashboardLink("Other OBI dashboards").type(kind).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True)
