"""The `facelift` command: one subcommand per job, each thin.

What a subcommand needs is imported inside it, so that `facelift --help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facelift.errors import UserError


class _Commands(TyperGroup):
    """Two words name a command where both stand: `synth pack FILE` is another than `synth OUT`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        words = " ".join(args[:2])
        return super().resolve_command(ctx, [words, *args[2:]] if words in self.commands else args)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Matting(StrEnum):
    auto = "auto"
    grabcut = "grabcut"
    rembg = "rembg"
    none = "none"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Scheduler(StrEnum):
    ddim = "ddim"
    dpm = "dpm++"


class Precision(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Memory(StrEnum):
    auto = "auto"
    fast = "fast"
    sliced = "sliced"
    offload = "offload"


class Rig(StrEnum):
    canonical = "canonical"
    orbit = "orbit"
    overhead = "overhead"
    all = "all"


class Truth(StrEnum):
    all = "all"
    depth = "depth"


class Format(StrEnum):
    folders = "folders"
    shards = "shards"


class RendererName(StrEnum):
    opengl = "opengl"
    cycles = "cycles"


class Stage(StrEnum):
    autoencoder = "autoencoder"
    views = "views"
    decoder = "decoder"
    reconstructor = "reconstructor"
    portrait = "portrait"
    features = "features"


DeviceOption = Annotated[
    Device, typer.Option(help="Where to compute; auto takes a CUDA GPU if there is one.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="A model's name, folder, or owner/model on the hub; the packaged one if not given."),
]
RevisionOption = Annotated[
    str | None, typer.Option(help="Revision of a model on the hub; the pinned one if not given.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"facelift {version('facelift')}")
        raise typer.Exit


@app.callback()
def facelift(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """One photo of a face in, a complete 3D head out."""


@app.command()
def reconstruct(
    photo: Annotated[Path, typer.Argument(help="A photo of a face, or a folder of photos.", metavar="PHOTO")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results, one folder a photo.")
    ] = Path("outputs"),
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed imagines another head.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps; the model's own if not given.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, help="Guidance scale; the model's own if not given.")
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Noise between DDIM steps; the model's own if not given."),
    ] = None,
    scheduler: Annotated[
        Scheduler, typer.Option(help="How to denoise: the model's own DDIM, or DPM-Solver++ in 20 steps.")
    ] = Scheduler.ddim,
    matting: Annotated[Matting, typer.Option(help="How to remove the background.")] = Matting.auto,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="The photo is already a centred square portrait on white.")
    ] = False,
    refinement: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps that fit the head's colours to the photo; the model's own if not given, 0 for none.",
        ),
    ] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    dtype: Annotated[
        Precision, typer.Option(help="What to compute in; auto is the model's own choice for the device.")
    ] = Precision.auto,
    memory: Annotated[
        Memory,
        typer.Option(
            help="GPU memory to take: fast takes most, sliced less, offload least; auto goes by what is free."
        ),
    ] = Memory.auto,
    frames: Annotated[int, typer.Option(min=1, help="Length of the turntable, at 30 frames a second.")] = 150,
    size: Annotated[
        int | None,
        typer.Option(min=16, max=4096, help="Side of the turntable in pixels; the model's if not given."),
    ] = None,
    no_turntable: Annotated[bool, typer.Option("--no-turntable", help="Make no video.")] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print how long each stage took.")] = False,
) -> None:
    """Turn a photo of a face into a 3D head: Gaussians, six views, renders and a turntable video."""
    from facelift.results import find_photos, folder_names

    photos = find_photos(photo)
    with _status("Loading"):
        from facelift.formats.files import atomic_folder
        from facelift.pipeline import FaceLift
        from facelift.results import RESULT_NAMES, check_place, write_results
        from facelift.timings import Timings

    clock = Timings()
    with clock("load"):  # no spinner: a download has its own progress bars
        pipeline = FaceLift.from_pretrained(
            model, device=device.value, revision=revision, dtype=dtype.value, memory=memory.value
        )
    seconds = pipeline.estimate(steps, guidance, scheduler.value)
    if seconds is not None:
        _say(
            f"A photo takes about {_duration(seconds)} on this CPU, as far as a small part of the work tells."
        )

    failures = 0
    for path, name in zip(photos, folder_names(photos), strict=True):
        folder = out / name
        try:
            check_place(folder, path)
            with atomic_folder(folder, RESULT_NAMES) as aside:
                with _status(f"Reconstructing {path}") as show:
                    head = pipeline(
                        path,
                        seed=seed,
                        steps=steps,
                        guidance=guidance,
                        eta=eta,
                        scheduler=scheduler.value,
                        matting=matting.value,
                        prepared=prepared,
                        refinement=refinement,
                        timings=clock,
                        progress=show,
                    )
                if head.faces > 1:
                    _say(f"{path}: {head.faces} faces found; used the largest.")
                write_results(
                    aside, head, None if no_turntable else frames, size, partial(_track, total=frames), clock
                )
        except Exception as error:
            if len(photos) == 1:
                raise
            failures += 1
            _complain(f"{path}: {_sentence(error) or f'{type(error).__name__}: {error}'}")
        else:
            print(f"{path} -> {folder}", flush=True)

    if timings:
        _print_timings(clock.rows())
    if len(photos) > 1:
        print(f"{len(photos) - failures} of {len(photos)} photos reconstructed, {failures} failed.")
    if failures:
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="A model's folder, or owner/model on the hub.", metavar="SOURCE")
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder for the model in this package's layout.", metavar="OUT")
    ],
    revision: RevisionOption = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size, and as a GPU computes anyway.")
    ] = False,
) -> None:
    """Turn FaceLift's released weights into one folder of safetensors and JSON."""
    import torch

    from facelift.formats.files import atomic_folder
    from facelift.pipeline import FaceLift
    from facelift.weights import MODEL_NAMES

    model = FaceLift.from_pretrained(source, device="cpu", revision=revision, dtype="float32")
    with _status(f"Converting {source}"), atomic_folder(out, MODEL_NAMES) as aside:
        model.save_pretrained(aside, torch.float16 if half else None)
    print(f"{source} -> {out}")


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the data set.", metavar="OUT")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder, or a pack of it.")],
    heads: Annotated[int, typer.Option(min=1, help="How many people to make.")] = 10,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Side of the views in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="The first person's seed.")] = 1000,
    rig: Annotated[
        Rig,
        typer.Option(
            help="The six canonical views, an orbit all round, or one view from above; or all of them, each "
            "in a folder of its own."
        ),
    ] = Rig.canonical,
    views: Annotated[int, typer.Option(min=1, help="How many views an orbit has.")] = 32,
    renderer: Annotated[
        RendererName, typer.Option(help="OpenGL is fast; Cycles traces paths (extra cycles).")
    ] = RendererName.opengl,
    samples: Annotated[int, typer.Option(min=1, help="Paths through a pixel, for Cycles.")] = 16,
    truth: Annotated[
        Truth,
        typer.Option(
            help="Depth, normals, parts and landmarks, or depth alone, enough for the model's two stages."
        ),
    ] = Truth.all,
    form: Annotated[
        Format, typer.Option("--format", help="A folder a head, or WebDataset shards of 50 heads.")
    ] = Format.folders,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster that sees OUT and the assets; it does the work."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only a contact sheet of these people, OUT/preview.png.")
    ] = False,
) -> None:
    """Make synthetic heads with their views and ground truth, to train and to measure on.

    What is there already is checked and kept: a run that was stopped goes on where it was. `facelift synth
    pack --help` tells how to take the assets along to another machine.
    """
    if preview:
        from facelift.synth.preview import preview as draw_sheet

        draw_sheet(out, assets, heads, size, seed)
        return
    from facelift.synth.dataset import synthesize

    synthesize(
        out,
        assets,
        heads,
        size,
        seed,
        rig.value,
        views,
        renderer=renderer.value,
        samples=samples,
        truth=truth.value,
        form=form.value,
        workers=workers,
        ray=ray,
    )


@app.command("synth pack")
def synth_pack(
    file: Annotated[Path, typer.Argument(help="The file to write, of at most 40 MB.", metavar="FILE")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder.")],
) -> None:
    """Put what heads are made of into one file, which --assets takes in place of the folder."""
    from facelift.synth.pack import write_pack

    with _status("Packing"):
        write_pack(file, assets)
    print(f"{assets} -> {file}, {file.stat().st_size / 1e6:.1f} MB")


@app.command()
def train(
    stage: Annotated[Stage, typer.Argument(help="Which part to train.")],
    config: Annotated[Path, typer.Argument(help="A YAML file, such as those in configs/.", metavar="CONFIG")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints and logs; runs/mini/STAGE for a config in configs/mini."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after this long, and save.")
    ] = None,
    wild: Annotated[
        Path | None,
        typer.Option(
            help="A folder of photos that join the training of views or of the reconstructor; of them only "
            "the front view is known."
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Keep heads in memory, and take in those that `facelift synth` is still drawing."
        ),
    ] = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Train one part of the model; a run that was stopped goes on where it was."""
    from facelift.train import run

    folder = out or Path("runs", config.parent.name, stage.value)
    run(stage.value, config, folder, max_minutes, device.value, wild, live)


@app.command()
def evaluate(
    heads: Annotated[
        Path,
        typer.Argument(
            help="A set of heads that were not trained on, in FaceLift's layouts.", metavar="HEADS"
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report: JSON, Markdown, HTML, pictures.")
    ] = Path("outputs/evaluation"),
    train: Annotated[
        Path | None,
        typer.Option(help="Folder with canonical/ and orbit/ of training heads, for the baselines."),
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="A real photo, or a folder of them.")] = None,
    model: ModelOption = None,
    people: Annotated[
        int | None, typer.Option("--heads", min=1, help="How many people to measure on; all if not given.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Pixels at which all is compared; the set's own if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of what is imagined.")] = 0,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Allow downloads of what LPIPS, DreamSim and ArcFace need.")
    ] = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Measure a model on heads that it was never trained on, against baselines, and on real photos.

    A run that was stopped goes on where it was.
    """
    with _status("Loading"):
        from facelift.evaluate import evaluate as measure
        from facelift.pipeline import FaceLift
        from facelift.weights import DEFAULT_MODEL

        pipeline = FaceLift.from_pretrained(model, device=device.value)
    report = measure(pipeline, heads, out, train, photos, people, size, seed, model or DEFAULT_MODEL, fetch)
    print(f"{report.to_markdown()}\n{heads} -> {out}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of one report.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Folder of the other.", metavar="B")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for JSON, Markdown and HTML.")] = Path(
        "outputs/comparison"
    ),
) -> None:
    """Put two reports of `facelift evaluate` side by side, with differences paired over people."""
    from facelift.evaluate.compare import compare as put_side_by_side

    print(f"{put_side_by_side(a, b, out)}\n{a}, {b} -> {out}")


@app.command()
def bench(
    out: Annotated[Path, typer.Argument(help="Folder for the set.", metavar="OUT")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="Draw it with OpenGL, quickly, under another name.")
    ] = False,
) -> None:
    """Make the test set bench-heads-v1: 24 people path-traced under two lights, 30 views each at 512 x 512.

    It takes hours; a run that was stopped goes on where it was.
    """
    from facelift.evaluate.bench import BENCH_HEADS_V1, draft_of, make_bench

    made = make_bench(out, assets, draft_of(BENCH_HEADS_V1) if draft else BENCH_HEADS_V1)
    print(f"{len(made)} heads in {out}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 something failed, 2 called wrongly, 130 interrupted.

    What a user can mend is told in one sentence on stderr. Only a defect of the program shows a traceback.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files go
    try:
        code = app(arguments, prog_name="facelift", standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except _USAGE_ERROR as error:
        code = _usage(error)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _complain(sentence)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


# The class is click's or, in newer versions, typer's own copy of it; this name holds in both.
_USAGE_ERROR: Any = typer.BadParameter.__base__


def _usage(error: Any) -> int:
    """Say what was wrong with the call; return the exit code."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        _complain(f"{message}; see {context.command_path if context else 'facelift'} --help.")
    return 2


def _sentence(error: BaseException) -> str | None:
    """One sentence for an error that a user can cause; None for a defect."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return "There is not enough memory; close other programs, or take a smaller model or --size."
    if isinstance(error, OSError):
        from facelift.formats.files import explain

        return f"{error.filename}: {explain(error)}." if error.filename else f"{explain(error).capitalize()}."
    return None


def _is_torch_out_of_memory(error: BaseException) -> bool:
    """On a GPU it is a class of its own; on the CPU a RuntimeError with this text."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _complain(sentence: str) -> None:
    print(
        "facelift:", *sentence.split(), file=sys.stderr, flush=True
    )  # on one line, whatever the error brought


def _say(line: str) -> None:
    """A note about the work: on stderr, which leaves stdout to the results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _status(what: str) -> Iterator[Callable[[Iterable[Any]], Iterable[Any]]]:
    """A spinner on a terminal, a plain line elsewhere; yields what shows how far a sequence of steps is."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(what) as spinner:

            def show(steps: Iterable[Any]) -> Iterator[Any]:
                steps = list(steps)
                for number, step in enumerate(steps, 1):
                    spinner.update(f"{what}, step {number} of {len(steps)}")
                    yield step
                spinner.update(what)

            yield show
    else:
        _say(what)
        yield iter


def _track(frames: Iterable[Any], total: int) -> Iterable[Any]:
    """A progress bar on a terminal, a plain line elsewhere."""
    if not sys.stderr.isatty():
        _say("Rendering the turntable")
        return frames
    from rich.console import Console
    from rich.progress import track

    return track(frames, "Rendering the turntable", total, console=Console(stderr=True), transient=True)


def _duration(seconds: float) -> str:
    """Two figures at most, for more would be a promise."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def _print_timings(rows: list[tuple[str, float]]) -> None:
    rows = [*rows, ("total", sum(seconds for _, seconds in rows))]
    width = max(len(stage) for stage, _ in rows)
    for stage, seconds in rows:
        print(f"{stage:<{width}}  {seconds:8.2f} s")


if __name__ == "__main__":
    main()
