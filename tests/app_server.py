"""`facelift app` as people start it, with a tiny model."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]


class AppServer:
    """A server that was started.

    Attributes:
        url: ends in a slash.
        process: its own.
        folder: where it keeps everything.
    """

    def __init__(self, url: str, process: subprocess.Popen, folder: Path) -> None:
        self.url, self.process, self.folder = url, process, folder

    def kept(self) -> list[Path]:
        """All that lies in its folder."""
        return sorted(self.folder.rglob("*"))

    @contextmanager
    def frozen(self):
        """Its workers are done with what there was and stand still, so whoever comes has to wait."""
        self.wait_for(waiting=0, running=0)
        workers = self.workers()
        assert workers
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)

    def wait_for(self, status: str = "ok", **lengths: int) -> None:
        """Until its queue is as long as that."""
        deadline = time.monotonic() + 120
        while (found := httpx.get(f"{self.url}health").json()) != {"status": status, **lengths}:
            assert time.monotonic() < deadline, f"{found} is not {lengths}"
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """The processes that compute for it."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parent = re.search(r"PPid:\s*(\d+)", (entry / "status").read_text())
                    words = (entry / "cmdline").read_text()
                except OSError:
                    continue
                if parent and int(parent[1]) == self.process.pid and "spawn_main" in words:
                    found.append(int(entry.name))
        return found


@contextmanager
def app_server(model: Path, folder: Path, *options: str):
    """Starts one; at the end Ctrl-C is sent to all its processes, as a terminal does, and nothing is left."""
    command = [sys.executable, "-m", "facelift.cli", "app", "--port", "0", "--no-browser"]
    command += ["--model", str(model), "--device", "cpu", "--folder", str(folder), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    notes = folder.with_suffix(".log")
    with notes.open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found, f"It did not start: {notes.read_text()}"
        yield AppServer(f"{found[0]}/", process, folder)
    finally:
        killed = process.poll() is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        code = process.wait(60)
    end = code, notes.read_text(), [path.name for path in folder.iterdir()]
    assert killed or end == (130, "Loading\n", []), end
