"""The CPU rasteriser among threads and processes, and its compiled kernels on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numba
import pytest
import torch
from torch import Tensor

from facelift.cameras import Cameras, orbit
from facelift.gaussians import Gaussians
from facelift.render import render
from facelift.render.kernel import kernel

OPENMP = ("OMP", "GOMP", "KMP", "MKL")
LONG = 250  # seconds; only what hangs takes them


def scene(count: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=0.4 * torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        scales=0.005 + 0.05 * torch.rand(count, 3, generator=generator),
        opacities=torch.rand(count, generator=generator),
        sh0=torch.randn(count, 3, generator=generator),
    )


def drawn(gaussians: Gaussians, cameras: Cameras) -> list[Tensor]:
    """Images and, of a loss on them, the gradients."""
    leaves = [field.clone().requires_grad_() for field in gaussians.tensors().values()]
    rendering = render(Gaussians(*leaves), cameras, 0.3)
    images = [rendering.image, rendering.alpha, rendering.depth]
    sum(image.square().sum() for image in images).backward()
    return [*(image.detach() for image in images), *(leaf.grad for leaf in leaves)]


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**{k: v for k, v in os.environ.items() if not k.startswith(OPENMP)}, **environment},
        capture_output=True,
        text=True,
        timeout=LONG,
    )


@pytest.mark.parametrize("cameras", [1, 4])
def test_any_number_of_threads_gives_the_same_bits(cameras: int) -> None:
    """With fewer cameras than threads each is shared out, with more each thread has its own."""
    rig = orbit([80.0 * i for i in range(cameras)], [10.0] * cameras, size=70)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(drawn(scene(2000), rig))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_eight_threads_at_once_get_what_each_gets_alone() -> None:
    work = [(scene(500 + 100 * i, seed=i), orbit([40.0 * i], [0.0], size=40 + i)) for i in range(8)]
    alone = [drawn(*job) for job in work]
    with ThreadPoolExecutor(8) as pool:
        for together in zip(*(pool.map(drawn, *zip(*work, strict=True)) for _ in range(5)), strict=True):
            expected = alone.pop(0)
            for found in together:
                assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


DRAW = """
import os, sys
import numba, torch
from facelift.cameras import orbit
from facelift.gaussians import Gaussians
from facelift.render import render

torch.set_num_threads(1)
fields = [torch.rand(20_000, *size) for size in ((3,), (4,), (3,), (), (3,))]
fields[2] *= 0.01
gaussians = Gaussians(*(field.requires_grad_() for field in fields))
camera = orbit([0.0], [0.0], size=256)
ones = torch.ones(1, 3, 256, 256)
render(gaussians, camera).image.backward(ones)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in Linux's /proc")
def test_drawing_leaves_no_threads_behind() -> None:
    """Neither PyTorch's OpenMP threads, which spin after their work, nor a second pool of numba's."""
    code = """
import time

def threads():
    return set(os.listdir("/proc/self/task"))

def left(patience=60):
    start = time.monotonic()
    while threads() - before and time.monotonic() - start < patience:
        time.sleep(0.01)  # a thread that was joined may take a moment to go
    return len(threads() - before)

torch.set_num_threads(2)
before = threads()
gaussians = Gaussians(*(field.detach().requires_grad_() for field in fields))
image = render(gaussians, camera).image
image.backward(ones)
print(left())
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
gaussians.means.square()
print(left(0))
"""
    done = run(DRAW + code, OMP_NUM_THREADS="2")
    assert done.stdout.split() == ["0", "none", "1"], done.stderr  # the last shows that the count would tell


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_draws_or_is_refused_but_does_not_hang(threads: int) -> None:
    code = """
from facelift.errors import UserError
torch.set_num_threads(2)
gaussians.means.square()  # starts torch's threads, which the child will not have
image = render(gaussians, camera).image.detach().numpy()
child = os.fork()
if child == 0:
    torch.set_num_threads(int(sys.argv[1]))
    try:
        again = render(gaussians, camera).image.detach().numpy()
        print("the same" if (again == image).all() else "another", flush=True)
    except UserError as error:
        print("refused:", error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = run(DRAW + code, str(threads))
    assert done.stdout == "the same\n" or (threads > 1 and done.stdout.startswith("refused:")), done.stderr


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_the_command_has_idle_threads_sleep(given: dict[str, str], expected: str) -> None:
    """What OpenMP says when torch loads it; the user's own choice holds."""
    code = "import sys; from facelift.cli import main; sys.argv[1:] = ['convert', 'nowhere', 'x.ply']; main()"
    done = run(code, OMP_DISPLAY_ENV="true", **given)
    assert f"OMP_WAIT_POLICY='{expected}'" in done.stderr.replace(" = ", "="), done.stderr


def test_the_library_leaves_the_environment_alone() -> None:
    code = """
import os
import facelift.pipeline
print(*os.environ)
"""
    assert not [name for name in run(code).stdout.split() if name.startswith(OPENMP)]


# Kernels on disk


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], numba.core.dispatcher.Dispatcher]:
    """Compiles a kernel, of a module of its own, as a new process would."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "module.py"
    file.write_text("def double(x):\n    return 2 * x\n")

    def compile_it() -> numba.core.dispatcher.Dispatcher:
        spec = spec_from_file_location("module", file)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return kernel("i8(i8)")(module.double)

    return compile_it


def hits(compiled: numba.core.dispatcher.Dispatcher) -> int:
    assert compiled(21) == 42
    return sum(compiled.stats.cache_hits.values())


def test_a_kernel_is_kept_on_disk(double) -> None:
    assert [hits(double()), hits(double())] == [0, 1]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "cut short", "other", "gone"])
def test_a_damaged_file_is_made_again(double, tmp_path: Path, suffix: str, damage: str) -> None:
    double()
    (file,) = (tmp_path / "cache").rglob(f"*.{suffix}")
    whole = file.read_bytes()
    parts = {"empty": b"", "cut": whole[: len(whole) // 2], "cut short": whole[:-1], "other": b"no pickle"}
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(parts[damage])
    assert [hits(double()), hits(double())] == [0, 1]


def test_no_folder_can_be_written_to(double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    (tmp_path / "__pycache__").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(blocked))
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):  # where numba looks next
        monkeypatch.setenv(name, str(blocked))
    assert [hits(double()), hits(double())] == [0, 0]


def test_the_disk_is_full(double, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_open_for_write", full)
    assert [hits(double()), hits(double())] == [0, 0]


def test_a_faulty_kernel_says_so() -> None:
    with pytest.raises(numba.core.errors.TypingError, match="nowhere"):
        kernel("i8(i8)")(lambda x: nowhere(x))  # noqa: F821
