"""The measurement on public benchmarks: alignment, heads of other systems, the paper's columns."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from benchmark_folders import METRIC, face_head, look, write_ava
from tiny import tiny_parts

from facelift import FaceLift
from facelift.cameras import canonical_rig, orbit
from facelift.cli.commands import run as run_command
from facelift.errors import UserError
from facelift.evaluate import Report
from facelift.evaluate.benchmarks import run
from facelift.evaluate.benchmarks.alignment import Similarity, fit_similarity, triangulate
from facelift.evaluate.benchmarks.answers import CONVENTIONS, Answers, Convention, by_camera
from facelift.evaluate.benchmarks.capture import Lens
from facelift.evaluate.benchmarks.faces import facing
from facelift.evaluate.benchmarks.run import evaluate_benchmark, write_inputs
from facelift.evaluate.benchmarks.sample import Choice
from facelift.evaluate.benchmarks.square import SIDE, head_frame
from facelift.evaluate.metrics import IMAGE_MEASURES
from facelift.formats.ply import write_ply
from facelift.gaussians import Gaussians

AZIMUTHS = {"left": -24.0, "midleft": -11.0, "front": 1.0, "midright": 12.0, "right": 26.0}
SOME = Similarity(1.7, cv2.Rodrigues(np.array([0.05, -0.1, 0.15]))[0], np.array([0.2, -1.0, 3.0]))


def few():
    return face_head()[::40]


def points(count=30, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3))


# --- geometry


def test_a_similarity_is_found_again():
    found = fit_similarity(points(), SOME(points()))
    assert found.scale == pytest.approx(SOME.scale)
    np.testing.assert_allclose(found.rotation, SOME.rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, SOME.translation, atol=1e-12)
    np.testing.assert_allclose(found.inverse()(found(points())), points(), atol=1e-12)
    np.testing.assert_allclose(found.after(SOME)(points()), found(SOME(points())), atol=1e-12)
    assert found.degrees == pytest.approx(math.degrees(np.linalg.norm([0.05, -0.1, 0.15])))


def test_a_mirror_image_is_not_fitted_by_mirroring():
    assert np.linalg.det(fit_similarity(points(), points() * [-1, 1, 1]).rotation) == pytest.approx(1)


def test_a_camera_moves_with_the_points():
    lens = Lens(np.eye(4), np.array([[500, 0, 200], [0, 510, 190], [0, 0, 1.0]]), (400, 380))
    seen = points() + np.array([0, 0, 9])
    moved = Lens(SOME.camera(lens.w2c), lens.matrix, lens.size)
    np.testing.assert_allclose(moved.project(SOME(seen)), lens.project(seen), atol=1e-9)


def test_points_are_placed_where_three_cameras_see_them():
    cameras = orbit([-20, 0, 15, 30], [0, 10, -5, 0], 100)
    matrices = torch.diag_embed(torch.cat([cameras.intrinsics[:, :2], torch.ones(4, 1)], 1)).double()
    matrices[:, :2, 2] = cameras.intrinsics[:, 2:]
    true = points(6) * 0.3
    pixels = cameras.project(torch.from_numpy(true).float())[0].double().numpy()
    pixels[:2, 5] = np.nan
    placed, errors = triangulate(pixels, (matrices @ cameras.w2c[:, :3].double()).numpy())
    np.testing.assert_allclose(placed[:5], true[:5], atol=1e-4)
    assert errors[:5].max() < 1e-3 and np.isnan(placed[5]).all()


def test_the_input_camera_becomes_the_front_one():
    """What the portrait shows around its middle, the canonical front camera sees as large and as upright."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.2, 2.0, -0.4]))[0]
    pose[:3, 3] = 30, -20, 1500
    lens = Lens(pose, np.array([[3000, 0, 900], [0, 3000, 1200.0], [0, 0, 1]]), (2000, 2400))
    middle, side = np.array([1100.0, 900.0]), 800.0
    centre = lens.position + 1600 * lens.axis
    frame = head_frame(lens, centre, middle, side)
    across = SIDE / 2 * np.array([[0, 0, 0], [0.2, 0, 0], [0, 0, 0.2], [-0.1, 0, 0.1]])
    in_photo = (lens.project(frame(across)) - middle) / side
    front = canonical_rig(512)[0].project(torch.from_numpy(across).float())[0][0].numpy() / 512 - 0.5
    np.testing.assert_allclose(
        in_photo, front, atol=0.006
    )  # the photo's lens is long, the front camera's not


@pytest.mark.parametrize("name", ["facelift", "lgm", "sharp"])
def test_known_systems_are_brought_into_our_frame(name):
    head = few()
    convention = CONVENTIONS[name]
    distance = convention.distance or 3.3
    unit = 2 * distance * math.tan(math.radians(convention.fov) / 2) / SIDE  # of ours in theirs
    shift = torch.tensor([0.0, 0.0 if convention.distance else distance, 0.0])
    theirs = head.transformed(torch.eye(3), shift, unit)
    if convention.distance is None:  # as far away as the median of what it sees
        shift[1] += unit * head.means[:, 1].median()
        theirs = head.transformed(torch.eye(3), shift, unit)
        head = head.transformed(torch.eye(3), -torch.tensor([0, head.means[:, 1].median(), 0]))
        theirs = head.transformed(torch.eye(3), torch.tensor([0.0, distance, 0.0]), unit)
    found = by_camera(theirs, convention, convention.fov)
    torch.testing.assert_close(found.means, head.means, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.scales, head.scales, atol=1e-5, rtol=0)


def test_a_face_looks_away_from_the_head():
    known = np.full((68, 3), np.nan)
    known[36:42], known[42:48], known[48:60] = [-0.2, -0.4, 0.1], [0.2, -0.4, 0.1], [0, -0.4, -0.3]
    np.testing.assert_allclose(facing(known), [0, -1, 0], atol=1e-12)
    assert facing(np.full((68, 3), np.nan)) is None


# --- the whole of it


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    root = tmp_path_factory.mktemp("ava")
    seen = look(face_head(), METRIC, (334, 512), azimuths=AZIMUTHS)
    return write_ava(root, seen, METRIC, (0.0, 0.0, 0.0, 0.0))


def test_the_truth_as_another_systems_answer_is_found_and_scored(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "available_measures", lambda fetch, vgg: ([*IMAGE_MEASURES], {"LPIPS": "no"}))
    model = FaceLift(*tiny_parts(), "cpu")
    theirs = SOME.move(face_head())
    (tmp_path / "lam").mkdir()
    write_ply(tmp_path / "lam/20230405--1635--AAN112.ply", theirs)
    convention = {"frame": "RDF", "distance": 2.6 * SOME.scale, "fov": 50, "centre": [0.2, -3.0, -1.0]}
    (tmp_path / "lam/camera.json").write_text(json.dumps(convention))
    answers = [Answers.parse(f"lam={tmp_path / 'lam'}")]
    evaluate_benchmark(model, benchmark, tmp_path / "out", Choice(size=96), answers)
    report = Report.read(tmp_path / "out")

    (record,) = report.records
    alignment = record.alignments["lam"]
    assert record.alignments["model"]["input_view"] == "front"
    assert alignment["by"] == "landmarks" and alignment["error"] < 0.03
    assert alignment["degrees"] == pytest.approx(SOME.degrees, abs=4)
    psnr = {method: report.people("novel-views", method, "psnr") for method in ("lam", "model", "billboard")}
    best, mine, flat = (next(iter(people.values())) for people in psnr.values())
    assert best > flat + 3 and best > mine + 3
    text = (tmp_path / "out/report.md").read_text()
    assert "## Alignment" in text and "## Beside published figures" in text
    assert "16.61" not in text  # of another benchmark
    assert not (tmp_path / "out.progress").exists()


def test_the_photos_that_are_shown_can_be_had(benchmark, tmp_path):
    (path,) = write_inputs(benchmark, tmp_path / "inputs", Choice(size=96, input_view="midleft"))
    image = cv2.imread(str(path))
    assert path.name == "20230405--1635--AAN112.png" and image.shape == (96, 96, 3)
    assert image[:4].min() > 250 and image[40:60, 40:56].mean() < 220


def test_answers_that_cannot_be_used_are_refused(tmp_path):
    folder = tmp_path / "heads"
    folder.mkdir()
    for text in ("heads", f"={folder}", "lgm=nowhere", f"model={folder}", f"mine={folder}"):
        with pytest.raises(UserError):
            Answers.parse(text)
    with pytest.raises(UserError, match="incomplete"):
        Answers.parse(f"lgm={folder}").load("a", "a 1")
    (folder / "camera.json").write_text('{"frame": "RUB", "radius": 2}')
    with pytest.raises(UserError, match="not of the form"):
        Answers.parse(f"mine={folder}")
    write_ply(folder / "a_1.ply", few())
    (folder / "camera.json").write_text('{"frame": "RDF"}')
    torch.testing.assert_close(Answers.parse(f"mine={folder}").load("a", "a 1").means, few().means)
    assert Convention().distance == 2.7


def test_options_of_benchmarks_belong_to_benchmarks(tmp_path, capsys):
    assert run_command(["evaluate", str(tmp_path), "--input-view", "a"]) == 1
    assert "to which alone --input-view applies" in capsys.readouterr().err.replace("\n", " ")


def test_gaussians_stay_gaussians():
    moved = SOME.move(few())
    assert isinstance(moved, Gaussians)
    np.testing.assert_allclose(moved.means.numpy(), SOME(few().means.numpy()), atol=1e-5)
