"""Published numbers name the commit that they were measured on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import report  # noqa: E402


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A clone in small: one committed file, and a report beside it."""

    def git(*words):
        command = ["git", "-c", "user.name=n", "-c", "user.email=e", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "benchmarks/REPORT.md").write_text("old\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(report, "HERE", tmp_path / "benchmarks")
    monkeypatch.setattr(report, "PUBLISHED", tmp_path / "benchmarks/REPORT.md")
    return tmp_path


def test_a_changed_file_keeps_the_report_from_being_written(repository):
    (repository / "code.py").write_text("x = 2\n")
    with pytest.raises(SystemExit, match=r"code\.py differs from it: commit first"):
        report.main([])
    assert (repository / "benchmarks/REPORT.md").read_text() == "old\n"
    report.main(["--out", str(repository / "elsewhere.md")])
    assert "-dirty" in (repository / "elsewhere.md").read_text()


def test_a_clean_commit_is_named_even_if_the_report_itself_is_new(repository):
    (repository / "benchmarks/REPORT.md").write_text("half of another run\n")
    report.main([])
    assert re.search(r"commit [0-9a-f]{7,}\. ", (repository / "benchmarks/REPORT.md").read_text())
