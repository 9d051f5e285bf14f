"""Several processes of this machine for one training; torchrun does the same for several machines."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from facelift.errors import UserError
from facelift.formats.files import explain
from facelift.processes import block_sigint_in_children, end_with_parent

AGAIN = "give the same command again, and it goes on from the last checkpoint"


def launch(processes: int, **arguments: Any) -> None:
    """`facelift.train.run` in so many processes; where one ends too early, all do.

    Args:
        processes: one for each GPU.
        arguments: of `run`.

    Raises:
        UserError: what a process raises; one was killed.
    """
    if processes == 1:
        from facelift.train import run

        run(**arguments)
        return
    if "WORLD_SIZE" in os.environ:
        raise UserError("torchrun starts the processes already: leave --processes out.")
    with tempfile.TemporaryDirectory() as folder:
        environment = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
        started = [
            get_context("spawn").Process(target=_work, args=(rank, environment, Path(folder), arguments))
            for rank in range(processes)
        ]
        with block_sigint_in_children():  # they end with this process
            for process in started:
                process.start()
        try:
            running = list(started)
            while running and not any(process.exitcode for process in started):
                connection.wait([process.sentinel for process in running])
                running = [process for process in running if process.exitcode is None]
            codes = [process.exitcode for process in started]
        finally:
            for process in started:
                process.kill()
                process.join()
        if any(codes):
            raise UserError(_reason(Path(folder), codes))


def _work(rank: int, environment: dict[str, str], folder: Path, arguments: dict[str, Any]) -> None:
    """One of the processes; what ends it is a sentence in a file, which the first of all reads."""
    import torch

    from facelift.train import run
    from facelift.train.distributed import LOST, LostProcessError

    end_with_parent()
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(max(1, torch.get_num_threads() // int(environment["WORLD_SIZE"])))
    try:
        run(**arguments)
    except LostProcessError:
        sys.exit(LOST)
    except (UserError, OSError) as error:
        said = f"{error.filename}: {explain(error)}." if isinstance(error, OSError) else str(error)
        (folder / f"{rank}.txt").write_text(said, encoding="utf-8")
        sys.exit(1)


def _reason(folder: Path, codes: list[int | None]) -> str:
    """Why they ended: what one said, or else which one was killed."""
    for said in sorted(folder.iterdir()):
        return said.read_text(encoding="utf-8")
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            return (
                f"Process {rank} of the training was killed ({signal.Signals(-code).name}), perhaps for want "
                f"of memory, so all end: {AGAIN}."
            )
    return f"A process of the training ended: {AGAIN}."


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
