"""Everything that one run measured, as numbers that can be read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from facelift.errors import UserError
from facelift.evaluate.protocols import BASELINES, DESCRIPTIONS
from facelift.evaluate.statistics import Estimate, estimate

METHODS = ("model", "truth", *BASELINES)
"""Whose predictions are measured, in the order of the tables."""

AZIMUTH_BIN = 30  # degrees of azimuth that the curves take together
NEAR_FRONT = 30  # degrees of azimuth within which a face should be its portrait's


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
        alignments: by method, how its head came into the frame of a benchmark's views; the fields of
            `facelift.evaluate.benchmarks.answers.Alignment`.
        checksum: SHA-256 of what was shown and compared on a benchmark.
    """

    sample: str
    person: str
    azimuths: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, list[float | None]]]] = field(default_factory=dict)
    error: str | None = None
    groups: list[str] = field(default_factory=list)
    alignments: dict[str, dict[str, Any]] = field(default_factory=dict)
    checksum: str = ""


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
        """Those that were measured, in the order of the tables."""
        found = {protocol for record in self._records() for protocol in record.scores}
        return [protocol for protocol in DESCRIPTIONS if protocol in found]

    def methods(self, protocol: str) -> list[str]:
        """Who has numbers in a protocol, in the order of the tables: model, baselines, other systems."""
        found = {method for record in self._records() for method in record.scores.get(protocol, {})}
        return [m for m in METHODS if m in found] + sorted(found - {*METHODS})

    def people(self, protocol: str, method: str, key: str) -> dict[str, float]:
        """person -> mean over the views, then over the lights; people without a number are left out."""
        samples: dict[str, list[float]] = {}
        for record in self._records():
            values = numbers(record.scores.get(protocol, {}).get(method, {}).get(key, []))
            if values:
                samples.setdefault(record.person, []).append(fmean(values))
        return {person: fmean(values) for person, values in samples.items()}

    def views(self, protocol: str, method: str, key: str) -> list[float | None]:
        """One number a view, the mean over samples that have as many views."""
        scores = (record.scores.get(protocol, {}).get(method, {}) for record in self._records())
        rows = [found[key] for found in scores if key in found]
        if not rows or len({len(row) for row in rows}) > 1:
            return []
        columns = [numbers(column) for column in zip(*rows, strict=True)]
        return [fmean(column) if column else None for column in columns]

    def by_azimuth(self, protocol: str, method: str, key: str) -> list[tuple[float, float]]:
        """(azimuth in -180 to 180, mean) of each bin of 30 degrees that has a number."""
        bins: dict[float, list[float]] = {}
        for azimuth, value in self._by_view(protocol, method, key):
            start = math.floor(round(azimuth, 2) / AZIMUTH_BIN) * AZIMUTH_BIN
            middle = (start + AZIMUTH_BIN / 2 + 180) % 360 - 180
            bins.setdefault(middle, []).append(value)
        return sorted((middle, fmean(values)) for middle, values in bins.items())

    def near_front(self, protocol: str, method: str, key: str) -> list[float]:
        """The numbers of all views within 30 degrees of azimuth from the front."""
        turned = self._by_view(protocol, method, key)
        return [value for azimuth, value in turned if abs((azimuth + 180) % 360 - 180) <= NEAR_FRONT]

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
            found = json.loads(path.read_text(encoding="utf-8"))
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

    def _records(self) -> list[Record]:
        return [*self.records, *self.photos]

    def _by_view(self, protocol: str, method: str, key: str) -> Iterator[tuple[float, float]]:
        """(azimuth, number) of every view of every sample that has one."""
        for record in self._records():
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


def numbers(values: Sequence[float | None]) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]
