"""The `facelift` command: one module a subcommand, each thin."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 something failed, 2 called wrongly, 130 interrupted.

    What a user can mend is told in one sentence on stderr. Only a defect of the program shows a traceback.
    """
    from facelift.cli.app import app
    from facelift.cli.errors import USAGE_ERROR, sentence, usage
    from facelift.cli.terminal import complain

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files go
    try:
        code = app(arguments, prog_name="facelift", standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except USAGE_ERROR as error:
        code = usage(error)
    except Exception as error:
        line = sentence(error)
        if line is None:
            raise
        complain(line)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
