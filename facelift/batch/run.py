"""One run over many photos: resumes what an earlier one left, and writes what workers hand back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from filelock import FileLock, Timeout

from facelift.batch.cluster import on_ray
from facelift.batch.index import Index, Row
from facelift.batch.photos import Photo, import_pyarrow, read_photos
from facelift.batch.pools import on_this_machine, share
from facelift.batch.stores import Folders, Shards, Store
from facelift.batch.worker import Job, Result
from facelift.choices import Storage
from facelift.errors import UserError
from facelift.formats.files import explain

LOCK, SCRATCH = ".lock", ".scratch"


def reconstruct_batch(
    photos: Sequence[str | Path],
    out: str | Path,
    job: Job | None = None,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_worker: float | None = None,
    storage: Storage = "folders",
) -> Iterator[Row]:
    """Make the heads of many photos; yields what became of each, as soon as it is on the disk.

    Called again, it goes on where it was, however it ended: photos whose heads are there are left out, and so
    are those that were refused. Those that failed, and those that changed, are made. `out` gets a folder for
    each head, or shards; `index.jsonl`, a line for each photo as it is done; and at the end `index.parquet`.

    Args:
        photos: paths of photos, folders, globs, tar files and parquet files.
        out: folder to fill; made if need be.
        job: how heads are made; None is how `FaceLift` makes them by itself.
        workers: how many processes or actors; None is 1, and on Ray as many as the cluster has room for.
        ray: address of a Ray cluster that does the work.
        gpus_per_worker: of the cluster's, see `facelift.batch.cluster.on_ray`.
        storage: "folders" or "shards".

    Raises:
        UserError: there are no photos, `out` cannot be written or another run is at work there, a model,
            package or cluster is missing, or a tar or parquet file is damaged.
    """
    import_pyarrow()
    job = job or Job()
    folder = _writable(Path(out))
    if any(folder == Path(path).resolve() for path in photos):
        raise UserError(f"The results would lie among the photos in {out}: choose another --out.")
    with ExitStack() as stack:
        stack.enter_context(_only_run(folder))
        scratch = folder / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir()
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        index = Index(folder, job.digest)
        stack.callback(index.close)
        stack.callback(index.write_table)
        store: Store = Folders(folder)
        if storage == "shards":
            store = Shards(folder, index.rows.values(), index.resumed)
        kept = _Results(folder, index, store)
        todo = read_photos(photos, index.knows)
        first = next(todo, None)
        if first is None:  # all are there: no models are loaded
            return
        if ray is None:
            pool = on_this_machine(job, workers or 1, scratch)
        else:
            pool = on_ray(job, ray, workers, gpus_per_worker)
        slots = stack.enter_context(pool)
        for photo, result in share(slots, chain([first], todo)):
            yield kept.add(photo, result)


class _Results:
    """The files of heads and their rows, each photo's under a name of its own."""

    def __init__(self, out: Path, index: Index, store: Store) -> None:
        self._out, self._index, self._store = out, index, store
        self._taken = {row.name.casefold() for row in index.rows.values()}

    def add(self, photo: Photo, result: Result) -> Row:
        """Put the files of a head in their place, then its row into the index.

        Raises:
            UserError: they cannot be written.
        """
        row = Row(
            photo=photo.key,
            status=result.status,
            error=result.error,
            warnings=[*result.warnings],
            time=round(result.seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            version=photo.version,
            options=self._index.options,
        )
        if result.status == "done":
            row = replace(row, **self._store.put(self._name(photo), result.files))
        self._index.add(row)
        return row

    def _name(self, photo: Photo) -> str:
        """The one it had; else the stem of its file, or its whole name, with a number where that is taken."""
        before = self._index.rows.get(photo.key)
        if before is not None and before.name and self._store.replaces:
            return before.name
        whole = photo.name.name
        for name in map(
            self._store.clean, chain([photo.name.stem, whole], (f"{whole}-{i}" for i in count(2)))
        ):
            if name.casefold() not in self._taken and self._free(photo, self._out / name):
                self._taken.add(name.casefold())
                return name
        raise AssertionError("there is always another number")

    @staticmethod
    def _free(photo: Photo, path: Path) -> bool:
        """Whether results may go there: not in place of a file, nor around the photo itself."""
        around = isinstance(photo.source, Path) and path in photo.source.resolve().parents
        return not around and (path.is_dir() or not path.exists())


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()
    except OSError as error:
        raise UserError(f"Cannot write {out}: {explain(error)}.") from error
    return out.resolve()


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process, however it ends."""
    try:
        with FileLock(out / LOCK, blocking=False):
            yield
    except Timeout:
        raise UserError(f"Another run is at work in {out}: let it finish, or stop it.") from None
