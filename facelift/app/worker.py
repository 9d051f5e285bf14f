"""The process that computes: it holds the model, and does one task after the other.

It is a process of its own so that a photo that crashes a decoder or takes all memory ends this one alone, and
the server goes on answering.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facelift.errors import UserError
from facelift.formats.files import explain
from facelift.processes import end_with_parent
from facelift.timings import Timings

if TYPE_CHECKING:
    from facelift.pipeline import FaceLift

NO_MEMORY = "There is not enough memory for this: use a smaller photo, or close other programs."


class StoppedError(Exception):
    """Whoever wanted the result has left."""


class Stages(Timings):
    """Tells the server how far the work is, and ends it where the server says so."""

    def __init__(self, connection: Connection, stop: Connection) -> None:
        super().__init__()
        self._connection, self._stop = connection, stop
        while stop.poll():  # meant for the task before, which was done already
            stop.recv()

    def tell(self, **news: Any) -> None:
        """Send news of the task.

        Raises:
            StoppedError: nobody wants them any more.
        """
        if self._stop.poll():
            raise StoppedError
        self._connection.send(news)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """A stage of the work."""
        self.tell(stage=stage, step=None)
        with super().__call__(stage):
            yield

    def steps(self, steps: Iterable[Any], total: int | None = None) -> Iterator[Any]:
        """The same steps, `total` if they are no sequence; each is told."""
        if total is None:
            steps = list(steps)
            total = len(steps)
        for number, step in enumerate(steps, 1):
            self.tell(step=(number, total))
            yield step


def work(connection: Connection, stop: Connection, model: dict[str, Any]) -> None:
    """Load a model, then do what comes over the connection until it closes.

    Each task is answered by news, dictionaries of attributes of `facelift.app.queue.Task`; the last one has a
    `state`.

    Args:
        connection: to the server, which sends the arguments of `_do`.
        stop: where something comes when the task at hand is not wanted any more.
        model: arguments of `FaceLift.from_pretrained`.
    """
    end_with_parent()
    warnings.filterwarnings("ignore", module="PIL")  # about the metadata of photos that are read all the same
    try:
        from facelift.pipeline import FaceLift
        from facelift.weights import DEFAULT_MODEL

        pipeline = FaceLift.from_pretrained(**model)
    except Exception as error:
        connection.send({"state": "failed", "error": sentence(error)})
        return
    settings = pipeline.settings
    loaded = {
        "model": Path(model["model"] or DEFAULT_MODEL).name,
        "license": settings.license,
        "size": pipeline.portrait_size,
        "refinement": settings.refinement.steps,
    }
    connection.send({"state": "done", "result": loaded})
    while True:
        try:
            kind, folder, arguments = connection.recv()
        except EOFError:
            return
        stages = Stages(connection, stop)
        try:
            _do(pipeline, kind, Path(folder), arguments, stages)
            end: dict[str, Any] = {"state": "done", "stage": None, "step": None}
        except StoppedError:
            end = {"state": "cancelled"}
        except Exception as error:
            cause = "refused" if isinstance(error, UserError) else "fault"
            end = {"state": "failed", "error": sentence(error), "cause": cause}
        connection.send({**end, "seconds": dict(stages.rows())})


def _do(pipeline: FaceLift, kind: str, folder: Path, arguments: dict[str, Any], stages: Stages) -> None:
    from facelift.app.files import PHOTO, make_file, write_head, write_photo, write_portrait
    from facelift.app.options import HeadOptions

    if kind == "file":
        with stages("files"):
            make_file(folder, arguments["name"], stages.steps)
        return
    options = HeadOptions(**arguments)
    with stages("portrait"):
        photo = (folder / PHOTO).read_bytes()
        portrait = pipeline.prepare(photo, **options.preparation)
        faces = write_photo(folder, photo, portrait)
        write_portrait(folder, portrait)
        found = [{"kind": warning.kind, "text": str(warning)} for warning in portrait.warnings]
    stages.tell(result={"faces": faces, "warnings": found})
    if kind == "head":
        head = pipeline(portrait, **options.generation, timings=stages, progress=stages.steps)
        with stages("files"):
            write_head(folder, head)


def sentence(error: Exception) -> str:
    """What a visitor is told; a defect goes to the log besides."""
    if isinstance(error, UserError):
        return str(error)
    if (
        isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
        or "OutOfMemory" in str(type(error))
    ):
        return NO_MEMORY
    if isinstance(error, OSError):
        return f"{explain(error).capitalize()}."
    traceback.print_exception(error)
    return f"Something is wrong with this program ({type(error).__name__}): its log says more."
