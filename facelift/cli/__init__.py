"""The `facelift` command: one module a subcommand, each thin."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command and exit.

    The code is 0 when all is done, 1 when something failed, 2 for a wrong call, 130 for Ctrl-C (for another
    signal 128 and its number) and 141 when the reader of standard output is gone. What a user can mend is one
    sentence on stderr; only a defect of the program shows a traceback.
    """
    # Read when torch is imported. Else OpenMP's threads spin while they wait for work, several milliseconds
    # each time, and take their cores from the rasteriser's threads and from all else that runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:  # around every import, so that Ctrl-C is quiet from the first moment
        from facelift.cli.process import run_and_exit
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run_and_exit(_run)


def _run() -> int:
    """What the arguments of the process say."""
    from facelift.cli.commands import run  # takes a moment, in which it can be stopped already

    return run()
