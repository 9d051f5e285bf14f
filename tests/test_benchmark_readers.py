"""Public benchmarks in their owners' layouts: known cameras come out, to the pixel."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from benchmark_folders import (
    AZIMUTHS,
    METRIC,
    look,
    write_ava,
    write_cafca,
    write_facescape,
    write_nersemble,
)
from painted import painted_head

from facelift.errors import UserError
from facelift.evaluate.benchmarks import ava256
from facelift.evaluate.benchmarks.alignment import Similarity
from facelift.evaluate.benchmarks.sample import BENCHMARKS, detect
from facelift.evaluate.benchmarks.square import views_in_frame
from facelift.render import render

BARREL = (-0.12, 0.05, 0.002, -0.003)
SIZE = 96
FRAME = Similarity(METRIC.scale, METRIC.rotation, METRIC.shift)


@pytest.fixture(scope="module")
def head():
    return painted_head(2000)


def folder_of(name, root, head, distortion=BARREL):
    if name == "Ava-256":
        return write_ava(root, look(head, METRIC, (167, 256), distortion), METRIC, distortion)
    if name == "FaceScape":
        return write_facescape(root, look(head, METRIC, (220, 160), (*BARREL, 0.01)), (*BARREL, 0.01))
    if name == "Cafca":
        return write_cafca(root, look(head, METRIC, (160, 160)))
    # One intrinsic matrix for all cameras, hence one place of the camera seen again and again.
    seen = look(head, METRIC, (138, 201), azimuths={"222200037": 3.0})
    again = look(head, METRIC, (138, 201), azimuths={"222200037": -20.0})
    return write_nersemble(root, seen | {"222200038": again["222200037"]})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_known_cameras_come_out_to_the_pixel(name, tmp_path, head):
    root = folder_of(name, tmp_path, head)
    found, (folder,) = detect(root)
    assert found == name
    capture = BENCHMARKS[name].read(folder, "EXP-1-head/1" if name == "NeRSemble" else None, None)
    views, shown = views_in_frame(capture, [*capture.lenses], FRAME, SIZE, lambda image, seen: (image, seen))

    # A camera's position and where it sees points of the head are those that the folder was made with.
    seen = look(head, METRIC, (8, 8), azimuths=AZIMUTHS)
    if name != "NeRSemble":
        expected = torch.cat([camera.canonical.positions for camera in seen.values()])
        torch.testing.assert_close(views.cameras.positions, expected, atol=1e-3, rtol=0)
    drawn = render(head, views.cameras)
    for i in range(len(views.images)):
        inside = shown[i, 0]
        assert inside.float().mean() > 0.6
        truth = torch.where(inside, drawn.image[i], 1.0).clamp(0, 1)
        error = (truth - views.images[i])[:, inside]
        assert -10 * torch.log10((error**2).mean()) > 27
        (dx, dy), _ = cv2.phaseCorrelate(
            *(x.mean(0).numpy().astype(np.float32) for x in (truth, views.images[i]))
        )
        assert abs(dx) < 0.25 and abs(dy) < 0.25
    if name in ("Ava-256", "Cafca"):  # which have masks
        overlap = (drawn.alpha * shown - views.alpha).abs().mean()
        assert overlap < 0.02


def test_distortion_is_taken_out(tmp_path, head):
    """The same folder read as if there were none is off by pixels, so the test above sees it."""
    root = folder_of("Ava-256", tmp_path, head, (-0.9, 0.0, 0.0, 0.0))
    (folder,) = ava256.find(root)
    path = folder / "camera_calibration.json"
    errors = []
    for distortion in (None, [0.0] * 4):
        if distortion:
            calibration = json.loads(path.read_text())
            for camera in calibration["KRT"]:
                camera["distortion"] = distortion
            path.write_text(json.dumps(calibration))
        views, _ = views_in_frame(ava256.read(folder, "34", ["a", "e"]), ["e"], FRAME, SIZE, None)
        errors.append((views.images - render(head, views.cameras).image).abs().mean().item())
    assert errors[0] < 0.6 * errors[1]


def test_axes_that_meet_are_the_heads_centre(tmp_path, head):
    root = folder_of("Cafca", tmp_path, head)
    capture = BENCHMARKS["Cafca"].read(detect(root)[1][0], None, None)
    in_units = (capture.head_centre() - METRIC.shift) @ METRIC.rotation / METRIC.scale
    assert np.abs(in_units).max() < 0.15


def test_a_frame_that_a_camera_dropped_is_not_taken(tmp_path, head):
    root = folder_of("Ava-256", tmp_path, head)
    (folder,) = ava256.find(root)
    assert ava256.read(folder, None, None).name.endswith("000034")
    assert ava256.read(folder, None, ["a", "c"]).name.endswith("000012")


def test_what_is_missing_is_said_in_one_sentence(tmp_path, head):
    root = folder_of("Ava-256", tmp_path, head)
    (folder,) = ava256.find(root)

    def refusal(frame=None, cameras=None):
        with pytest.raises(UserError) as error:
            capture = ava256.read(folder, frame, cameras)
            capture.read("c")
        return str(error.value)

    assert "no camera x: choose from a, b, c, d, e" in refusal(cameras=["a", "x"])
    assert "take 2" in refusal(cameras=["a"])
    assert "no frame 99 of the camera a" in refusal("99")
    assert "not 'first'" in refusal("first")
    (folder / "image/camc.zip").rename(tmp_path / "camc.zip")
    assert (
        "no images of the camera c: fetch them, or measure with those that are there: --cameras a,b,d,e"
        in refusal()
    )
    shutil.copy(folder / "frame_list.csv", folder / "image/camc.zip")
    assert "camc.zip is missing or damaged" in refusal()
    (folder / "camera_calibration.json").write_text("{")
    assert "cannot be read" in refusal()
    assert detect(tmp_path / "image") is None


def test_a_camera_that_mirrors_is_refused(tmp_path, head):
    root = folder_of("Cafca", tmp_path, head)
    path = next(root.rglob("cameras_json/a.json"))
    camera = json.loads(path.read_text())
    camera["world2cam"][0] = [-x for x in camera["world2cam"][0]]
    path.write_text(json.dumps(camera))
    with pytest.raises(UserError, match="not a rotation"):
        BENCHMARKS["Cafca"].read(detect(root)[1][0], None, None)
