"""The measurements as a reader wants them: report.json, report.md and grid.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from facelift.cameras import VIEW_NAMES
from facelift.evaluate.metrics import Estimate, estimate
from facelift.evaluate.protocols import WITH_BASELINES, PhotoScore, Score
from facelift.formats.png import tile, write_png

RESULT_NAMES = frozenset({"report.json", "report.md", "grid.png"})
METRICS = ("psnr", "masked")

_QUESTIONS = {
    "reconstruction": "six true views in, {views} orbit views out",
    "single-image": "the front view in, {views} orbit views out",
    "views": "the front view in, the five other canonical views out",
}


@dataclass(frozen=True)
class Report:
    """Everything that one run measured.

    Attributes:
        model: its name.
        size: side of the images in pixels.
        seed: of the view generator's noise.
        heads: names of the held-out heads.
        orbit_views: how many views of each head the Gaussians were compared in.
        scores: protocol -> method (`model`, `mean`, `portrait`) -> one score a head, in the order of `heads`.
        training_heads: protocol -> how many training heads the baseline `mean` is of.
        not_measured: protocol -> why it has no baseline `mean`.
        photos: one for each photo.
    """

    model: str
    size: int
    seed: int
    heads: list[str]
    orbit_views: int
    scores: Mapping[str, Mapping[str, Sequence[Score]]]
    training_heads: Mapping[str, int]
    not_measured: Mapping[str, str]
    photos: Sequence[PhotoScore]

    def people(self, protocol: str, method: str, metric: str) -> list[float]:
        """One number a person: the mean over views, in dB."""
        return [getattr(score, metric).mean().item() for score in self.scores[protocol][method]]

    def views(self, protocol: str, method: str, metric: str) -> list[float]:
        """One number a view: the mean over people, in dB."""
        return (
            torch.stack([getattr(score, metric) for score in self.scores[protocol][method]]).mean(0).tolist()
        )

    def margin(self, protocol: str, metric: str) -> tuple[str, Estimate] | None:
        """The better baseline, and how far the model is above it over people; None unless both are known."""
        baselines = {m: self.people(protocol, m, metric) for m in self.scores[protocol] if m != "model"}
        if len(baselines) < 2:
            return None
        better = max(baselines, key=lambda method: fmean(baselines[method]))
        mine = self.people(protocol, "model", metric)
        return better, estimate([a - b for a, b in zip(mine, baselines[better], strict=True)])

    def to_json(self) -> str:
        facts = {key: getattr(self, key) for key in ("model", "size", "seed", "heads", "orbit_views")}
        protocols = {protocol: self._protocol_facts(protocol) for protocol in self.scores}
        photos = [asdict(photo) for photo in self.photos]
        return (
            json.dumps({**facts, "protocols": protocols, "photos": photos}, indent=1, allow_nan=False) + "\n"
        )

    def to_markdown(self) -> str:
        parts = [
            "# Evaluation",
            f"Model {self.model}, seed {self.seed}; {len(self.heads)} held-out synthetic heads "
            f"({self.heads[0]} to {self.heads[-1]}), {self.size} × {self.size} pixels, white background.\n"
            "PSNR in dB, of each image over all pixels and channels; masked: over the true silhouette. "
            "Mean over images ± 95% confidence interval over people.",
            _table(("protocol", "answer", "PSNR", "masked PSNR"), self._protocol_rows()),
            "The canonical views that the first stage imagines, one by one; the front view is its input:",
            self._view_table(),
        ]
        if self.photos:
            parts += ["Front renders against the prepared portraits of real photos:", self._photo_table()]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path, grid: Tensor) -> None:
        """Fill an existing folder with RESULT_NAMES."""
        (folder / "report.json").write_text(self.to_json())
        (folder / "report.md").write_text(self.to_markdown())
        write_png(folder / "grid.png", grid)

    def _protocol_facts(self, protocol: str) -> dict[str, object]:
        answers = {
            method: {
                metric: {
                    **asdict(estimate(self.people(protocol, method, metric))),
                    "people": self.people(protocol, method, metric),
                    "views": self.views(protocol, method, metric),
                }
                for metric in METRICS
            }
            for method in self.scores[protocol]
        }
        if protocol not in WITH_BASELINES:
            return {"answers": answers}
        margins = {metric: self.margin(protocol, metric) for metric in METRICS}
        return {
            "answers": answers,
            "over_baseline": {
                metric: margin and {"baseline": margin[0], **asdict(margin[1])}
                for metric, margin in margins.items()
            },
            "training_heads": self.training_heads.get(protocol),
            "not_measured": self.not_measured.get(protocol),
        }

    def _protocol_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for protocol, methods in self.scores.items():
            question = f"{protocol}: {_QUESTIONS[protocol].format(views=self.orbit_views)}"
            for method in methods:
                estimates = (str(estimate(self.people(protocol, method, metric))) for metric in METRICS)
                rows.append((question, self._label(protocol, method), *estimates))
                question = ""
            if protocol not in WITH_BASELINES:
                continue
            if protocol in self.not_measured:
                reason = f"not measured: {self.not_measured[protocol]}"
                rows.append(("", "mean of the training heads", reason, ""))
                rows.append(("", "margin over the better baseline", reason, ""))
            else:
                margins = (self.margin(protocol, metric) for metric in METRICS)
                texts = (f"{margin[1]} (over {margin[0]})" if margin else "" for margin in margins)
                rows.append(("", "margin over the better baseline", *texts))
        return rows

    def _label(self, protocol: str, method: str) -> str:
        if method == "mean":
            return f"mean of {self.training_heads[protocol]} training heads"
        return {"model": "the model", "portrait": "portrait, from everywhere"}[method]

    def _view_table(self) -> str:
        methods = list(self.scores["views"])
        columns = [self.views("views", method, "psnr") for method in methods]
        rows = [
            (name, *(f"{value:.2f}" for value in values))
            for name, *values in zip(VIEW_NAMES[1:], *columns, strict=True)
        ]
        return _table(("view", *(self._label("views", method) for method in methods)), rows)

    def _photo_table(self) -> str:
        rows = [
            (p.photo, f"not measured: {p.error}" if p.psnr is None else f"{p.psnr:.2f}") for p in self.photos
        ]
        measured = [p.psnr for p in self.photos if p.psnr is not None]
        if measured:
            rows.append((f"mean of {len(measured)}", str(estimate(measured))))
        return _table(("photo", "PSNR"), rows)


def grid_rows(portrait: Tensor, truth: Tensor, reconstruction: Tensor, single_image: Tensor) -> list[Tensor]:
    """One person in the grid: the portrait and the true views, beneath each its two answers."""
    blank = torch.ones_like(portrait)[None]
    return [
        torch.cat([portrait[None], truth]),
        torch.cat([blank, reconstruction]),
        torch.cat([blank, single_image]),
    ]


def grid(rows: Sequence[Tensor]) -> Tensor:
    """Rows (C, 3, S, S) as one image (3, rows * S, C * S)."""
    return tile(torch.cat(list(rows)), len(rows[0]))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
