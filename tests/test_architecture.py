"""The rooms of the package and the arrows between them: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facelift"

# Modules of one line may import those of the lines below and, within a room, one another.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("app",),
    ("train", "evaluate", "synth"),
    ("batch",),
    ("results",),
    ("facelift",),
    ("pipeline",),
    ("head",),
    ("export", "weights", "estimate"),
    ("hub",),
    ("portrait", "views", "reconstruct", "refine", "mesh", "page", "pictures"),
    ("render", "formats"),
    ("data",),
    ("surfels",),
    ("gaussians",),
    ("spherical_harmonics", "camera_paths"),
    ("out_of_memory",),
    ("cameras", "images", "devices", "quantization", "transformer"),
    ("checks", "isolation"),
    ("choices", "errors", "old_names", "processes", "timings"),
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imports_of(module: str) -> Iterator[str]:
    """The modules of this package that it imports, in functions and for type checkers as well."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in MODULES else node.module


GRAPH = {module: set(imports_of(module)) - {module} for module in MODULES}


def wrong_arrows(graph: dict[str, set[str]]) -> list[str]:
    wrong = []
    for module, imported in graph.items():
        for other in sorted(imported):
            here, there = room_of(module), room_of(other)
            if here != there and LAYER[here] >= LAYER[there]:
                wrong.append(f"{module} imports {other}: {here} may not know {there}")
    return wrong


def test_every_room_has_its_place():
    assert {room_of(module) for module in MODULES} <= set(LAYER)


def test_arrows_go_down():
    assert wrong_arrows(GRAPH) == []


def test_the_wrong_arrow_is_named():
    graph = {
        "facelift.render.cpu": {"facelift.train.loop"},
        "facelift.train.loop": {"facelift.evaluate.sets"},
    }
    assert wrong_arrows(graph) == [
        "facelift.render.cpu imports facelift.train.loop: render may not know train",
        "facelift.train.loop imports facelift.evaluate.sets: train may not know evaluate",
    ]


def test_there_are_no_circles():
    graph = {module: imported for module, imported in GRAPH.items() if module != "facelift"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_inference_is_free_of_training_synthesis_and_evaluation():
    program = "import sys, facelift.pipeline; print([m for m in sys.modules if m.startswith('facelift.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in ast.literal_eval(done.stdout)}
    assert "pipeline" in rooms and not rooms & {"train", "evaluate", "synth", "cli", "app"}
