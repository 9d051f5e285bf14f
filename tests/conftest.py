"""What several test modules need, and which tests may be skipped where everything should run."""

import os
import sys

import pytest
from makehuman import write_assets

from facelift.errors import UserError

MAY_SKIP = {
    "tests/test_docs.py": "the extra `docs`",
    "tests/test_render.py::test_cuda_is_the_reference": "a GPU",
    "tests/test_render.py::test_on_cuda_too_and_at_once": "a GPU",
    "tests/test_synth_cycles.py": "the extra `cycles`: Blender, 350 MB",
    "tests/test_synth_dataset.py::test_ray_workers_share_the_work_and_one_may_die": "the extra `ray`",
}
"""Tests, by the beginning of their names, that need more than the extra `test` has, and what that is."""


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
    expected = hasattr(report, "wasxfail") or report.nodeid.startswith(tuple(MAY_SKIP))
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


@pytest.fixture(scope="session")
def makehuman_data(tmp_path_factory):
    """MakeHuman's data folder, or a small one; not to be written into."""
    return write_assets(tmp_path_factory.mktemp("makehuman") / "data")
