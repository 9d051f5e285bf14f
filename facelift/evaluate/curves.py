"""Curves by azimuth as one SVG: a row of small charts for each protocol, a chart for each measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("#1f6feb", "#d1242f", "#8250df", "#bf8700", "#1a7f37", "#57606a")
WIDTH, HEIGHT = 300, 190  # pixels of one chart
COLUMNS = 4  # charts side by side; a row of more goes on in the next line
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 26, 24  # margins around the plot
LEGEND = 26
TICKS = {-180: "back", -90: "left", 0: "front", 90: "right", 180: "back"}

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One chart: curve by name, each a list of (azimuth in -180 to 180, value)."""

    title: str
    curves: dict[str, Curve]


def draw(rows: Sequence[Sequence[Chart]]) -> str:
    """The charts, row by row; a curve's colour goes with its name. Charts without a point are left out."""
    shown = [[chart for chart in row if any(chart.curves.values())] for row in rows]
    rows = [row[i : i + COLUMNS] for row in shown for i in range(0, len(row), COLUMNS)]
    names = [*dict.fromkeys(name for row in rows for chart in row for name in chart.curves)]
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    width = WIDTH * max((len(row) for row in rows), default=1)
    height = LEGEND + HEIGHT * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    x = LEFT
    for name, color in colors.items():
        parts.append(f'<rect x="{x}" y="9" width="14" height="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 19}" y="15">{escape(name)}</text>')
        x += 36 + 6 * len(name)
    for i, row in enumerate(rows):
        for j, chart in enumerate(row):
            move = f"translate({j * WIDTH} {LEGEND + i * HEIGHT})"
            parts.append(f'<g transform="{move}">{_chart(chart, colors)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(chart: Chart, colors: dict[str, str]) -> str:
    values = [value for curve in chart.curves.values() for _, value in curve]
    steps = _steps(min(values), max(values))
    low, high = steps[0], steps[-1]
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(azimuth: float, value: float) -> tuple[float, float]:
        return LEFT + across * (azimuth + 180) / 360, TOP + down * (high - value) / (high - low)

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(chart.title)}</text>']
    for step in steps:
        y = place(0, step)[1]
        parts.append(
            f'<path d="M{LEFT} {y:.1f}h{across}" stroke="#d0d7de"/>'
            f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{step:g}</text>'
        )
    for azimuth, name in TICKS.items():
        x = place(azimuth, low)[0]
        anchor = {-180: "start", 180: "end"}.get(azimuth, "middle")
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{name}</text>')
    for name, curve in chart.curves.items():
        points = [place(*point) for point in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colors[name]}" stroke-width="1.6"/>'
            + "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colors[name]}"/>' for x, y in points)
        )
    return "".join(parts)


def _steps(low: float, high: float) -> list[float]:
    """Round numbers, three to six of them, that reach from below `low` to above `high`."""
    span = max(high - low, 1e-3 * max(abs(high), 1e-3))
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * k, 10) for k in range(first, max(last, first + 1) + 1)]
