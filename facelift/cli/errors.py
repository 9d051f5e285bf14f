"""What a user can cause, as one sentence."""

from __future__ import annotations

import sys
from typing import Any

import typer

from facelift.cli.terminal import complain
from facelift.errors import UserError

USAGE_ERROR: Any = typer.BadParameter.__base__
"""A wrong call. The class is click's or, in newer versions, typer's own copy of it: this finds either."""


def usage(error: Any) -> int:
    """Say what was wrong with the call; return the exit code."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        complain(f"{message}; see {context.command_path if context else 'facelift'} --help.")
    return 2


def sentence(error: BaseException) -> str | None:
    """One sentence for an error that a user can cause; None for a defect."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return "There is not enough memory; close other programs, or take a smaller model or --size."
    if isinstance(error, FileNotFoundError) and error.filename:  # of something to read: see formats.files
        return f"{error.filename}: there is no such file or folder."
    if isinstance(error, OSError):
        from facelift.formats.files import explain

        return f"{error.filename}: {explain(error)}." if error.filename else f"{explain(error).capitalize()}."
    return None


def _is_torch_out_of_memory(error: BaseException) -> bool:
    """On a GPU it is a class of its own; on the CPU a RuntimeError with this text."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
