"""A report as tables for people, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from facelift.cameras import VIEW_NAMES
from facelift.evaluate.benchmarks.published import PUBLISHED
from facelift.evaluate.groups import GROUPS
from facelift.evaluate.protocols import (
    AZIMUTH_PROTOCOLS,
    BASELINE_PROTOCOLS,
    BASELINES,
    DESCRIPTIONS,
    PHOTO_PROTOCOLS,
)
from facelift.evaluate.report import NEAR_FRONT, Report, Scale, numbers
from facelift.evaluate.statistics import estimate

LABELS = {
    "model": "the model",
    "truth": "the true views",
    "mean": "mean of the training heads",
    "billboard": "the portrait as a billboard",
    "mean_head": "a mean head in the portrait's colour",
}
IDENTITIES = ("identity", "arcface")
MAIN_PROTOCOL = "single-image"
GROUP_MEASURES = ("psnr", "masked_psnr", "ssim", *IDENTITIES)
MIN_PEOPLE = 3  # in a group, for its mean to be shown


def label(method: str) -> str:
    """What a method is called in tables: other systems by the name that the user gave."""
    return LABELS.get(method, method)


@dataclass(frozen=True)
class Table:
    """A heading, an explanation, a head and rows of cells."""

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """A heading of the second level, the text, and the table."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        cells = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        return "\n\n".join(part for part in (f"## {self.title}", self.text, cells) if part)


def introduction(report: Report) -> str:
    """What was measured and how, in a few sentences."""
    facts = report.facts
    if "benchmark" in facts:
        return _benchmark_introduction(report)
    lights = len(report.records) / max(1, len(facts["people"]))
    return (
        f"Model {facts['model']} (weights {facts['weights'][:12]}), seed {facts['seed']}; "
        f"set {facts['set']} (checksum {facts['set_checksum'][:12]}): {len(facts['people'])} people"
        + (f" under {lights:.3g} lights each" if lights > 1 else "")
        + f", {facts['size']} × {facts['size']} pixels, {facts['background']} background.\n"
        "Mean over views and people ± 95% confidence interval over people (Student's t). Masked: over "
        "the true silhouette. Depth error: in world units, where both are the head. Neighbours: each "
        "view of the orbit against the nearest one, by depth. Identity: against the portrait, in the "
        "views whose truth shows a face."
    )


def tables(report: Report) -> list[Table]:
    """One for each protocol, the generated views one by one, photos, identity, and what is missing."""
    found = [
        _protocol_table(report, protocol)
        for protocol in report.protocols()
        if protocol not in PHOTO_PROTOCOLS
    ]
    if "views" in report.protocols():
        found.append(_view_table(report))
    if "benchmark" in report.facts:
        found += [_published_table(report), _alignment_table(report)]
    if report.photos:
        found.append(_photo_table(report))
    found += [table for table in (_identity_table(report), _group_table(report)) if table.rows]
    if report.not_measured:
        rows = [(what, f"not measured: {why}") for what, why in report.not_measured.items()]
        found.append(Table("Not measured", "", ("what", "why"), rows))
    return found


def to_markdown(report: Report, curves: str | None = None) -> str:
    """The report; `curves` is where its picture of curves lies."""
    parts = ["# Evaluation", introduction(report), *(table.to_markdown() for table in tables(report))]
    if curves:
        parts += ["## By azimuth", f"![Each measure by azimuth]({curves})"]
    return "\n\n".join(parts) + "\n"


def _benchmark_introduction(report: Report) -> str:
    facts = report.facts
    masks = {group for record in report.records for group in record.groups if group.startswith("masks: ")}
    return (
        f"Model {facts['model']} (weights {facts['weights'][:12]}), seed {facts['seed']}, and "
        f"{len(facts['answers'])} other systems; {facts['benchmark']} in {facts['set']} (checksum "
        f"{facts['set_checksum'][:12]}): {len(facts['people'])} people, {facts['size']} × {facts['size']} "
        f"pixels, {facts['background']} background; {', '.join(sorted(masks))}.\n"
        "One photo is shown, and every other camera compared, in a square as large as the portrait's around "
        "the head; what a photo does not show of its square is white in truth and answer. Mean over views "
        "and people ± 95% confidence interval over people (Student's t)."
    )


def _published_table(report: Report) -> Table:
    """The paper's columns, with what it says of itself."""
    keys = ("psnr", "ssim", "lpips_vgg", "dreamsim", "arcface")
    found = {scale.key: scale for scale in report.scales}
    rows: list[Sequence[str]] = []
    for method in (m for m in report.methods("novel-views") if m not in ("truth", *BASELINES)):
        cells = []
        for key in keys:
            values = [*report.people("novel-views", method, key).values()]
            values = [1 - value for value in values] if key == "arcface" else values
            cells.append(estimate(values).text(found[key].digits) if values else "not measured")
        rows.append((label(method), "this report", *cells))
    for row in PUBLISHED:
        if row.benchmark == report.facts["benchmark"]:
            cells = [
                f"{row.psnr:.2f}",
                *(f"{x:.3f}" for x in (row.ssim, row.lpips, row.dreamsim, row.arcface)),
            ]
            rows.append((row.method, row.source, *cells))
    text = (
        "The columns of FaceLift's tables. Papers do not say which people, views and squares they took, so "
        "their figures are of other pictures than ours. LPIPS is by VGG, as in FaceLift's code; ArcFace is "
        "one minus the cosine."
    )
    head = ("method", "source", "PSNR ↑", "SSIM ↑", "LPIPS ↓", "DreamSim ↓", "ArcFace ↓")
    return Table("Beside published figures", text, head, rows)


def _alignment_table(report: Report) -> Table:
    """By what similarity answers came into the frame of the true views."""
    rows = []
    for method in sorted({method for record in report.records for method in record.alignments}):
        found = [record.alignments[method] for record in report.records if method in record.alignments]
        moved = [alignment for alignment in found if alignment["by"] == "landmarks"]
        reasons = sorted({alignment["reason"] for alignment in found if alignment["reason"]})
        middles = (
            (median(alignment[key] for alignment in moved) if moved else None)
            for key in ("scale", "degrees", "shift", "error")
        )
        cells = ("–" if value is None else f"{value:.3f}" for value in middles)
        rows.append((label(method), f"{len(moved)} of {len(found)}", *cells, "; ".join(reasons) or "–"))
    text = (
        "First by cameras: the answer's front camera becomes the input view's. Then by the similarity (a "
        "scale, a turn, a shift) from the landmarks of its face to the true ones, where both are "
        "seen; medians over people, in units of the canonical frame, in which a head is about 1.15 high."
    )
    head = ("method", "by landmarks", "scale", "degrees", "shift", "error", "otherwise")
    return Table("Alignment", text, head, rows)


def _protocol_table(report: Report, protocol: str) -> Table:
    scales = [
        scale
        for scale in report.scales
        if any(report.people(protocol, method, scale.key) for method in report.methods(protocol))
    ]
    rows = [
        (label(method), *(_cell(report, protocol, method, scale) for scale in scales))
        for method in report.methods(protocol)
    ]
    if protocol in BASELINE_PROTOCOLS:
        margins = [report.margin(protocol, scale) for scale in scales]
        cells = (
            f"{margin[1].text(scale.digits)} (over {margin[0]})" if margin else "–"
            for margin, scale in zip(margins, scales, strict=True)
        )
        rows.append(("better than the best baseline by", *cells))
    return Table(protocol, f"{DESCRIPTIONS[protocol]}.".capitalize(), ("method", *_heads(scales)), rows)


def _view_table(report: Report) -> Table:
    methods = [method for method in report.methods("views") if method != "truth"]
    columns = [report.views("views", method, "psnr") for method in methods]
    rows = [
        (name, *("–" if value is None else f"{value:.2f}" for value in values))
        for name, *values in zip(VIEW_NAMES[1:], *columns, strict=True)
    ]
    text = "PSNR in dB of each canonical view; the front view is the input."
    return Table("The generated views one by one", text, ("view", *(label(m) for m in methods)), rows)


def _identity_table(report: Report) -> Table:
    scales = [scale for scale in report.scales if scale.key in IDENTITIES]
    rows = []
    for protocol in (p for p in (*AZIMUTH_PROTOCOLS, "turned") if p in report.protocols()):
        for method in report.methods(protocol):
            found = [report.near_front(protocol, method, scale.key) for scale in scales]
            if any(found):
                cells = (
                    f"{median(values):.{scale.digits}f}" if values else "–"
                    for values, scale in zip(found, scales, strict=True)
                )
                rows.append((protocol, label(method), *cells))
    text = f"Median over all views within {NEAR_FRONT} degrees of the front. Turned: {DESCRIPTIONS['turned']}"
    return Table("Is it still that person?", text, ("protocol", "method", *_heads(scales)), rows)


def _group_table(report: Report) -> Table:
    """The whole way, for each kind of people of whom there are enough to say something."""
    scored = {
        s: report.people(MAIN_PROTOCOL, "model", s.key) for s in report.scales if s.key in GROUP_MEASURES
    }
    scored = {scale: people for scale, people in scored.items() if people}
    rows = []
    for group in GROUPS:
        members = {record.person for record in report.records if group in record.groups}
        cells = []
        for scale, people in scored.items():
            values = [value for person, value in people.items() if person in members]
            cells.append(estimate(values).text(scale.digits) if len(values) >= MIN_PEOPLE else "–")
        if any(cell != "–" for cell in cells):
            rows.append((group, str(len(members)), *cells))
    text = f"{DESCRIPTIONS[MAIN_PROTOCOL]}, by kind of people, where there are {MIN_PEOPLE} or more of them."
    text = text.capitalize()
    return Table("For whom", text, ("people", "how many", *_heads([*scored])), rows)


def _photo_table(report: Report) -> Table:
    scales = [scale for scale in report.scales if report.people("photo", "model", scale.key)]
    rows: list[Sequence[str]] = []
    for photo in report.photos:
        found = photo.scores.get("photo", {}).get("model", {})
        cells = (numbers(found.get(scale.key, [])) for scale in scales)
        texts = [
            f"{value[0]:.{scale.digits}f}" if value else "–"
            for value, scale in zip(cells, scales, strict=True)
        ]
        rows.append((photo.sample, *(texts if photo.error is None else [f"not measured: {photo.error}"])))
    width = 1 + max(1, len(scales))
    rows = [(*row, *[""] * (width - len(row))) for row in rows]
    if scales:
        cells_of_all = (_cell(report, "photo", "model", scale) for scale in scales)
        rows.append((f"mean of {sum(p.error is None for p in report.photos)}", *cells_of_all))
    text = f"{DESCRIPTIONS['photo']}.".capitalize()
    return Table("Real photos", text, ("photo", *(_heads(scales) or [""])), rows)


def _cell(report: Report, protocol: str, method: str, scale: Scale) -> str:
    people = report.people(protocol, method, scale.key)
    return estimate([*people.values()]).text(scale.digits) if people else "–"


def _heads(scales: Sequence[Scale]) -> list[str]:
    return [f"{scale.label} {'↑' if scale.higher_is_better else '↓'}" for scale in scales]
