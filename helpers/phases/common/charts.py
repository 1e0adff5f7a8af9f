"""Plotly figures; whoever shows one puts its numbers in a table beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

SOURCE, TARGET, WRONG = "#3b6ea5", "#e0a030", "#b5322e"
_KINDS = {"changed cells": WRONG, "rows missing in the target": SOURCE, "rows only in the target": TARGET}
_NO_FAULT = "#8a93a0"

MOST_BARS = 40
"""More cannot be read; the table beside the chart has all of them."""


def _layout(title: str, height: int) -> dict[str, Any]:
    return {
        "title": title,
        "template": "plotly_white",
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 48, "b": 36},
        "legend": {"orientation": "h", "y": -0.08, "x": 0, "yanchor": "top"},
    }


def rows_on_both_sides(
    tables: Sequence[str], source: Sequence[int], target: Sequence[int], wrong: Sequence[int]
) -> go.Figure:
    """Bars of rows per table on both sides, and of the rows that differ.

    Args:
        tables: their names.
        source, target, wrong: rows per table, in the same order.
    """
    figure = go.Figure()
    for name, values, color in (("source", source, SOURCE), ("target", target, TARGET), ("differing", wrong, WRONG)):
        figure.add_bar(name=name, y=list(tables), x=list(values), orientation="h", marker_color=color)
    figure.update_layout(barmode="group", **_layout("Rows on both sides", 110 + 44 * len(tables)))
    figure.update_xaxes(title="rows", rangemode="tozero", separatethousands=True)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def differences_by_column(names: Sequence[str], differences: Sequence[str], counts: Sequence[int]) -> go.Figure:
    """A bar for each way in which a table's column or rows differ, the longest first.

    Args:
        names: what differs, such as "public.orders · amount".
        differences: how, such as "changed cells".
        counts: how often; all three in the same order.
    """
    order = sorted(range(len(names)), key=lambda n: -counts[n])[:MOST_BARS]
    labels = [escape(name) for name in names]  # plotly reads tags in a label
    figure = go.Figure()
    for kind in dict.fromkeys(differences[n] for n in order):
        found = [n for n in order if differences[n] == kind]
        figure.add_bar(
            name=kind, y=[labels[n] for n in found], x=[counts[n] for n in found], orientation="h",
            marker_color=_KINDS.get(kind, _NO_FAULT), text=[f"{counts[n]:,}" for n in found], textposition="auto",
        )  # fmt: skip
    bars = list(dict.fromkeys(labels[n] for n in order))
    some = f" (the {MOST_BARS} largest of {len(names)})" if len(names) > MOST_BARS else ""
    figure.update_layout(
        barmode="stack", showlegend=True, **_layout(f"Differences by table and column{some}", 130 + 30 * len(bars))
    )
    figure.update_xaxes(rangemode="tozero", separatethousands=True)
    figure.update_yaxes(autorange="reversed", automargin=True, categoryorder="array", categoryarray=bars)
    return figure


def seconds_by_stage(seconds: Mapping[str, float]) -> go.Figure:
    """One bar per stage, in the order in which they ran.

    Args:
        seconds: of wall clock, by stage.
    """
    figure = go.Figure()
    figure.add_bar(y=list(seconds), x=list(seconds.values()), orientation="h", marker_color=SOURCE)
    figure.update_layout(**_layout("Time per stage", 120 + 34 * len(seconds)))
    figure.update_xaxes(title="seconds", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def seconds_by_volume(names: Sequence[str], volumes: Sequence[str], seconds: Sequence[float]) -> go.Figure:
    """Bars of seconds, a group a volume, a colour a name; on a logarithmic axis, for volumes lie powers of ten apart.

    Args:
        names: what was measured, such as "modern: DuckDB 1.5.5".
        volumes: of what; all three in the same order.
        seconds: of wall clock.
    """
    figure = go.Figure()
    colors = [SOURCE, TARGET, _NO_FAULT, WRONG]
    for place, name in enumerate(dict.fromkeys(names)):
        own = [n for n, each in enumerate(names) if each == name]
        figure.add_bar(
            name=name, x=[volumes[n] for n in own], y=[seconds[n] for n in own], marker_color=colors[place % len(colors)],
            text=[f"{seconds[n]:.1f} s" for n in own], textposition="auto",
        )  # fmt: skip
    figure.update_layout(barmode="group", **_layout("Seconds by volume", 420))
    figure.update_xaxes(type="category")
    figure.update_yaxes(title="seconds", type="log")
    return figure


def planned_and_actual(names: Sequence[str], planned: Sequence[float], actual: Sequence[float | None]) -> go.Figure:
    """Bars of planned and actual minutes, on a logarithmic axis: a rehearsal takes minutes of what is planned in days.

    Args:
        names: what took them.
        planned, actual: minutes, in the same order; None and 0 have no bar.
    """
    figure = go.Figure()
    for name, values, color in (("planned", planned, TARGET), ("actual", actual, SOURCE)):
        figure.add_bar(
            name=name, y=list(names), x=[value or None for value in values], orientation="h", marker_color=color
        )
    figure.update_layout(barmode="group", **_layout("Planned and actual minutes", 130 + 44 * len(names)))
    figure.update_xaxes(type="log", title="minutes", separatethousands=True)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def figures_on_both_sides(
    title: str,
    buckets: Sequence[str],
    source: Sequence[float],
    target: Sequence[float],
    differences: Sequence[str],
) -> go.Figure:
    """Bars of one business figure by month or category on both sides, with a mark on each bucket that differs.

    Args:
        title: what is shown, with its table.
        buckets: names along the axis.
        source, target: heights, in the same order.
        differences: target minus source where they differ, empty where they do not.
    """
    figure = go.Figure()
    for name, values, color in (("source", source, SOURCE), ("target", target, TARGET)):
        figure.add_bar(name=name, x=list(buckets), y=list(values), marker_color=color)
    wrong = [n for n, difference in enumerate(differences) if difference]
    figure.add_scatter(
        name="differing",
        x=[buckets[n] for n in wrong],
        y=[max(source[n], target[n], 0) for n in wrong],
        text=[differences[n] for n in wrong],
        mode="markers+text",
        textposition="top center",
        marker={"color": WRONG, "symbol": "triangle-down", "size": 11},
        textfont={"color": WRONG},
        showlegend=bool(wrong),
    )
    figure.update_layout(barmode="group", **_layout(title, 420))
    # Buckets such as 2024-01 are names, not points in time that plotly may space out.
    figure.update_xaxes(type="category", automargin=True)
    figure.update_yaxes(separatethousands=True, automargin=True)
    return figure


def points_by_option(options: Sequence[str], points: Mapping[str, Sequence[float]]) -> go.Figure:
    """Stacked bars of what each criterion gives each option.

    Args:
        options: their letters.
        points: per criterion, one number an option, in the same order.
    """
    figure = go.Figure()
    for name, values in points.items():
        figure.add_bar(name=name, y=[f"option {o}" for o in options], x=list(values), orientation="h")
    figure.update_layout(barmode="stack", **_layout("Points of 100 by option", 240 + 60 * len(options)))
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure
