"""Two reports side by side, with differences paired over people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from facelift.errors import UserError
from facelift.evaluate.curves import Chart, draw
from facelift.evaluate.page import page
from facelift.evaluate.protocols import AZIMUTH_PROTOCOLS, DESCRIPTIONS
from facelift.evaluate.report import Report, Scale
from facelift.evaluate.statistics import Estimate, estimate
from facelift.evaluate.tables import Table
from facelift.formats.files import atomic_folder

RESULT_NAMES = frozenset({"compare.json", "compare.md", "compare.html"})

# Two measurements are comparable when these facts are the same.
COMMON = {
    "set_checksum": "sets",
    "people": "people",
    "size": "resolutions",
    "background": "backgrounds",
}


@dataclass(frozen=True)
class Difference:
    """One measure of one protocol: both means, and `b - a` paired over the people that both have."""

    protocol: str
    scale: Scale
    a: Estimate
    b: Estimate
    difference: Estimate
    people: int

    @property
    def better(self) -> str | None:
        """Which of the two is better, "A" or "B"; None if zero is within the interval."""
        change = self.difference
        if change.margin is None or abs(change.mean) <= change.margin:
            return None
        return "B" if (change.mean > 0) == self.scale.higher_is_better else "A"


def differences(a: Report, b: Report) -> list[Difference]:
    """Every measure that both reports have of their models.

    Raises:
        UserError: the reports are of different sets, people, resolutions or backgrounds.
    """
    for fact, name in COMMON.items():
        if a.facts[fact] != b.facts[fact]:
            raise UserError(f"The two reports are of different {name}: measure both models on the same set.")
    found = []
    for protocol in DESCRIPTIONS:
        for scale in a.scales:
            mine, other = (report.people(protocol, "model", scale.key) for report in (a, b))
            both = [person for person in mine if person in other]
            if scale in b.scales and both:
                pairs = [(mine[person], other[person]) for person in both]
                before, after = (estimate(values) for values in zip(*pairs, strict=True))
                change = estimate([y - x for x, y in pairs])
                found.append(Difference(protocol, scale, before, after, change, len(both)))
    return found


def tables(found: list[Difference]) -> list[Table]:
    """One table for each protocol."""
    head = ("measure", "A", "B", "B − A", "better", "people")
    result = []
    for protocol, target in DESCRIPTIONS.items():
        rows = [
            (
                f"{d.scale.label} {'↑' if d.scale.higher_is_better else '↓'}",
                *(value.text(d.scale.digits) for value in (d.a, d.b, d.difference)),
                d.better or "–",
                str(d.people),
            )
            for d in found
            if d.protocol == protocol
        ]
        if rows:
            result.append(Table(protocol, f"{target}.".capitalize(), head, rows))
    return result


def compare(a: Path, b: Path, out: Path) -> str:
    """Compare two reports, given as folders or as their report.json, and write RESULT_NAMES into `out`.

    Returns:
        The comparison as Markdown.

    Raises:
        UserError: no report there, reports that cannot be compared, an `out` that cannot be written.
    """
    reports = Report.read(a), Report.read(b)
    found = differences(*reports)
    names = [f"{letter}: {r.facts['model']}" for letter, r in zip("AB", reports, strict=True)]
    text = "\n".join(
        f"{name} (weights {r.facts['weights'][:12]}, seed {r.facts['seed']}), from {path}."
        for name, r, path in zip(names, reports, (a, b), strict=True)
    )
    text += (
        "\nMean over views and people ± 95% confidence interval over people; differences are paired. "
        "Better: whose difference excludes zero, one measure at a time."
    )
    curves = [
        [
            Chart(
                f"{protocol}: {scale.label}",
                {
                    name: report.by_azimuth(protocol, "model", scale.key)
                    for name, report in zip(names, reports, strict=True)
                },
            )
            for scale in reports[0].scales
        ]
        for protocol in AZIMUTH_PROTOCOLS
        if any(protocol in report.protocols() for report in reports)
    ]
    grids = [(path if path.is_dir() else path.parent) / "grid.png" for path in (a, b)]
    pictures = [(name, grid) for name, grid in zip(names, grids, strict=True) if grid.exists()]
    markdown = "\n\n".join(["# Comparison", text, *(t.to_markdown() for t in tables(found))]) + "\n"
    records = [asdict(d) | {"better": d.better} for d in found]
    with atomic_folder(out, RESULT_NAMES) as aside:
        (aside / "compare.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        (aside / "compare.md").write_text(markdown, encoding="utf-8")
        (aside / "compare.html").write_text(
            page("Comparison", text, tables(found), draw(curves), pictures), encoding="utf-8"
        )
    return markdown
