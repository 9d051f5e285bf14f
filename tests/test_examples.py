"""Every example runs, with small settings, and does what its first line says."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from heads import write_ball, write_balls
from PIL import Image
from quick import be_quick

from facelift.cameras import canonical_rig
from facelift.formats.ply import read_ply
from facelift.synth import dataset

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTO = EXAMPLES / "portrait.jpg"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    be_quick(monkeypatch)

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_a_photo_becomes_a_head_that_is_drawn_from_anywhere(run):
    assert "Gaussians" in run("01_reconstruct.py", PHOTO, "--frames", 2)
    assert {path.name for path in Path("outputs/01").iterdir()} == {"head.ply", "head.mp4", "views.png"}
    assert "depth" in run("02_render_from_anywhere.py", "outputs/01/head.ply", "--size", 64)
    assert Image.open("outputs/02.png").size == (192, 64)


def test_a_batch_goes_on_after_a_bad_photo_and_keeps_what_is_done(run):
    Path("photos").mkdir()
    Path("photos/a.jpg").write_bytes(PHOTO.read_bytes())
    Path("photos/b.jpg").write_text("no photo", encoding="utf-8")
    out = run("03_batch.py", "photos")
    assert "b.jpg: " in out and "1 of 2 photos" in out
    written = Path("outputs/03/a.jpg.ply").stat().st_mtime_ns
    assert "a.jpg ->" not in run("03_batch.py", "photos")
    assert Path("outputs/03/a.jpg.ply").stat().st_mtime_ns == written


def test_a_fit_to_ones_own_views_brings_them_nearer(run):
    write_ball(Path("mine/head_020000"), canonical_rig(256), 0.6, (0.8, 0.6, 0.4))
    out = run("04_fit_to_your_own_views.py", "mine/head_020000", "--steps", 6)
    before, after = (float(line.split(": ")[1].split()[0]) for line in out.splitlines() if " dB" in line)
    assert after > before
    assert len(read_ply("outputs/04.ply"))


def test_ten_heads_train_a_reconstructor(run):
    write_balls(Path("data/ten"), 3, size=32)
    out = run("05_train_on_ten_heads.py", "data/ten", "--size", 32, "--steps", 2)
    assert "2 steps" in out
    assert Path("runs/ten/reconstructor/model.safetensors").exists() and any(
        Path("runs/ten/pictures").iterdir()
    )


def test_heads_are_drawn_first_if_there_are_assets(run, makehuman_data, renderer, monkeypatch):
    """Two are enough to see it; the fixture `renderer` skips where there is no OpenGL."""
    synthesize = dataset.synthesize
    monkeypatch.setattr(
        dataset,
        "synthesize",
        lambda out, assets, heads, *rest, **how: synthesize(out, assets, 2, *rest, **how),
    )
    run("05_train_on_ten_heads.py", "data/ten", "--assets", makehuman_data, "--size", 32, "--steps", 1)
    assert {path.name for path in Path("data/ten/canonical").glob("head_*")} == {"head_001000", "head_001001"}


def test_a_model_is_evaluated(run, monkeypatch):
    import facelift.evaluate as module
    from facelift.evaluate.metrics import IMAGE_MEASURES

    monkeypatch.setattr(module, "available_measures", lambda fetch: (list(IMAGE_MEASURES), {}))
    write_balls(Path("data/test"), 1, size=64, first_seed=0)
    assert "| the model |" in run("06_evaluate_a_model.py", "data/test")
    assert Path("outputs/06/report.html").exists()


def test_the_notebook_runs(run, monkeypatch):
    cells = json.loads((EXAMPLES / "reconstruct_and_render.ipynb").read_text())["cells"]
    Path("portrait.jpg").write_bytes(PHOTO.read_bytes())
    names: dict = {}
    for cell in cells:
        assert not cell.get("outputs"), "stored without outputs, so that a change shows what changed"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook", "exec"), names)
    assert Path("head.ply").exists() and names["losses"][-1] < names["losses"][0] / 4


def test_examples_are_short_and_listed():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert [path.name[:2] for path in scripts] == [f"{i:02d}" for i in range(1, len(scripts) + 1)]
    assert all(len(path.read_text().splitlines()) <= 40 for path in scripts)
    listed = (EXAMPLES / "README.md").read_text() + (EXAMPLES.parent / "docs/examples.md").read_text()
    assert all(listed.count(path.name) >= 2 for path in [*scripts, *EXAMPLES.glob("*.ipynb")])
