"""The report as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from facelift.evaluate.tables import Table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 1240px; margin: 2em auto;
  padding: 0 1em }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #d0d7de; padding: .3em .7em; text-align: right }
th:first-child, td:first-child { text-align: left }
.wide { overflow-x: auto } img, svg { max-width: 100%; height: auto }
"""


def page(
    title: str, text: str, tables: Sequence[Table], curves: str, pictures: Sequence[tuple[str, Path]]
) -> str:
    """Title, explanation, tables, an SVG of curves, and PNGs with their captions."""
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(text)}</p>"]
    for table in tables:
        parts += [f"<h2>{html.escape(table.title)}</h2>", f"<p>{html.escape(table.text)}</p>", _rows(table)]
    if curves:
        parts += ["<h2>By azimuth</h2>", f'<div class="wide">{curves}</div>']
    for caption, picture in pictures:
        data = base64.b64encode(picture.read_bytes()).decode()
        parts += [f"<h2>{html.escape(caption)}</h2>", f'<img alt="" src="data:image/png;base64,{data}">']
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _rows(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.head)
    rows = ("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
