"""What the files around the code promise: one version, whole weights, links that lead somewhere."""

import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINK = re.compile(r"\]\(([^)#\s]+)")


def markdown():
    """Every Markdown file of the repository itself, not those of an environment or a build within it."""
    folders = (
        ROOT,
        *(ROOT / name for name in (".github", "benchmarks", "dev", "docs", "examples", "facelift")),
    )
    found = {path for folder in folders for path in folder.glob("*.md" if folder == ROOT else "**/*.md")}
    found |= set((ROOT / "integrations").glob("*/README.md"))  # deeper, npm has put others' files
    return sorted(found)


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == version


def test_the_packaged_weights_are_those_of_the_list():
    folder = ROOT / "facelift/pretrained"
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    weights = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".svm")]
    assert sums.keys() == {path.relative_to(folder).as_posix() for path in weights}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_the_model_card_begins_as_the_hub_reads_it():
    _, front, text = (ROOT / "facelift/pretrained/mini/README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == PROJECT["license"].lower() and card["library_name"] == PROJECT["name"]
    assert text.strip().startswith("# mini")


def test_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert all(source.keys() >= {"type", "title", "authors"} for source in citation["references"])
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", markdown(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    targets = [t for t in LINK.findall(path.read_text(encoding="utf-8")) if ":" not in t]
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_the_workflows_and_templates_are_yaml_and_run_what_exists():
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert (ROOT / ".ci/run").exists() and "run: .ci/run" in workflow
    assert all((ROOT / name).exists() for name in re.findall(r"(?:tests|examples)/\S+", workflow))


def test_no_package_file_is_tracked():
    """Wheels and archives belong to a release, and would stay in the history for ever."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = listed.stdout.split("\0")
    assert "pyproject.toml" in tracked
    assert [name for name in tracked if name.endswith((".whl", ".tar.gz", ".zip"))] == []
