"""The recipe of `mini`, with a stand-in for `facelift` that checks what each command is given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "configs/mini/train.sh"

STAND_IN = """#!{python}
import os, sys
from pathlib import Path
import yaml
job, *words = sys.argv[1:]
with open(os.environ["RECORD"], "a") as record:
    print(job, *words, file=record)
option = lambda name: words[words.index(name) + 1]
if job == "synth":
    for rig in ("canonical", "orbit", "overhead") if option("--rig") == "all" else (".",):
        Path(words[0], rig).mkdir(parents=True, exist_ok=True)
    assert Path(option("--assets")).is_dir()
elif job == "train":
    config, out = Path(words[1]), Path(option("--out"))
    parts = yaml.safe_load(config.read_text())
    for value in [*parts["training"].values(), *parts["validation"].values()]:
        for path in value if isinstance(value, list) else [value]:
            assert not isinstance(path, str) or Path(path).is_dir(), f"{{config.name}} wants {{path}}"
    if os.environ.get("KILLED") == config.stem:
        sys.exit(137)
    part = out / (words[0] if words[0] in ("reconstructor", "portrait", "features") else "views")
    part.mkdir(parents=True, exist_ok=True)
    (part / "config.json").write_text(config.stem)
elif job == "evaluate":
    assert Path(words[0]).is_dir() and Path(option("--train")).is_dir()
    parts = {{part.parent.name for part in Path(option("--model")).rglob("config.json")}}
    assert parts == {{"views", "reconstructor", "portrait"}}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "facelift").write_text(STAND_IN.format(python=sys.executable))
    (tmp_path / "facelift").chmod(0o755)
    (tmp_path / "assets").mkdir()

    def run(assets="assets", **more):
        paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record")}
        done = subprocess.run(
            ["bash", str(RECIPE), assets, "work"],
            cwd=tmp_path,
            env=paths | more,
            capture_output=True,
            text=True,
        )
        record = tmp_path / "record"
        commands = record.read_text().splitlines() if record.exists() else []
        record.unlink(missing_ok=True)
        return done, commands

    run.folder = tmp_path / "work"
    return run


def trained(commands):
    return [command.split()[2].split("/")[-1] for command in commands if command.startswith("train")]


def test_every_stage_finds_what_it_builds_on_and_the_last_ones_are_shipped(recipe):
    done, commands = recipe(HEADS="30", PEOPLE="3", TIME="0.5")
    assert done.returncode == 0, done.stderr
    assert len(trained(commands)) == len(set(trained(commands))) == 8
    assert "--max-minutes 20" in next(c for c in commands if c.startswith("train autoencoder"))
    assert any("data/test" in c and "--heads 3 --seed 0" in c for c in commands)
    assert commands[-1].startswith("evaluate")
    model = recipe.folder / "model"
    assert (model / "views/config.json").read_text() == "decoder"
    assert (model / "reconstructor/config.json").read_text() == "reconstructor_generated"


def test_a_killed_recipe_goes_on_with_the_stage_it_was_in(recipe):
    done, commands = recipe(KILLED="views")
    assert done.returncode == 137
    first = ["portrait.yaml", "features.yaml", "autoencoder.yaml", "reconstructor.yaml", "views.yaml"]
    assert trained(commands) == first
    done, commands = recipe()
    assert done.returncode == 0, done.stderr
    rest = ["views.yaml", "views_adversarial.yaml", "decoder.yaml", "reconstructor_generated.yaml"]
    assert trained(commands) == rest


def test_missing_assets_are_one_sentence(recipe):
    done, commands = recipe(assets="nowhere")
    assert done.returncode == 2 and not commands
    assert done.stderr == "There is nothing at nowhere: give MakeHuman's data folder, or a pack of it.\n"
