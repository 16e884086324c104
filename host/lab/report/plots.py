"""The pictures of the report, as matplotlib figures. Each function draws one, and its docstring says what it shows; where there
is nothing to show it returns None."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contract.parameters import BUCKETS
from ...policy import buckets
from ..cells import Cell
from .content import TraceView, is_device, label
from .looks import looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Samples = Mapping[str, NDArray[Any]]

WIDTH = 12.0
"""Inches. 1,152 pixels in a browser."""
LEGEND_COLUMNS, LEGEND_ROW = 4, 0.24
LEAST_SHARE = -0.5
"""Of the gap, what the plot goes down to."""
THETA_END = 65536
MOST_CAPACITIES = 3
"""Of which the course over time is shown."""

Measure = Callable[[Cell], "float | None"]


def rates(view: TraceView) -> Figure | None:
    """Hit rate and prefix-hit rate over the capacity of tier 1."""
    prefix = "those with no miss before them in their request"
    return _pair(view, ("touches that hit", _rate, "%"), (prefix, _prefix_rate, "%"))


def gap_and_bytes(view: TraceView, block_bytes: int) -> Figure | None:
    """The share of the gap between LRU and the optimum that each policy closes, and what it moves into tier 1."""

    def moved(cell: Cell) -> float | None:
        return None if cell.fills is None else cell.fills * block_bytes / (1 << 30)

    return _pair(view, ("share of the gap from LRU to the optimum", _gap, "%"), ("moved into tier 1, GiB", moved, ""))


def _rate(cell: Cell) -> float | None:
    return cell.hit_rate


def _prefix_rate(cell: Cell) -> float | None:
    return cell.prefix_hit_rate


def _gap(cell: Cell) -> float | None:
    return None if cell.gap_closed is None else max(cell.gap_closed, LEAST_SHARE)


def _pair(view: TraceView, *measures: tuple[str, Measure, str]) -> Figure | None:
    """Two measures over the capacity, or as bars where there is one capacity only."""
    measured = [part for part in measures if any(part[1](cell) is not None for cell in view.cells)]
    if not measured:
        return None
    if len([capacity for capacity in view.capacities if capacity]) < 2:
        return _bars(view, measured)
    figure = _figure(4.2 + LEGEND_ROW * math.ceil(len(view.policies) / LEGEND_COLUMNS))
    lines: dict[str, Any] = {}
    for axes, (title, measure, unit) in zip(figure.subplots(1, len(measured), squeeze=False)[0], measured):
        axes.set_xscale("log", base=2)
        for policy, look in _looks(view).items():
            points = [(cell.capacity, measure(cell)) for cell in view.of(policy) if cell.capacity]
            there = [(x, y) for x, y in points if y is not None]
            if there:
                lines[policy] = axes.plot(*zip(*there), **look)[0]
        _capacity_axis(axes, view.capacities)
        axes.set_title(title, loc="left")
        _value_axis(axes, unit)
    _head(figure, view.title)
    _legend(figure, lines, view)
    return figure


def _bars(view: TraceView, measures: Sequence[tuple[str, Measure, str]]) -> Figure:
    labels = view.labels()
    policies = [policy for policy in labels if any(measure(view.of(policy)[-1]) is not None for _, measure, _ in measures)][::-1]
    figure = _figure(1.4 + 0.26 * len(policies))
    colours = _looks(view)
    for axes, (title, measure, unit) in zip(figure.subplots(1, len(measures), squeeze=False, sharey=True)[0], measures):
        values = [measure(view.of(policy)[-1]) for policy in policies]
        filled = [colours[policy]["color"] for policy in policies]
        bars = axes.barh(range(len(policies)), [value or 0 for value in values], color=filled, height=0.7)
        texts = ["" if value is None else f"{value:.2%}" if unit else f"{value:.3g}" for value in values]
        axes.bar_label(bars, texts, padding=3)
        axes.set_yticks(range(len(policies)), [labels[policy] for policy in policies])
        axes.margins(x=0.22)  # for the labels at the bars' ends
        axes.grid(axis="y", visible=False)
        axes.set_title(title, loc="left")
        _value_axis(axes, unit, vertical=False)
    _head(figure, f"{view.title}, tier 1 of {view.capacities[-1]:,} blocks")
    return figure


def over_time(view: TraceView, samples: Mapping[tuple[str, int], Samples]) -> Figure | None:
    """Occupancy of tier 1 and θ over the time of the trace, of the device's policies at up to MOST_CAPACITIES capacities.
    `samples` by policy and capacity: arrays step, t1_used, theta."""
    capacities = sorted({capacity for policy, capacity in samples if capacity and is_device(policy)})
    if not capacities:
        return None
    if len(capacities) > MOST_CAPACITIES:
        capacities = [capacities[0], capacities[len(capacities) // 2], capacities[-1]]
    policies = [policy for policy in view.policies if any((policy, capacity) in samples for capacity in capacities)]
    found = _looks(view)
    figure = _figure(4.6 + LEGEND_ROW * math.ceil(len(policies) / LEGEND_COLUMNS))
    grid = figure.subplots(2, len(capacities), squeeze=False, sharex=True, sharey="row")
    step_ms = next((cell.step_ms for cell in view.cells if cell.step_ms), 100.0)
    last = max((float(taken["step"][-1]) for taken in samples.values() if len(taken["step"])), default=1.0)
    unit, seconds = _time_unit(last * step_ms / 1000)
    lines: dict[str, Any] = {}
    for column, capacity in enumerate(capacities):
        used, theta = grid[0][column], grid[1][column]
        for policy in policies:
            taken = samples.get((policy, capacity))
            if taken is None or not len(taken["step"]):
                continue
            at = taken["step"] * step_ms / 1000 / seconds
            look = found[policy] | {"linewidth": 1.3, "markersize": 4, "markevery": max(1, len(at) // 12)}
            lines[policy] = used.plot(at, taken["t1_used"] / capacity, **look)[0]
            searched = taken["theta"] > 0
            points = {"color": look["color"], "marker": found[policy]["marker"], "markersize": 3, "linestyle": ""}
            theta.plot(at[searched], taken["theta"][searched], **points)
        used.set_title(f"tier 1 of {capacity:,}: places in use", loc="left")
        theta.set_title("θ, the least priority that stays", loc="left")
        theta.set_xlabel(f"time of the trace, {unit}")
        _value_axis(used, "%", least=1.02)
        theta.set_ylim(0, THETA_END)
        theta.set_yticks(range(0, THETA_END + 1, THETA_END // 4))
    if not lines:
        return None
    _head(figure, f"{view.title}: the device over time")
    _legend(figure, lines, view)
    return figure


def rank_table(cell: Cell, table: NDArray[np.uint8]) -> Figure:
    """The codes of a table uint8[classes, 64], a row a class: how a block of that class ranks as it grows older. Classes at the
    end that rank as the last one does are left out: no block has them."""
    from matplotlib.ticker import MaxNLocator

    told_apart = np.flatnonzero((table != table[-1]).any(axis=1))
    part = table[: told_apart[-1] + 1] if len(told_apart) else table[:1]
    figure = _figure(1.3 + min(5.0, max(1.2, 0.028 * len(part))))
    axes = figure.subplots()
    picture = axes.imshow(part, aspect="auto", cmap="cividis", vmin=0, vmax=255, interpolation="nearest")
    shown = np.arange(0, BUCKETS, 6)
    step_ms = cell.step_ms or 100.0
    axes.set_xticks(shown, [_duration(age * step_ms / 1000) for age in buckets.FIRST[shown].tolist()])
    axes.set_xlabel(f"age since the last touch, at {step_ms:g} ms a step ({BUCKETS} buckets)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("class")
    axes.grid(visible=False)
    axes.set_title(f"{label(cell)} on {TraceView(cell.trace, [cell]).title}: the last table", loc="left")
    figure.colorbar(picture, label="code: high stays in tier 1", ticks=(0, 64, 128, 192, 255))
    return figure


def _time_unit(longest: float) -> tuple[str, float]:
    """In which an axis of so many seconds is told, and its seconds."""
    units = {"h": 3600.0, "min": 60.0}
    return next(((name, size) for name, size in units.items() if longest >= 3 * size), ("s", 1.0))


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"


# ---- axes --------------------------------------------------------------------------------------------------------------


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _head(figure: Figure, text: str) -> None:
    figure.suptitle(text, fontsize=10.5, x=0.01, ha="left")


def _legend(figure: Figure, lines: Mapping[str, Any], view: TraceView) -> None:
    """Below all: the policies that have a line, in the order of the tables."""
    labels = {policy: text for policy, text in view.labels().items() if policy in lines}
    figure.legend([lines[policy] for policy in labels], labels.values(), loc="outside lower center", ncols=LEGEND_COLUMNS)


def _looks(view: TraceView) -> dict[str, dict[str, Any]]:
    return looks(view.policies, frozenset(cell.policy for cell in view.cells if cell.uses_future))


def _capacity_axis(axes: Axes, capacities: Sequence[int]) -> None:
    """Ticks at the capacities that were run, as far as their labels have room."""
    positive = [capacity for capacity in capacities if capacity]
    room = math.log(positive[-1] / positive[0]) / 8
    ticks = [positive[0]]
    for capacity in positive[1:]:
        if math.log(capacity / ticks[-1]) >= room:
            ticks.append(capacity)
    axes.set_xticks(ticks, [f"{capacity:,}" for capacity in ticks])
    axes.minorticks_off()
    axes.set_xlabel("tier 1, blocks")


def _value_axis(axes: Axes, unit: str, *, vertical: bool = True, least: float | None = None) -> None:
    """From zero, unless something is below."""
    from matplotlib.ticker import PercentFormatter

    axis = axes.yaxis if vertical else axes.xaxis
    low, high = axes.get_ylim() if vertical else axes.get_xlim()
    (axes.set_ylim if vertical else axes.set_xlim)(min(low, 0) if low < -0.1 else 0, least or max(high, 1e-3))
    if unit == "%":
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low > 0.05 else 2))
