"""What several test modules need, and which tests may be skipped where everything should run."""

import os
import signal
import sys

# Threads that wait must not spin: beside one busy process, small models are three times slower for it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported

import pytest
import torch
from app_server import app_server
from browser import headless
from heads import write_balls
from makehuman import MISSING, write_assets
from small import WARPING, save_reconstructor, save_views
from tiny import tiny_folder

from facelift.errors import UserError
from facelift.portrait.align import Portrait

MAY_SKIP = {
    "tests/test_render.py::test_cuda_is_the_reference": "a GPU",
    "tests/test_render.py::test_on_cuda_too_and_at_once": "a GPU",
    "tests/test_view_dependent_color.py::test_on_cuda_too": "a GPU",
    "tests/test_blender.py": "the extra `cycles`: Blender, 350 MB",
    "tests/test_synth_cycles.py": "the extra `cycles`: Blender, 350 MB",
    "tests/test_batch_run.py::test_ray_workers_make_each_photo_once_and_one_may_die": "the extra `ray`",
    "tests/test_synth_dataset.py::test_ray_workers_share_the_work_and_one_may_die": "the extra `ray`",
}
"""Tests, by the beginning of their names, that need more than the extra `test` has, and what that is.

Those that need MakeHuman's assets may be skipped where these are not.
"""


def pytest_configure():
    """Ctrl-C ends what tests start, even where a shell started pytest in the background, without it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails, but for those in tests/conftest.py; so it is on Linux where CI is set",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return refused(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return refused(collector.config, (yield))


def refused(config, report):
    """A report of a skip as one of a failure, where nothing may be skipped."""
    strict = config.getoption("--no-skips") or ("CI" in os.environ and sys.platform == "linux")
    reason = str(report.longrepr)
    expected = hasattr(report, "wasxfail") or report.nodeid.startswith(tuple(MAY_SKIP)) or MISSING in reason
    if strict and report.skipped and not expected:
        report.outcome, report.longrepr = "failed", f"It may not be skipped here: {report.longrepr}"
    return report


@pytest.fixture(scope="module")
def renderer():
    from facelift.synth.opengl import Renderer

    try:
        opened = Renderer()
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, one for a module: while Playwright is open, no other event loop can run here."""
    with headless() as opened:
        yield opened


@pytest.fixture(scope="session")
def makehuman_data(tmp_path_factory):
    """A small copy of MakeHuman's data folder; not to be written into."""
    return write_assets(tmp_path_factory.mktemp("makehuman") / "data")


@pytest.fixture
def float32(monkeypatch):
    """Trainings compute in float32, on whichever processor."""
    monkeypatch.setenv("FACELIFT_CPU_BFLOAT16", "0")


@pytest.fixture
def balls(tmp_path):
    """Three heads to train on, as `heads.write_balls` draws them."""
    return write_balls(tmp_path / "balls")


@pytest.fixture
def warping(tmp_path):
    """Folders of untrained models: a view generator of one step with warped views, and a reconstructor."""
    save_views(tmp_path / "warping/views", **WARPING)
    save_reconstructor(tmp_path / "warping/reconstructor")
    return tmp_path / "warping"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of one photo, whose portrait is a disc, and one without a face."""
    squares = torch.linspace(-1, 1, 32).square()
    disc = (squares + squares[:, None] < 0.5).float()[None]

    def prepare(path, size, network):
        if path.stem != "face":
            raise UserError(f"No face found in {path.name}.")
        return Portrait(1 - disc * torch.tensor([0.2, 0.5, 0.8])[:, None, None], disc, 1)

    monkeypatch.setattr("facelift.train.unposed.prepare_portrait", prepare)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("face.png", "wall.png", "notes.txt"):
        (folder / name).touch()
    return folder


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """`facelift app` with a tiny model, which takes two megabytes and notices after a second who has left."""
    model = tiny_folder(tmp_path_factory.mktemp("tiny"))
    folder = tmp_path_factory.mktemp("app")
    with app_server(model, folder, "--max-upload", "2", "--max-pixels", "20", "--grace", "1") as server:
        yield server
