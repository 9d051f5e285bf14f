"""The subcommands under one name, and how a call of one ends.

Each imports what it needs when it runs, so that `facelift --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from facelift.cli.app import serve
from facelift.cli.bench import bench
from facelift.cli.compare import compare
from facelift.cli.convert import convert
from facelift.cli.errors import USAGE_ERROR, sentence, usage
from facelift.cli.evaluate import evaluate
from facelift.cli.export import export
from facelift.cli.help import GroupedCommand
from facelift.cli.process import interruption
from facelift.cli.reconstruct import reconstruct
from facelift.cli.render import render
from facelift.cli.synth import hair, pack, scans, synth
from facelift.cli.terminal import complain
from facelift.cli.train import train
from facelift.cli.view import view


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
app.command(cls=GroupedCommand)(reconstruct)
app.command(cls=GroupedCommand)(export)
app.command(cls=GroupedCommand)(view)
app.command(cls=GroupedCommand)(render)
app.command("app", cls=GroupedCommand)(serve)
app.command(cls=GroupedCommand)(convert)
app.command(cls=GroupedCommand)(synth)
app.command("synth pack", cls=GroupedCommand)(pack)
app.command("synth scans", cls=GroupedCommand)(scans)
app.command("synth hair", cls=GroupedCommand)(hair)
app.command(cls=GroupedCommand)(train)
app.command(cls=GroupedCommand)(evaluate)
app.command(cls=GroupedCommand)(compare)
app.command(cls=GroupedCommand)(bench)


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


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say, those of the process if not given; return the exit code.

    What a user can mend is told in one sentence on stderr. Only a defect of the program raises.
    """
    try:
        code = app(arguments, prog_name="facelift", standalone_mode=False)
        sys.stdout.flush()
    except USAGE_ERROR as error:
        return usage(error)
    except Exception as error:
        line = sentence(error)
        if line is None or interruption.requested:
            raise
        complain(line)
        return 1
    return code if isinstance(code, int) else 0
