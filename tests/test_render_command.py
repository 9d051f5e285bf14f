"""`facelift render`: what it writes, what it says, and that nothing half-written is left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from shell import shell

from facelift.camera_paths import camera_path
from facelift.cameras import canonical_rig
from facelift.cli.commands import run as run_command
from facelift.data.camera_file import camera_records
from facelift.formats.splats import write_splats
from facelift.render import render

ROOT = Path(__file__).parents[1]


@pytest.fixture
def head(tmp_path, monkeypatch):
    """A folder to work in that holds `head.ply`."""
    monkeypatch.chdir(tmp_path)
    write_splats(tmp_path / "head.ply", shell(800))
    return tmp_path


def run(*arguments):
    return run_command(["render", *map(str, arguments)])


def shown(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, stream.average_rate, sum(1 for _ in container.decode(stream))


def test_by_default_a_turntable_beside_nothing_else(head, capsys):
    assert run("head.ply", "--frames", 3, "--size", 64) == 0
    captured = capsys.readouterr()
    assert captured.out == "head.ply -> head.mp4\n"
    assert captured.err == "Reading head.ply\nRendering head.mp4\n"
    assert sorted(os.listdir(head)) == ["head.mp4", "head.ply"]
    assert shown("head.mp4") == (64, 64, 30, 3)


def test_a_still_from_anywhere_with_alpha(head):
    options = (
        "--azimuth 35 --elevation -10 --distance 2 --fov 40 --target 0.1 0 0.1 --size 80x60 --supersample 2"
    )
    assert run("head.ply", "-o", "a.png", *options.split(), "--background", "transparent") == 0
    camera = camera_path("still", 1, (160, 120), 35.0, -10.0, 2.0, 40.0, (0.1, 0.0, 0.1))
    alpha = render(shell(800), camera).alpha[0, 0].numpy().reshape(60, 2, 80, 2).mean((1, 3))
    with Image.open("a.png") as image:
        assert (image.mode, image.size) == ("RGBA", (80, 60))
        assert np.abs(np.asarray(image)[..., 3] - 255 * alpha).max() < 4  # the file rounds


@pytest.mark.parametrize("path", ["spiral", "dolly", "turntable", "still"])
def test_each_path_and_each_kind_of_file(head, path):
    names = {"spiral": "a.webm", "dolly": "a.gif", "turntable": "film", "still": "a.webp"}
    out = names[path]
    assert run("head.ply", "-o", out, "--path", path, "--frames", 4, "--size", 48, "--fps", 12) == 0
    if path == "spiral":
        assert shown(out) == (48, 48, 12, 4)
    elif path == "turntable":
        assert len(list(Path(out).glob("*.png"))) == 4
    else:
        with Image.open(out) as image:
            assert (image.size, image.n_frames) == ((48, 48), 4 if path == "dolly" else 1)


@pytest.mark.parametrize("output_type", ["depth", "normals"])
def test_depth_and_normals(head, output_type):
    assert run("head.ply", "-o", "a.png", "--output-type", output_type, "--size", 64) == 0
    with Image.open("a.png") as image:
        assert image.mode == ("I;16" if output_type == "depth" else "RGB")


def test_cameras_of_a_data_set(head):
    records = json.dumps({"frames": camera_records(canonical_rig(64), ["x"] * 6)})
    Path("c.json").write_text(records, encoding="utf-8-sig")  # as Windows's editors write it
    assert run("head.ply", "-o", "film", "--path", "c.json") == 0
    with Image.open("film/frame_0005.png") as image:
        assert image.size == (64, 64)
    assert run("head.ply", "-o", "film", "--path", "c.json", "--size", 32) == 0
    assert len(list(Path("film").glob("*.png"))) == 6
    expected = 255 * render(shell(800), canonical_rig(32)[2]).image[0].clamp(0, 1).movedim(0, -1).numpy()
    with Image.open("film/frame_0002.png") as image:
        assert np.abs(np.asarray(image) - expected).max() < 4


WRONG = [
    ("head.ply -o a.avi", r"a\.avi is named as no kind of picture"),
    ("head.ply -o a.mp4 --background transparent", "cannot be transparent"),
    ("head.ply --background chartroose", "no background"),
    ("head.ply -o a.png --path turntable", "holds one picture, not 150"),
    ("head.ply --path helix", r"no camera path 'helix'.*still, turntable, spiral, dolly or a file"),
    ("head.ply --path missing.json", r"missing\.json cannot be read"),
    ("head.ply --path bad.json", r"bad\.json: frames\[2\] has no fx"),
    ("head.ply --path endless.json", r"endless\.json: frames\[2\] has fx = 10{400}, which is no length"),
    ("head.ply --path good.json --azimuth 3", "fixed: leave out --azimuth"),
    ("head.ply --path good.json --size 64x32", "64 pixels wide are 64 high, not 32"),
    ("head.ply --distance 0.2", "stands within the head"),
    ("head.ply --distance 0", "distance must be from 0.001"),
    ("head.ply --distance 100000", "No camera sees anything"),
    ("head.ply --path still --target 0 50 0", "No camera sees anything"),
    ("head.ply --target 0 nan 0", "target must be a number"),
    ("head.ply --size 9000", "too large"),
    ("head.ply --size 4000 --supersample 4", "too large"),
    ("head.ply -o a.gif --fps 100", "A GIF shows 50 frames a second"),
    ("head.ply -o nowhere/a.mp4 --frames 1", "Cannot write nowhere/a.mp4: the folder does not exist"),
    ("empty.ply", "no Gaussians that can be drawn"),
    ("missing.ply", "missing.ply"),
    ("head.ply --device cuda:99", "cuda:99"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(head, capsys, line, message):
    records = camera_records(canonical_rig(64), ["x"] * 6)
    Path("good.json").write_text(json.dumps({"frames": records}))
    records[2]["fx"] = 10**400
    Path("endless.json").write_text(json.dumps({"frames": records}))
    del records[2]["fx"]
    Path("bad.json").write_text(json.dumps({"frames": records}))
    write_splats("empty.ply", shell(2)[:0])
    before = sorted(os.listdir(head))
    assert run(*line.split()) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("facelift: ") and last.endswith(".")
    assert re.search(message, last), last
    assert sorted(os.listdir(head)) == before


@pytest.mark.parametrize(
    "options",
    [
        "--azimuth nan",
        "--elevation inf",
        "--elevation 91",
        "--fov 0.5",
        "--fov nan",
        "--distance nan",
        "--fps nan",
        "--fps 0",
        "--frames 0",
        "--size big",
        "--size 0",
        "--size 64x",
        "--size -3",
        "--supersample 9",
        "--output-type albedo",
        "--target 1 2",
    ],
)
def test_wrong_options_are_a_wrong_call(head, capsys, options):
    assert run("head.ply", *options.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("facelift: ") and error.endswith("--help.\n")
    assert error.count("\n") == 1 and os.listdir(head) == ["head.ply"]


def test_ctrl_c_leaves_nothing(head):
    """It comes when the file is being written, which is seen by its temporary name."""
    command = [sys.executable, "-m", "facelift.cli", "render", "head.ply", "--frames", "100000"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 300
        while len(os.listdir(head)) == 1 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert error == "Reading head.ply\nRendering head.mp4\n"
    assert os.listdir(head) == ["head.ply"]
