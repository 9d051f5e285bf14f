"""Published numbers name the commit that they were measured on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
sys.path.append(str(ROOT / "dev"))
import report  # noqa: E402
import reports  # noqa: E402


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


def test_a_page_of_a_report_names_its_commit_and_has_all_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "commit", lambda: "0123abc")
    (tmp_path / "docs").mkdir()
    (tmp_path / "report.md").write_text("# Evaluation\n\nModel mini.\n\n![By azimuth](curves.svg)\n")
    (tmp_path / "curves.svg").write_text("<svg/>")
    Image.new("RGBA", (8, 8)).save(tmp_path / "grid.png")
    reports.publish("synthetic-heads", tmp_path, tmp_path / "docs")
    page = (tmp_path / "docs/synthetic-heads.md").read_text()
    assert page.startswith("# Report: synthetic heads\n\nCommit 0123abc, 2") and "Model mini." in page
    pictures = re.findall(r"]\((.*?)\)", page)
    assert len(pictures) == 2 and all((tmp_path / "docs" / name).exists() for name in pictures)


def test_reports_are_not_measured_on_changed_files(monkeypatch):
    monkeypatch.setattr(reports, "changed", lambda: "code.py")
    with pytest.raises(SystemExit, match=r"code\.py differs from it: commit first"):
        reports.main(["assets"])
