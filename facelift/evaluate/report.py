"""Everything that one run measured, as numbers that can be read back and as tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from facelift.cameras import VIEW_NAMES
from facelift.errors import UserError
from facelift.evaluate.groups import GROUPS
from facelift.evaluate.protocols import BASELINES, OF_PHOTOS, ORBITS, QUESTIONS, WITH_BASELINES
from facelift.evaluate.statistics import Estimate, estimate

LABELS = {
    "model": "the model",
    "truth": "the true views",
    "mean": "mean of the training heads",
    "billboard": "the portrait as a billboard",
    "mean_head": "a mean head in the portrait's colour",
}
BIN = 30  # degrees of azimuth that the curves take together
NEAR = 30  # degrees of azimuth within which a face should be its portrait's
IDENTITIES = ("identity", "arcface")
WHOLE = "single-image"
GROUP_MEASURES = ("psnr", "masked_psnr", "ssim", *IDENTITIES)
FEWEST = 3  # people of whom a group says something


@dataclass(frozen=True)
class Scale:
    """What a measure is called and which way is up; see `facelift.evaluate.metrics.Measure`."""

    key: str
    label: str
    higher_is_better: bool
    digits: int


@dataclass(frozen=True)
class Record:
    """One sample, or one photo.

    Attributes:
        sample, person: see `facelift.evaluate.sets.Sample`; a photo's name.
        azimuths: protocol -> degrees of each view, 0 in front, 90 on the subject's right.
        scores: protocol -> method -> measure -> one number a view, None where there is none.
        error: why a photo could not be measured.
        groups: kinds of people that the person belongs to, see `facelift.evaluate.groups`.
    """

    sample: str
    person: str
    azimuths: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, list[float | None]]]] = field(default_factory=dict)
    error: str | None = None
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """A heading, an explanation, a head and rows of cells."""

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        cells = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        return "\n\n".join(part for part in (f"## {self.title}", self.text, cells) if part)


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes:
        facts: what was measured and how: `model`, `weights` (SHA-256), `set`, `set_checksum`, `size`,
            `background`, `seed`, `people`, `train`, `photos`.
        scales: the measures, in the order of the tables.
        not_measured: what could not be measured, and why.
        records: one for each sample of the set.
        photos: one for each photo.
    """

    facts: dict[str, Any]
    scales: list[Scale]
    not_measured: dict[str, str]
    records: list[Record]
    photos: list[Record]

    def protocols(self) -> list[str]:
        found = {protocol for record in self._all() for protocol in record.scores}
        return [protocol for protocol in QUESTIONS if protocol in found]

    def methods(self, protocol: str) -> list[str]:
        found = {method for record in self._all() for method in record.scores.get(protocol, {})}
        return [method for method in LABELS if method in found]

    def people(self, protocol: str, method: str, key: str) -> dict[str, float]:
        """person -> mean over the views, then over the lights; people without a number are left out."""
        samples: dict[str, list[float]] = {}
        for record in self._all():
            values = _numbers(record.scores.get(protocol, {}).get(method, {}).get(key, []))
            if values:
                samples.setdefault(record.person, []).append(fmean(values))
        return {person: fmean(values) for person, values in samples.items()}

    def views(self, protocol: str, method: str, key: str) -> list[float | None]:
        """One number a view, the mean over samples that have as many views."""
        scores = (record.scores.get(protocol, {}).get(method, {}) for record in self._all())
        rows = [found[key] for found in scores if key in found]
        if not rows or len({len(row) for row in rows}) > 1:
            return []
        columns = [_numbers(column) for column in zip(*rows, strict=True)]
        return [fmean(column) if column else None for column in columns]

    def by_azimuth(self, protocol: str, method: str, key: str) -> list[tuple[float, float]]:
        """(azimuth in -180 to 180, mean) of each bin of 30 degrees that has a number."""
        bins: dict[float, list[float]] = {}
        for azimuth, value in self._turned(protocol, method, key):
            middle = (math.floor(round(azimuth, 2) / BIN) * BIN + BIN / 2 + 180) % 360 - 180
            bins.setdefault(middle, []).append(value)
        return sorted((middle, fmean(values)) for middle, values in bins.items())

    def near_front(self, protocol: str, method: str, key: str) -> list[float]:
        """The numbers of all views within 30 degrees of azimuth from the front."""
        turned = self._turned(protocol, method, key)
        return [value for azimuth, value in turned if abs((azimuth + 180) % 360 - 180) <= NEAR]

    def margin(self, protocol: str, scale: Scale) -> tuple[str, Estimate] | None:
        """The best baseline, and how much better than it the model is, paired over people; None without."""
        sign = 1 if scale.higher_is_better else -1
        known = {method: self.people(protocol, method, scale.key) for method in BASELINES}
        known = {method: people for method, people in known.items() if people}
        if not known:
            return None
        best = max(known, key=lambda method: sign * fmean(known[method].values()))
        mine = self.people(protocol, "model", scale.key)
        both = [person for person in mine if person in known[best]]
        if not both:
            return None
        return best, estimate([sign * (mine[person] - known[best][person]) for person in both])

    def tables(self) -> list[Table]:
        """One for each protocol, the imagined views one by one, photos, identity, and what is missing."""
        tables = [
            self._protocol_table(protocol) for protocol in self.protocols() if protocol not in OF_PHOTOS
        ]
        if "views" in self.protocols():
            tables.append(self._view_table())
        if self.photos:
            tables.append(self._photo_table())
        tables += [table for table in (self._identity_table(), self._group_table()) if table.rows]
        if self.not_measured:
            rows = [(what, f"not measured: {why}") for what, why in self.not_measured.items()]
            tables.append(Table("Not measured", "", ("what", "why"), rows))
        return tables

    def introduction(self) -> str:
        facts = self.facts
        lights = len(self.records) / max(1, len(facts["people"]))
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

    def to_markdown(self, curves: str | None = None) -> str:
        """The report; `curves` is where its picture of curves lies."""
        parts = ["# Evaluation", self.introduction(), *(table.to_markdown() for table in self.tables())]
        if curves:
            parts += ["## By azimuth", f"![Each measure by azimuth]({curves})"]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """All numbers, and the tables' for those who do not want to work them out."""
        summary = {
            protocol: {method: self._summary(protocol, method) for method in self.methods(protocol)}
            for protocol in self.protocols()
        }
        return json.dumps({"summary": summary, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Report:
        """A report from its JSON, or from the folder that holds it.

        Raises:
            UserError: there is none, or it is of another kind.
        """
        path = path / "report.json" if path.is_dir() else path
        try:
            found = json.loads(path.read_text())
            return cls(
                found["facts"],
                [Scale(**scale) for scale in found["scales"]],
                found["not_measured"],
                *([Record(**record) for record in found[kind]] for kind in ("records", "photos")),
            )
        except OSError:
            raise UserError(f"There is no report at {path}: make one with `facelift evaluate`.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a report of this version ({error!r}): measure again.") from None

    def _all(self) -> list[Record]:
        return [*self.records, *self.photos]

    def _turned(self, protocol: str, method: str, key: str) -> Iterator[tuple[float, float]]:
        """(azimuth, number) of every view of every sample that has one."""
        for record in self._all():
            values = record.scores.get(protocol, {}).get(method, {}).get(key, [])
            for azimuth, value in zip(record.azimuths.get(protocol, []), values, strict=False):
                if value is not None:
                    yield azimuth, value

    def _summary(self, protocol: str, method: str) -> dict[str, Any]:
        found = {}
        for scale in self.scales:
            people = self.people(protocol, method, scale.key)
            if people:
                found[scale.key] = asdict(estimate([*people.values()])) | {"people": len(people)}
        return found

    def _cell(self, protocol: str, method: str, scale: Scale) -> str:
        people = self.people(protocol, method, scale.key)
        return estimate([*people.values()]).text(scale.digits) if people else "–"

    def _protocol_table(self, protocol: str) -> Table:
        scales = [
            scale
            for scale in self.scales
            if any(self.people(protocol, method, scale.key) for method in self.methods(protocol))
        ]
        rows = [
            (LABELS[method], *(self._cell(protocol, method, scale) for scale in scales))
            for method in self.methods(protocol)
        ]
        if protocol in WITH_BASELINES:
            margins = [self.margin(protocol, scale) for scale in scales]
            cells = (
                f"{margin[1].text(scale.digits)} (over {margin[0]})" if margin else "–"
                for margin, scale in zip(margins, scales, strict=True)
            )
            rows.append(("better than the best baseline by", *cells))
        return Table(protocol, f"{QUESTIONS[protocol]}.".capitalize(), ("answer", *_heads(scales)), rows)

    def _view_table(self) -> Table:
        methods = [method for method in self.methods("views") if method != "truth"]
        columns = [self.views("views", method, "psnr") for method in methods]
        rows = [
            (name, *("–" if value is None else f"{value:.2f}" for value in values))
            for name, *values in zip(VIEW_NAMES[1:], *columns, strict=True)
        ]
        text = "PSNR in dB of each canonical view; the front view is the input."
        return Table("The imagined views one by one", text, ("view", *(LABELS[m] for m in methods)), rows)

    def _identity_table(self) -> Table:
        scales = [scale for scale in self.scales if scale.key in IDENTITIES]
        rows = []
        for protocol in (p for p in (*ORBITS, "turned") if p in self.protocols()):
            for method in self.methods(protocol):
                found = [self.near_front(protocol, method, scale.key) for scale in scales]
                if any(found):
                    cells = (
                        f"{median(values):.{scale.digits}f}" if values else "–"
                        for values, scale in zip(found, scales, strict=True)
                    )
                    rows.append((protocol, LABELS[method], *cells))
        text = f"Median over all views within {NEAR} degrees of the front. Turned: {QUESTIONS['turned']}"
        return Table("Is it still that person?", text, ("protocol", "answer", *_heads(scales)), rows)

    def _group_table(self) -> Table:
        """The whole way, for each kind of people of whom there are enough to say something."""
        scored = {s: self.people(WHOLE, "model", s.key) for s in self.scales if s.key in GROUP_MEASURES}
        scored = {scale: people for scale, people in scored.items() if people}
        rows = []
        for group in GROUPS:
            members = {record.person for record in self.records if group in record.groups}
            cells = []
            for scale, people in scored.items():
                values = [value for person, value in people.items() if person in members]
                cells.append(estimate(values).text(scale.digits) if len(values) >= FEWEST else "–")
            if any(cell != "–" for cell in cells):
                rows.append((group, str(len(members)), *cells))
        text = (
            f"{QUESTIONS[WHOLE]}, by kind of people, where there are {FEWEST} or more of them.".capitalize()
        )
        return Table("For whom", text, ("people", "how many", *_heads([*scored])), rows)

    def _photo_table(self) -> Table:
        scales = [scale for scale in self.scales if self.people("photo", "model", scale.key)]
        rows: list[Sequence[str]] = []
        for photo in self.photos:
            found = photo.scores.get("photo", {}).get("model", {})
            cells = (_numbers(found.get(scale.key, [])) for scale in scales)
            texts = [
                f"{value[0]:.{scale.digits}f}" if value else "–"
                for value, scale in zip(cells, scales, strict=True)
            ]
            rows.append((photo.sample, *(texts if photo.error is None else [f"not measured: {photo.error}"])))
        width = 1 + max(1, len(scales))
        rows = [(*row, *[""] * (width - len(row))) for row in rows]
        if scales:
            cells_of_all = (self._cell("photo", "model", scale) for scale in scales)
            rows.append((f"mean of {sum(p.error is None for p in self.photos)}", *cells_of_all))
        text = f"{QUESTIONS['photo']}.".capitalize()
        return Table("Real photos", text, ("photo", *(_heads(scales) or [""])), rows)


def _heads(scales: Sequence[Scale]) -> list[str]:
    return [f"{scale.label} {'↑' if scale.higher_is_better else '↓'}" for scale in scales]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


__all__ = ["BIN", "LABELS", "ORBITS", "Record", "Report", "Scale", "Table"]
