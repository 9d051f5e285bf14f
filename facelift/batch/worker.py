"""What a worker does: it holds the models, and makes the files of a few photos at a time."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facelift.errors import UserError
from facelift.formats.files import explain

if TYPE_CHECKING:
    from facelift.head import Head
    from facelift.portrait import Portrait

Status = Literal["done", "refused", "failed"]
"""Of a photo: a refused one cannot be used as it is, a failed one is tried again by the next run."""

NamedPhoto = tuple[str, Path | bytes]
"""What pages call the head of a photo, and where to read it: a path, or all of its bytes."""

GPU_BATCH = 8
"""Photos that a worker with a GPU takes at a time; the pipeline plans how many of them fit its memory."""


@dataclass(frozen=True)
class Job:
    """What workers must know: the same for every photo.

    Attributes:
        model: arguments of `FaceLift.from_pretrained` that decide what heads are like.
        place: its arguments that do not: device and memory.
        preparation: arguments of `FaceLift.prepare`.
        generation: arguments of `FaceLift.__call__`.
        fit: changes of the model's own fit, "NAME=VALUE" each.
        files: arguments of `facelift.results.write_results`.
        ply_layout: of `.ply` files; None is the model's own.
        batch_size: photos at a time; None is 1, and `GPU_BATCH` on a GPU.
    """

    model: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    fit: tuple[str, ...] = ()
    files: dict[str, Any] = field(default_factory=dict)
    ply_layout: Any = None
    batch_size: int | None = None

    def worker(self, number: int = 0, scratch: Path | None = None) -> Worker:
        """Who does it; the arguments are those of `Worker`."""
        return Worker(self, number, scratch)

    @property
    def digest(self) -> str:
        """Another one where heads or their files would be others."""
        said = {name: value for name, value in asdict(self).items() if name not in ("place", "batch_size")}
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    """What became of one photo.

    Attributes:
        status: of it.
        error: why there is no head, a sentence.
        warnings: what in the photo may spoil the head, sentences.
        seconds: that it took, its share of those of a batch.
        files: names and contents.
    """

    status: Status
    error: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    files: dict[str, bytes] = field(default_factory=dict)


class Worker:
    """One process with the models.

    Args:
        job: what to do.
        number: of the worker; those of one machine share its GPUs evenly.
        scratch: folder for temporary files; None is the system's.
    """

    def __init__(self, job: Job, number: int = 0, scratch: Path | None = None) -> None:
        self._job, self._number, self._scratch = job, number, scratch

    def load(self) -> int:
        """Load the models; returns how many photos to bring at a time.

        Raises:
            UserError: there is no such model, or an option is none of it.
        """
        import torch

        from facelift.pipeline import FaceLift

        warnings.filterwarnings(
            "ignore", module="PIL"
        )  # about the metadata of photos that are read all the same
        job, place = self._job, dict(self._job.place)
        if place.get("device", "auto") in ("auto", "cuda") and torch.cuda.is_available():
            place["device"] = f"cuda:{self._number % torch.cuda.device_count()}"
        self._pipeline = FaceLift.from_pretrained(**job.model, **place)
        self._options = dict(job.generation)
        sampling = {name: self._options.get(name) for name in ("steps", "guidance", "eta")}
        self._pipeline.views.resolve_sampling(self._options.get("scheduler", "ddim"), **sampling)
        if job.fit:
            self._options["refinement"] = self._pipeline.settings.refinement.changed(list(job.fit))
        return job.batch_size or (GPU_BATCH if self._pipeline.device.type == "cuda" else 1)

    def lift(self, photos: Sequence[NamedPhoto]) -> list[Result]:
        """The files of a few photos; one that fails spoils no other."""
        start = time.perf_counter()
        results: dict[int, Result] = {}
        portraits: dict[int, Portrait] = {}
        for number, (_, photo) in enumerate(photos):
            try:
                portraits[number] = self._pipeline.prepare(photo, **self._job.preparation)
            except Exception as error:
                results[number] = Result("refused" if isinstance(error, UserError) else "failed", told(error))
        for number, head in self._heads(portraits).items():
            title = photos[number][0]
            results[number] = head if isinstance(head, Result) else self._written(head, title)
        share = (time.perf_counter() - start) / len(photos)
        return [replace(results[number], seconds=share) for number in range(len(photos))]

    def _heads(self, portraits: dict[int, Portrait]) -> dict[int, Head | Result]:
        """All at once; one by one where that fails, so that each has its own error."""
        try:
            heads = self._pipeline(list(portraits.values()), **self._options, batch_size=self._job.batch_size)
            return dict(zip(portraits, heads, strict=True))
        except Exception as error:
            if len(portraits) == 1:
                return dict.fromkeys(portraits, Result("failed", told(error)))
        return {key: head for one in portraits.items() for key, head in self._heads(dict([one])).items()}

    def _written(self, head: Head, title: str) -> Result:
        from facelift.results import write_results

        if self._job.ply_layout is not None:
            head = replace(head, ply_layout=self._job.ply_layout)
        try:
            with tempfile.TemporaryDirectory(dir=self._scratch) as name:
                write_results(Path(name), head, **self._job.files, title=title)
                files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
        except Exception as error:
            return Result("failed", told(error))
        return Result("done", warnings=tuple(map(str, head.warnings)), files=files)


def told(error: Exception) -> str:
    """Why a photo has no head, in one sentence; a defect's traceback goes to standard error besides."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if (
        isinstance(error, MemoryError)
        or "out of memory" in str(error)
        or "can't allocate memory" in str(error)
    ):
        return (
            "There was not enough memory: take fewer --workers, a smaller --batch-size or --memory offload."
        )
    if isinstance(error, OSError):
        return f"{explain(error).capitalize()}."
    traceback.print_exception(error)
    return f"Something is wrong with this program ({type(error).__name__}: {error})."
