"""The measurement of `facelift evaluate` on a public benchmark: one photo in, all other cameras out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from facelift.data.reader import resize_images
from facelift.errors import UserError
from facelift.evaluate.baselines import billboard, rendered
from facelift.evaluate.benchmarks.answers import Alignment, Answers, by_landmarks
from facelift.evaluate.benchmarks.sample import BENCHMARKS, BenchmarkSample, Choice, detect, load_sample
from facelift.evaluate.measures import available_measures
from facelift.evaluate.metrics import Measure, Prediction, Target, rounded
from facelift.evaluate.pictures import grid_of_predictions, stacked
from facelift.evaluate.progress import Progress
from facelift.evaluate.protocols import score, truth_as_prediction
from facelift.evaluate.report import Record, Report, Scale
from facelift.evaluate.writing import RESULT_NAMES, azimuths_of, checksum, track, write_report
from facelift.formats.files import atomic_folder
from facelift.formats.png import write_png
from facelift.gaussians import Gaussians
from facelift.pipeline import FaceLift
from facelift.weights import find_model, load_portrait_network

PROTOCOL = "novel-views"
GRID_PEOPLE = 4


@torch.no_grad()
def evaluate_benchmark(
    model: FaceLift,
    root: str | Path,
    out: str | Path,
    choice: Choice,
    answers: Sequence[Answers] = (),
    seed: int = 0,
    name: str = "mini",
    fetch: bool = False,
) -> Report:
    """Measure a model, and heads of other systems, on a public benchmark and write the report.

    What is finished is kept in `OUT.progress`, so that a run that was killed goes on where it stopped.

    Args:
        model: what is measured.
        root: folder of one of `facelift.evaluate.benchmarks.sample.BENCHMARKS`.
        out: folder for RESULT_NAMES; they appear together or not at all.
        choice: what of the benchmark, and how.
        answers: heads of other systems from the same photos.
        seed: of the view generator's noise.
        name: the model's, for the report.
        fetch: whether weights of measures may be downloaded.

    Raises:
        UserError: something of the benchmark or of the answers is missing or damaged, or `out` cannot be
            written.
    """
    benchmark, folders = _people(Path(root), choice)
    network = load_portrait_network(find_model(None))  # frames and cuts out alike, whatever is measured
    measures, missing = available_measures(fetch, vgg=True)
    measures = [measure for measure in measures if not measure.orbit_only]
    facts = {
        "model": name,
        "weights": checksum(model),
        "set": str(root),
        "benchmark": benchmark,
        "choice": asdict(choice),
        "answers": {system.name: str(system.folder) for system in answers},
        "size": choice.size,
        "background": "white",
        "seed": seed,
        "people": [folder.parent.name if folder.name == "decoder" else folder.name for folder in folders],
        "train": None,
        "photos": [],
    }
    scales = [Scale(m.key, m.label, m.higher_is_better, m.digits) for m in measures]
    progress = Progress(Path(f"{out}.progress"), {**facts, "measures": [scale.key for scale in scales]})
    records = []
    for i, folder in enumerate(track(folders, "people")):
        if (record := progress.load(str(folder))) is None:
            sample = load_sample(benchmark, folder, choice, network)
            record, picture = _measure(model, sample, choice, answers, measures, seed)
            progress.save(str(folder), record, picture if i < GRID_PEOPLE else None)
        records.append(record)
    facts["set_checksum"] = hashlib.sha256("".join(r.checksum for r in records).encode()).hexdigest()
    report = Report(facts, scales, missing, records, [])
    with atomic_folder(out, RESULT_NAMES) as aside:
        pictures = [progress.picture(str(folder)) for folder in folders[:GRID_PEOPLE]]
        write_png(aside / "grid.png", stacked(pictures))
        write_report(report, aside)
    progress.delete()
    return report


def write_inputs(root: str | Path, out: Path, choice: Choice) -> list[Path]:
    """Write the prepared portraits that are shown, `PERSON.png`, for other systems to be run on.

    Raises:
        UserError: as `evaluate_benchmark`.
    """
    benchmark, folders = _people(Path(root), choice)
    network = load_portrait_network(find_model(None))
    samples = [load_sample(benchmark, folder, choice, network) for folder in folders]
    names = frozenset(f"{sample.person}.png" for sample in samples)
    with atomic_folder(out, names) as aside:
        for sample in samples:
            write_png(aside / f"{sample.person}.png", sample.portrait.image)
    return sorted(out / name for name in names)


def _people(root: Path, choice: Choice) -> tuple[str, list[Path]]:
    found = detect(root)
    if found is None:
        raise UserError(f"{root} is no folder of {', '.join(BENCHMARKS)}, as its owner lays it out.")
    benchmark, folders = found
    if choice.people is not None and len(folders) < choice.people:
        raise UserError(
            f"There are {len(folders)} people of {benchmark}, not {choice.people}: ask for fewer."
        )
    return benchmark, folders[: choice.people]


def _measure(
    model: FaceLift,
    sample: BenchmarkSample,
    choice: Choice,
    answers: Sequence[Answers],
    measures: list[Measure],
    seed: int,
) -> tuple[Record, torch.Tensor]:
    """The scores of one person, and the part of the picture grid."""
    heads = {system.name: system.load(sample.person, sample.name) for system in answers}
    portrait = replace(
        sample.portrait,
        image=resize_images(sample.portrait.image[None], model.portrait_size)[0],
        alpha=resize_images(sample.portrait.alpha[None], model.portrait_size)[0],
    )
    heads = {"model": model(portrait, seed=seed).gaussians, **heads}
    views = replace(sample.views, images=rounded(sample.views.images))
    target = Target(rounded(sample.portrait.image), views)
    predictions, alignments = {}, {}
    for method, gaussians in heads.items():
        aligned, alignment = _aligned(gaussians, sample, choice)
        alignments[method] = {**asdict(alignment), "unit": sample.unit, "input_view": sample.input_view}
        predictions[method] = _shown_only(rendered(aligned, views.cameras), sample.shown)
    flat = billboard(target.portrait, sample.portrait.alpha, views.cameras)
    with_baseline = {**predictions, "billboard": _shown_only(flat, sample.shown)}
    absolute = [measure for measure in measures if measure.absolute]
    scores = score(with_baseline, target, measures)
    scores |= score({"truth": truth_as_prediction(target)}, target, absolute)
    record = Record(
        sample.name,
        sample.person,
        {PROTOCOL: azimuths_of(views.cameras)},
        {PROTOCOL: scores},
        groups=[f"masks: {sample.masks}"],
        alignments=alignments,
        checksum=_digest(sample),
    )
    return record, grid_of_predictions(target, predictions)


def _aligned(gaussians: Gaussians, sample: BenchmarkSample, choice: Choice) -> tuple[Gaussians, Alignment]:
    if choice.align == "cameras":
        return gaussians, Alignment("cameras")
    similarity, alignment = by_landmarks(gaussians, sample.landmarks)
    if choice.align == "landmarks" and alignment.by != "landmarks":
        raise UserError(
            f"{sample.name} cannot be aligned by landmarks, {alignment.reason}: use --align auto."
        )
    return similarity.move(gaussians), alignment


def _shown_only(prediction: Prediction, shown: torch.Tensor) -> Prediction:
    """White and empty where the photos show nothing."""
    assert prediction.alpha is not None
    return Prediction(torch.where(shown, prediction.images, 1.0), prediction.alpha * shown)


def _digest(sample: BenchmarkSample) -> str:
    views = sample.views
    parts = (sample.portrait.image, views.images, views.alpha, views.cameras.w2c, views.cameras.intrinsics)
    return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()
