"""Where everything should run, a test that is skipped fails, unless it is known that it may be."""

from pathlib import Path

import pytest
from conftest import MAY_SKIP

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def skipping(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(CONFTEST.parent))
    pytester.makeconftest(CONFTEST.read_text())
    body = "import pytest\ndef test_a(): pytest.skip('no such thing')\n"
    (pytester.mkdir("tests") / "test_new.py").write_text(body)
    (pytester.path / "tests/test_synth_cycles.py").write_text(body)
    (pytester.path / "tests/test_module.py").write_text(
        "import pytest\npytest.importorskip('absent_module')\n"
    )
    # Where several tests run at once, those within are none of theirs.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return pytester


def test_a_skip_is_a_failure_only_where_nothing_may_be_skipped(skipping, monkeypatch):
    skipping.runpytest_subprocess().assert_outcomes(skipped=3)
    strict = skipping.runpytest_subprocess("--no-skips", "--continue-on-collection-errors")
    strict.assert_outcomes(failed=1, errors=1, skipped=1)
    strict.stdout.fnmatch_lines(["*may not be skipped here*no such thing*"])


def test_all_that_may_be_skipped_is_there():
    for name in MAY_SKIP:
        path, _, function = name.partition("::")
        assert f"def {function}" in (CONFTEST.parents[1] / path).read_text()
