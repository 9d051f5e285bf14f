"""Makes a data set of synthetic heads, in one process or in many, and can be stopped at any moment.

Head k of a run has seed `seed + k`. It lies in a folder or in a WebDataset shard of `out`, with the files
that `facelift.data.schema` names; `OUT/data_<layout>_train.txt` and `..._val.txt` list the folders or
shards, one a line. A run that was killed is started again with the same command: what is whole stays, what
is damaged or missing is drawn. Training can go on beside a run and take in each head as it comes
(`facelift.data.streaming`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import zip_longest
from pathlib import Path
from typing import get_args

from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelift.choices import RendererName, Rig, Storage, Truth
from facelift.data import split
from facelift.data.folders import Folders
from facelift.data.schema import CYCLES_SAMPLES, LAYOUTS, Contents, Files
from facelift.data.shards import Shards
from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.synth.assets import Assets
from facelift.synth.head import BuiltPerson, build_person, draw_built_person, draw_photo
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.recipes import newest_recipe
from facelift.synth.renderers import SceneRenderer, open_renderer
from facelift.synth.workers import on_ray, on_this_machine
from facelift.synth.writer import encode

SIZES = range(32, 2049)

STORES: dict[Storage, type[Folders] | type[Shards]] = {"folders": Folders, "shards": Shards}

Done = tuple[int, int]
"""How many heads are there, and how many of these had to be drawn."""


class HeadRenderer:
    """Draws heads and encodes them; a context manager. Assets and OpenGL are opened for the first head.

    Args:
        assets: a MakeHuman data folder or a pack.
        renderer, samples: of the pictures.
        recipe: of the people.
    """

    def __init__(self, assets: Path, renderer: RendererName, samples: int, recipe: int | None = None) -> None:
        self._folder, self._renderer, self._samples, self._recipe = assets, renderer, samples, recipe
        self._open = ExitStack()
        self._built: BuiltPerson | None = None

    def draw(self, contents: Contents, seed: int) -> Files:
        """The files of one head; further contents of the same head are drawn from the scene that is there."""
        assets, renderer, other = self._tools
        if self._built is None or self._built.person.seed != seed:
            self._built = build_person(seed, assets, self._recipe)
        if contents.cameras is None:
            head = draw_photo(self._built, assets, renderer, contents.size, other)
        else:
            head = draw_built_person(self._built, renderer, contents.cameras, other)
        return encode(contents, split.folder_name(seed), head)

    @cached_property
    def _tools(self) -> tuple[Assets, Renderer, SceneRenderer | None]:
        assets, renderer = open_assets(self._folder), self._open.enter_context(Renderer())
        if self._renderer == "opengl":
            return assets, renderer, None
        return assets, renderer, self._open.enter_context(open_renderer(self._renderer, self._samples))

    def __enter__(self) -> HeadRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@dataclass(frozen=True)
class Job:
    """What a worker process has to know to fill units: of one data set, or of several of the same heads."""

    stores: tuple[Folders | Shards, ...]
    assets: Path
    recipe: int | None = None

    def __call__(self, unit: range) -> Done:
        """Fill one unit."""
        drawn = list(self.fill(unit, _head_renderer(self)))
        return len(drawn), sum(drawn)

    def renderer(self) -> HeadRenderer:
        """What draws the heads of this job."""
        contents = self.stores[0].contents
        return HeadRenderer(self.assets, contents.renderer, contents.samples, self.recipe)

    def fill(self, unit: range, renderer: HeadRenderer) -> Iterator[bool]:
        """For each seed whether anything of it had to be drawn."""
        filling = [_fill(store, unit, renderer) for store in self.stores]
        for drawn in zip_longest(*filling):  # a shard that was there may go on beyond the unit
            yield any(drawn)


_head_renderer = cache(Job.renderer)  # one for a worker process, which ends with the work


def _fill(store: Folders | Shards, unit: range, renderer: HeadRenderer) -> Iterator[bool]:
    try:
        yield from store.fill(unit, partial(renderer.draw, store.contents))
    except OSError as error:
        raise _unwritable(store.out, error) from error


def synthesize(
    out: str | Path,
    assets: str | Path,
    heads: int,
    size: int,
    seed: int,
    rig: Rig,
    views: int = 32,
    renderer: RendererName = "opengl",
    samples: int = CYCLES_SAMPLES,
    truth: Truth = "all",
    form: Storage = "folders",
    workers: int = 1,
    ray: str | None = None,
    recipe: int | None = None,
) -> list[Path]:
    """Make the heads with seeds `seed` to `seed + heads - 1` that are not there yet, whole, and list them.

    Args:
        out: folder to fill; made if need be.
        assets: a MakeHuman data folder, or what `facelift synth pack` made of one.
        heads: how many.
        size: pixels along a side, 32 to 2048.
        seed: of the first head.
        rig: "canonical", FaceLift's six views, "orbit", `views` views all around, "overhead", one from
            above, or "photo", one from a camera of the person's own, which people of recipe 1 do not have; or
            "all" of them, each in a folder of its name in `out`, for little more than one.
        views: how many an orbit has.
        renderer: of the pictures, "opengl" or "cycles"; the truth is OpenGL's in either case.
        samples: paths through a pixel, for Cycles.
        truth: "all", or "depth" alone.
        form: "folders" or "shards".
        workers: processes on this machine.
        ray: address of a Ray cluster that does the work instead; `out` and `assets` must be the same there.
        recipe: of the people, see `facelift.synth.recipes.sample_by_recipe`.

    Returns:
        The folders of the asked-for heads, or the shards that hold them, in the order of their seeds, and
        rig by rig.

    Raises:
        UserError: for values out of range, an `out` that cannot be written or holds other pictures, assets
            that are not there, or a machine without what the renderer needs.
    """
    rigs = list(LAYOUTS) if rig == "all" else [rig]
    if rig == "all" and (recipe or newest_recipe(open_assets(assets))) == 1:
        rigs.remove("photo")
    contents = [Contents(each, views, size, truth, renderer, samples) for each in rigs]
    for each in contents:
        _check(each)
    if heads < 1:
        raise UserError(f"--heads must be at least 1, not {heads}.")
    if seed < 0:
        raise UserError(f"--seed must not be negative, as {seed} is.")
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}.")
    if form not in STORES:
        raise UserError(f"--format must be {' or '.join(STORES)}, not {form!r}.")
    out, seeds = _writable(Path(out)), range(seed, seed + heads)
    folders = [_writable(out / each) for each in rigs] if rig == "all" else [out]
    stores = tuple(STORES[form](*each) for each in zip(folders, contents, strict=True))
    job = Job(stores, Path(assets).expanduser().absolute(), recipe)
    with ExitStack() as alone, _progress() as progress:
        for store in stores:
            alone.enter_context(_only_writer(store.out))
        bar, drawn = progress.add_task("heads", total=heads), 0
        units, *_ = (store.units(seeds) for store in stores)  # each refuses what is not its own
        for done, new in _run(job, units, workers, ray):
            progress.advance(bar, done)
            drawn += new
        progress.print(f"{drawn} heads drawn, {max(heads - drawn, 0)} were there")
    for store in stores:
        _write_lists(store)
    return [path for store in stores for path in store.paths(seeds)]


def _run(job: Job, units: list[range], workers: int, ray: str | None) -> Iterator[Done]:
    if ray is not None:
        yield from on_ray(job, units, ray)
    elif workers > 1 and len(units) > 1:
        yield from on_this_machine(job, units, workers)
    else:
        with job.renderer() as renderer:
            for unit in units:
                for drawn in job.fill(unit, renderer):
                    yield 1, int(drawn)


def _check(contents: Contents) -> None:
    if contents.size not in SIZES:
        raise UserError(f"--size must be from {SIZES[0]} to {SIZES[-1]} pixels, not {contents.size}.")
    for option, value, known in (
        ("rig", contents.rig, get_args(Rig)),
        ("truth", contents.truth, get_args(Truth)),
        ("renderer", contents.renderer, get_args(RendererName)),
    ):
        if value not in known:
            raise UserError(f"--{option} must be {' or '.join(known)}, not {value!r}.")
    for option, count in (("views", contents.views), ("samples", contents.samples)):
        if count < 1:
            raise UserError(f"--{option} must be at least 1, not {count}.")


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise _unwritable(out, error) from error
    return out.resolve()


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} could not be written ({error.strerror}); give a folder with room that is yours."
    )


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process, however it ends."""
    try:
        with FileLock(out / ".lock", blocking=False):
            yield
    except Timeout:
        raise UserError(f"Another `facelift synth` is at work in {out}: let it finish, or stop it.") from None


def _progress() -> Progress:
    return Progress(TextColumn("heads"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _write_lists(store: Folders | Shards) -> None:
    """List everything in the data set, whichever run made it, by the side of the split it is on."""
    listed = list(store.listed())
    for side, held_out in (("train", False), ("val", True)):
        with atomic_path(store.out / f"data_{store.contents.layout.name}_{side}.txt") as aside:
            aside.write_text(
                "".join(f"{path}\n" for path, held in listed if held == held_out), encoding="utf-8"
            )
