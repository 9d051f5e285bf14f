"""Curves by azimuth as one SVG: a row of small charts for each protocol, a chart for each measure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facelift.errors import UserError

COLORS = ("#1f6feb", "#d1242f", "#8250df", "#bf8700", "#1a7f37", "#57606a")
COLUMNS = 4  # charts side by side; a row of more goes on in the next line
WIDTH, HEIGHT = 3.1, 2.0  # inches of one chart
TICKS = {-180: "back", -90: "left", 0: "front", 90: "right", 180: "back"}

# The same numbers give the same file: text stays text, ids are not random.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "facelift",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.grid": True,
}

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One chart: curve by name, each a list of (azimuth in -180 to 180, value)."""

    title: str
    curves: dict[str, Curve]


def draw(rows: Sequence[Sequence[Chart]]) -> str:
    """The charts, row by row; a curve's colour goes with its name. Charts without a point are left out.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("Curves need matplotlib: pip install 'facelift[evaluate]'.") from None

    kept = [[chart for chart in row if any(chart.curves.values())] for row in rows]
    lines = [row[i : i + COLUMNS] for row in kept for i in range(0, len(row), COLUMNS)]
    names = [*dict.fromkeys(name for line in lines for chart in line for name in chart.curves)]
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    columns = max((len(line) for line in lines), default=1)
    with rc_context(STYLE):
        size = (WIDTH * columns, HEIGHT * max(1, len(lines)) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(max(1, len(lines)), columns, squeeze=False)
        for line, places in zip(lines or [[]], axes, strict=True):
            for place, chart in zip(places, [*line, *[None] * (columns - len(line))], strict=True):
                if chart is None:
                    place.set_axis_off()
                    continue
                for name, curve in chart.curves.items():
                    place.plot(
                        *zip(*curve, strict=True), "o-", ms=2.5, lw=1.3, color=colors[name], label=name
                    )
                place.set_title(chart.title, fontweight="bold", loc="left", fontsize=8)
                place.set_xlim(-180, 180)
                place.set_xticks([*TICKS], TICKS.values())
        handles = {h.get_label(): h for place in axes.flat for h in place.get_lines()}
        if handles:
            figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4, frameon=False)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    return text[text.index("<svg") :]
