"""The `facelift` command: one module a subcommand, each thin."""

from __future__ import annotations

import os
import traceback
from typing import NoReturn

from facelift.cli.process import interruption, leave, open_streams


def main() -> NoReturn:
    """Run the command and exit.

    The code is 0 when all is done, 1 when something failed, 2 for a wrong call, 130 for Ctrl-C (for another
    signal 128 and its number) and 141 when the reader of standard output is gone. What a user can mend is one
    sentence on stderr; only a defect of the program shows a traceback.
    """
    # Read when torch is imported. Else OpenMP's threads spin while they wait for work, several milliseconds
    # each time, and take their cores from the rasteriser's threads and from all else that runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        leave(_outcome())
    except KeyboardInterrupt:
        leave(interruption.exit_code)


def _outcome() -> int:
    """Do the work; the exit code."""
    try:
        open_streams()
        interruption.catch()
        from facelift.cli.app import run  # loads the rest, which takes a moment

        return run()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception:
        if not interruption.requested:
            traceback.print_exc()
        return 1
