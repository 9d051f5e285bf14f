"""The subcommands under one name.

Each imports what it needs when it runs, so that `facelift --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from facelift.cli.bench import bench
from facelift.cli.compare import compare
from facelift.cli.convert import convert
from facelift.cli.evaluate import evaluate
from facelift.cli.reconstruct import reconstruct
from facelift.cli.synth import pack, synth
from facelift.cli.train import train


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
app.command()(reconstruct)
app.command()(convert)
app.command()(synth)
app.command("synth pack")(pack)
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(bench)


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
