"""What the documentation shows works: Python blocks run, commands parse, named files exist, the site builds.

A Python block that is not run has a line `<!-- not run: REASON -->` before it. Blocks of a page run one after
the other in one namespace, with the packaged model and a fit of two steps. Commands are not run: `facelift`'s
own parser reads them, other scripts must know the options that they are given.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from quick import be_quick
from test_architecture import LAYERS

from facelift.cli.commands import app

ROOT = Path(__file__).parents[1]
INTEGRATIONS = sorted((ROOT / "integrations").glob("*/README.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *INTEGRATIONS, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(<!-- not run: .+ -->\n)?^```\{?[ .]*(\w+).*?\n(.*?)^```$", re.M | re.S)
PATH = re.compile(r"`((?:facelift|configs|benchmarks|tests|examples|dev|docs)/[\w./-]+)`")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

SYSTEM = {
    ".",
    ".ci/run",
    "apt",
    "cd",
    "curl",
    "docker",
    "git",
    "mkdocs",
    "mypy",
    "npm",
    "pre-commit",
    "ruff",
    "sha256sum",
    "torchrun",
}
SYSTEM |= {"blender", "ln"}
"""Commands whose options are theirs to check."""


def blocks(page, *languages):
    """(marked as not run, text) of the page's code blocks in these languages."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [(bool(mark), text) for mark, language, text in found if language in languages]


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_blocks_run(page, monkeypatch, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    be_quick(monkeypatch)
    names: dict = {}
    for skipped, text in blocks(page, "python"):
        if not skipped:
            exec(compile(text, name(page), "exec"), names)


def commands():
    """The words of every command in the pages' shell blocks, without what is set before or done after it."""
    for page in PAGES:
        for _, text in blocks(page, "bash", "console"):
            for line in text.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&|;|\|", line.split(" #")[0]):
                    words = shlex.split(command.replace("(", " ").replace(")", " "))
                    words = [w for w in words if not re.fullmatch(r"[A-Z_]+=\S+", w) and w != "&"]
                    if words and not words[0].startswith("#"):
                        yield pytest.param(page, words, id=f"{name(page)}: {' '.join(words)}")


@pytest.mark.parametrize("page, words", commands())
def test_commands_are_real(page, words):
    program = words[0].removeprefix(".venv/bin/")
    if program == "facelift":
        group = typer.main.get_command(app)
        context = group.make_context("facelift", [], resilient_parsing=True)
        _, command, rest = group.resolve_command(context, words[1:])
        assert command is not None, f"facelift has no {words[1]}"
        command.make_context(command.name, rest, parent=context)
    elif program == "pip":
        extras = ",".join(re.findall(r"\[(.*?)\]", " ".join(words))).split(",")
        assert set(extras) - {""} <= EXTRAS.keys()
    elif program in ("python", "python3") and words[1] != "-m":
        script = ROOT / words[1]
        text = script.read_text() + (ROOT / "benchmarks/timing.py").read_text()
        assert all(f'"{word}"' in text for word in words[2:] if word.startswith("--"))
    elif (ROOT / program).is_file():
        assert (ROOT / program).stat().st_mode & 0o111, "it can be executed"
    else:
        assert program in {*SYSTEM, "python", "python3"}, f"{page} has a command that no test knows"


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(Exception, match="no-such-option"):
        test_commands_are_real(PAGES[0], ["facelift", "reconstruct", "a.jpg", "--no-such-option"])
    with pytest.raises(Exception, match="no-such-job"):
        test_commands_are_real(PAGES[0], ["facelift", "no-such-job"])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "facelift/pretrained/mini/README.md"], ids=name)
def test_files_that_are_named_exist(page):
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert [path for path in sorted(named) if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_rooms_are_those_of_the_page():
    """Its block of rooms has the lines of tests/test_architecture.py, in their order."""
    (text,) = (text for _, text in blocks(ROOT / "docs/architecture.md", "text"))
    shown = [set(line.split()) for line in text.splitlines()]
    package = ROOT / "facelift"
    inner = [
        {r for r in rooms if (package / r).is_dir() or (package / f"{r}.py").exists()} for rooms in LAYERS
    ]
    assert shown == [rooms for rooms in inner if rooms]


def test_the_picture_and_the_page_have_every_room():
    """A new folder of the package is in the picture, drawn by dev/pictures.py, and on the page."""
    folders = {f"{path.parent.name}/" for path in (ROOT / "facelift").glob("*/__init__.py")}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    picture = (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8")
    assert folders - set(re.findall(r"^\| `(\w+/)` \|", page, re.M)) == set()
    assert folders - set(re.findall(r">(\w+/)</text>", picture)) == set()


def test_the_site_builds_without_a_warning(tmp_path):
    """Links between pages and to headings, pages that the menu lacks, and names in the Python API."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"LIVE_HEAD": "false"}  # making a head is another test's work
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "from_pretrained" in (tmp_path / "api/pipeline.html").read_text()
