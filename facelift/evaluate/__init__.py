"""The measurement behind `facelift evaluate`: a set, the protocols, the measures, and a report.

sets        what is measured on
protocols   what a model is shown and what it must predict; the model's and the baselines' predictions
metrics     the measures, with consistency, identity and learned
report      the numbers and tables; curves, pictures and page show them; compare puts two side by side
bench       makes the set `bench-heads-v1`
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from facelift.errors import UserError
from facelift.evaluate.measures import available_measures
from facelift.evaluate.metrics import Measure
from facelift.evaluate.pictures import grid_of, stacked
from facelift.evaluate.progress import Progress
from facelift.evaluate.protocols import (
    BASELINE_PROTOCOLS,
    ORBIT_PROTOCOLS,
    Baselines,
    model_predictions,
    photo_prediction,
    photo_target,
    score,
    targets_of,
    truth_as_prediction,
    turned_target,
)
from facelift.evaluate.report import Record, Report, Scale
from facelift.evaluate.sets import Sample, TestSet
from facelift.evaluate.tables import to_markdown
from facelift.evaluate.writing import RESULT_NAMES, azimuths_of, checksum, track, write_report
from facelift.formats.files import atomic_folder
from facelift.formats.png import write_png
from facelift.pipeline import FaceLift
from facelift.portrait.load import is_photo
from facelift.results import find_photos

__all__ = ["Report", "evaluate", "to_markdown"]

GRID_HEADS = 4


@torch.no_grad()
def evaluate(
    model: FaceLift,
    heads: str | Path,
    out: str | Path,
    train: str | Path | None = None,
    photos: str | Path | None = None,
    people: int | None = None,
    size: int | None = None,
    seed: int = 0,
    name: str = "mini",
    fetch: bool = False,
) -> Report:
    """Measure a model by every protocol of `facelift.evaluate.protocols` and write the report.

    What is finished is kept in `OUT.progress`, so that a run that was killed goes on where it stopped.

    Args:
        model: what is measured.
        heads: the set, see `facelift.evaluate.sets`.
        out: folder for RESULT_NAMES; they appear together or not at all.
        train: folder with `canonical/` and `orbit/` of training heads, with depth, seen from the set's own
            cameras, for the baselines; the report says which of them it lacks.
        photos: a photo or a folder of them.
        people: how many of the set's people to take, the first by name; None takes all.
        size: side in pixels at which everything is compared, a whole part of the set's own; None is that.
        seed: of the view generator's noise.
        name: the model's, for the report.
        fetch: whether weights of measures (LPIPS, DreamSim, ArcFace) may be downloaded.

    Raises:
        UserError: a set or training heads that cannot be used, an `out` that cannot be written, progress of
            another measurement in its place.
    """
    test = TestSet(heads, people, size)
    paths = find_photos([photos]) if photos is not None else []
    if len(paths) > 1:  # a folder, in which other files may lie
        paths = [path for path in paths if is_photo(path)]
    measures, missing = available_measures(fetch)
    facts = {
        "model": name,
        "weights": checksum(model),
        "set": str(heads),
        "set_checksum": test.checksum,
        "size": test.size,
        "background": "white",
        "seed": seed,
        "people": test.people,
        "train": None if train is None else str(train),
        "photos": [str(path) for path in paths],
    }
    scales = [Scale(m.key, m.label, m.higher_is_better, m.digits) for m in measures]
    progress = Progress(Path(f"{out}.progress"), {**facts, "measures": [scale.key for scale in scales]})
    baselines = Baselines(None if train is None else Path(train), test, partial(track, what="training heads"))
    records = []
    for i, sample in enumerate(track(test.names, "heads")):
        if (record := progress.load(sample)) is None:
            record, picture = _measure_sample(model, test.load(sample), baselines, measures, seed)
            progress.save(sample, record, picture if i < GRID_HEADS else None)
        records.append(record)
    of_photos = []
    for path in track(paths, "photos"):
        if (record := progress.load(f"photo {path.name}")) is None:
            record = _measure_photo(model, path, measures, seed)
            progress.save(f"photo {path.name}", record)
        of_photos.append(record)
    report = Report(facts, scales, {**missing, **baselines.missing, **_not_asked(test)}, records, of_photos)
    with atomic_folder(out, RESULT_NAMES) as aside:
        write_png(aside / "grid.png", stacked([progress.picture(name) for name in test.names[:GRID_HEADS]]))
        write_report(report, aside)
    progress.delete()
    return report


def _measure_sample(
    model: FaceLift, sample: Sample, baselines: Baselines, measures: list[Measure], seed: int
) -> tuple[Record, torch.Tensor]:
    """The scores of one sample, and its part of the picture grid."""
    targets = targets_of(sample)
    predicted = model_predictions(model, sample, targets, seed)
    azimuths, scores = {}, {}
    for protocol, target in targets.items():
        applied = [measure for measure in measures if protocol in ORBIT_PROTOCOLS or not measure.orbit_only]
        predictions = {"model": predicted[protocol]}
        if protocol in BASELINE_PROTOCOLS:
            predictions |= baselines.predictions(protocol, target, sample.canonical)
        absolute = [measure for measure in applied if measure.absolute]
        scores[protocol] = score(predictions, target, applied)
        scores[protocol] |= score({"truth": truth_as_prediction(target)}, target, absolute)
        azimuths[protocol] = azimuths_of(target.truth.cameras)
    record = Record(sample.name, sample.person, azimuths, scores, groups=sample.groups)
    return record, grid_of(targets, predicted)


def _measure_photo(model: FaceLift, path: Path, measures: list[Measure], seed: int) -> Record:
    try:
        head = model(path, seed=seed)
    except UserError as error:
        return Record(path.name, path.name, error=str(error))
    targets = {"photo": photo_target(head.portrait), "turned": turned_target(head.portrait)}
    azimuths, scores = {}, {}
    for protocol, target in targets.items():
        applied = [m for m in measures if not m.orbit_only and (m.absolute or protocol == "photo")]
        if applied:
            azimuths[protocol] = azimuths_of(target.truth.cameras)
            scores[protocol] = score({"model": photo_prediction(head, target)}, target, applied)
    return Record(path.name, path.name, azimuths, scores)


def _not_asked(test: TestSet) -> dict[str, str]:
    if test.orbit_cameras(test.names[0]) is not None:
        return {}
    return {protocol: "the set has the six canonical views only" for protocol in ORBIT_PROTOCOLS}
