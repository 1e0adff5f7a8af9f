"""Plotly figures; each is shown with its numbers in a table beside it."""

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


def _drawn(figure: go.Figure, title: str, height: int, *, lying: bool = True, **options: Any) -> go.Figure:
    """The figure with its title, its legend below, and for lying bars their names beside them, the first on top."""
    legend = {"orientation": "h", "y": -0.08, "x": 0, "yanchor": "top"}
    margin = {"l": 10, "r": 10, "t": 48, "b": 36}
    figure.update_layout(title=title, template="plotly_white", height=height, margin=margin, legend=legend, **options)
    if lying:
        figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


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
    figure.update_xaxes(title="rows", rangemode="tozero", separatethousands=True)
    return _drawn(figure, "Rows on both sides", 110 + 44 * len(tables), barmode="group")


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
    figure.update_xaxes(rangemode="tozero", separatethousands=True)
    figure.update_yaxes(categoryorder="array", categoryarray=bars)
    title = f"Differences by table and column{some}"
    return _drawn(figure, title, 130 + 30 * len(bars), barmode="stack", showlegend=True)


def seconds_by_stage(seconds: Mapping[str, float]) -> go.Figure:
    """One bar per stage, in the order in which they ran.

    Args:
        seconds: of wall clock, by stage.
    """
    figure = go.Figure()
    figure.add_bar(y=list(seconds), x=list(seconds.values()), orientation="h", marker_color=SOURCE)
    figure.update_xaxes(title="seconds", rangemode="tozero")
    return _drawn(figure, "Time per stage", 120 + 34 * len(seconds))


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
    figure.update_xaxes(type="category")
    figure.update_yaxes(title="seconds", type="log")
    return _drawn(figure, "Seconds by volume", 420, lying=False, barmode="group")


def planned_and_actual(names: Sequence[str], planned: Sequence[float], actual: Sequence[float | None]) -> go.Figure:
    """Bars of planned and actual minutes, on a logarithmic axis: a rehearsal takes minutes of what is planned in days.

    Args:
        names: what took them.
        planned, actual: minutes, in the same order; None and 0 have no bar.
    """
    figure = go.Figure()
    for name, values, color in (("planned", planned, TARGET), ("actual", actual, SOURCE)):
        minutes = [value or None for value in values]
        figure.add_bar(name=name, y=list(names), x=minutes, orientation="h", marker_color=color)
    figure.update_xaxes(type="log", title="minutes", separatethousands=True)
    return _drawn(figure, "Planned and actual minutes", 130 + 44 * len(names), barmode="group")


def points_by_option(options: Sequence[str], points: Mapping[str, Sequence[float]]) -> go.Figure:
    """Stacked bars of what each criterion gives each option.

    Args:
        options: their letters.
        points: per criterion, one number an option, in the same order.
    """
    figure = go.Figure()
    for name, values in points.items():
        figure.add_bar(name=name, y=[f"option {o}" for o in options], x=list(values), orientation="h")
    figure.update_xaxes(range=[0, 100])
    figure = _drawn(figure, "Points of 100 by option", 240 + 60 * len(options), barmode="stack")
    return figure.update_layout(legend_traceorder="normal")
