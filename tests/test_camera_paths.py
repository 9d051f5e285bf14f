"""Where the cameras of a film stand, and cameras in files that anybody may have written."""

import json
import math

import pytest
import torch

from facelift.camera_paths import camera_path
from facelift.cameras import canonical_rig, orbit, turntable_rig
from facelift.data.camera_file import camera_records, read_cameras
from facelift.errors import UserError


def spherical(cameras, target=(0.0, 0.0, 0.0)):
    """Azimuths and elevations in degrees, and distances."""
    x, y, z = (cameras.positions.double() - torch.tensor(target)).unbind(-1)
    distances = (x**2 + y**2 + z**2).sqrt()
    return torch.rad2deg(torch.atan2(-x, -y)), torch.rad2deg(torch.asin(z / distances)), distances


def test_a_turntable_is_the_rig_of_that_name():
    path, rig = camera_path("turntable", 12, 64), turntable_rig(12, 64)
    assert torch.equal(path.w2c, rig.w2c) and torch.equal(path.intrinsics, rig.intrinsics)
    azimuths, elevations, _ = spherical(camera_path("turntable", 4, azimuth=30.0, elevation=-5.0))
    torch.testing.assert_close(
        azimuths.float(), torch.tensor([30.0, 120.0, -150.0, -60.0]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(elevations.float(), torch.full((4,), -5.0), atol=1e-3, rtol=0)


def test_a_still_is_one_camera_from_anywhere():
    target = (0.2, -0.1, 0.4)
    for azimuth, elevation in ((0.0, 0.0), (-70.0, 33.0), (190.0, -60.0), (25.0, 89.0)):
        camera = camera_path("still", 9, 64, azimuth, elevation, distance=1.7, target=target)
        found = [float(value[0]) for value in spherical(camera, target)]
        assert len(camera) == 1
        assert found == pytest.approx([(azimuth + 180) % 360 - 180, elevation, 1.7], abs=1e-3)
        pixels, depths = camera.project(torch.tensor([target]))
        assert pixels[0, 0].tolist() == pytest.approx([32, 32], abs=1e-3)
        assert float(depths) == pytest.approx(1.7, abs=1e-5)


@pytest.mark.parametrize("elevation", [90.0, -90.0])
def test_straight_from_above_and_below_the_face_is_below_and_above(elevation):
    camera = camera_path("still", size=64, elevation=elevation)
    assert camera.w2c.isfinite().all()
    face, _ = camera.project(torch.tensor([[0.0, -0.5, 0.0]]))
    assert abs(float(face[0, 0, 0]) - 32) < 0.1 and (float(face[0, 0, 1]) - 32) * elevation > 0


def test_a_spiral_is_a_loop_that_stays_in_front():
    azimuths, elevations, distances = spherical(camera_path("spiral", 80, azimuth=10.0, elevation=5.0))
    assert azimuths.min() == pytest.approx(-10, abs=0.2) and azimuths.max() == pytest.approx(30, abs=0.2)
    assert elevations.min() == pytest.approx(-5, abs=0.2) and elevations.max() == pytest.approx(15, abs=0.2)
    assert distances.min() == pytest.approx(2.43, abs=0.01) and distances.max() == pytest.approx(
        2.97, abs=0.01
    )
    positions = camera_path("spiral", 80).positions
    steps = (positions.roll(-1, 0) - positions).norm(dim=-1)
    assert steps.max() < 3 * steps.min()  # also from the last to the first


def test_a_dolly_ends_where_it_is_told():
    azimuths, _, distances = spherical(camera_path("dolly", 30, azimuth=45.0, distance=2.0))
    assert (azimuths - 45).abs().max() < 1e-3
    assert float(distances[0]) == pytest.approx(3.6) and float(distances[-1]) == pytest.approx(2.0)
    assert (distances.diff() < 0).all()
    assert float(spherical(camera_path("dolly", 1, distance=2.0))[2]) == pytest.approx(2.0)


def test_the_field_of_view_is_across_the_shorter_side():
    for size in ((64, 200), (200, 64)):
        camera = camera_path("still", size=size, fov=60.0)
        assert (camera.width, camera.height) == size
        assert camera.intrinsics[0].tolist() == pytest.approx(
            [32 / math.tan(math.radians(30))] * 2 + [size[0] / 2, size[1] / 2]
        )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kind": "helix"}, "choose still, turntable, spiral, dolly"),
        ({"frames": 0}, "number of frames must be from 1"),
        ({"frames": 10**9}, "number of frames must be from 1 to 100000"),
        ({"size": 0}, "size in pixels must be at least 1"),
        ({"size": (64, 1.5)}, "size in pixels must be a whole number"),
        ({"azimuth": math.nan}, "azimuth must be a number"),
        ({"elevation": 91.0}, "elevation must be from -90 to 90"),
        ({"distance": 0.0}, "distance must be from 0.001"),
        ({"distance": math.inf}, "distance must be a number"),
        ({"fov": 180.0}, "field of view must be from 1 to 170"),
        ({"target": (0.0, math.nan, 0.0)}, "target must be a number"),
    ],
)
def test_a_path_that_cannot_be_is_one_sentence(how, message):
    with pytest.raises(UserError, match=rf"^[^\n]*{message}[^\n]*\.$"):
        camera_path(**{"kind": "turntable", **how})


def test_cameras_come_back_from_a_file(tmp_path):
    rig = orbit([0.0, 33.0], [10.0, -20.0], (64, 48), 1.5)
    (tmp_path / "c.json").write_text(json.dumps({"frames": camera_records(rig, ["a.png", "b.png"])}))
    found = read_cameras(tmp_path / "c.json")
    assert torch.equal(found.w2c, rig.w2c) and torch.equal(found.intrinsics, rig.intrinsics)
    assert (found.width, found.height) == (64, 48)


def spoiled(number, **changes):
    """A file of six cameras, one of which is another."""
    records = camera_records(canonical_rig(64), ["x.png"] * 6)
    records[number] |= changes
    return json.dumps({"frames": [{k: v for k, v in r.items() if v is not ...} for r in records]})


EYE = torch.eye(4).tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", 'it needs a list "frames"'),
        ('{"frames": {}}', 'it needs a list "frames"'),
        ('{"frames": []}', "at least one record"),
        ('{"frames": [7]}', r"frames\[0\] is no record"),
        (spoiled(3, fx=...), r"frames\[3\] has no fx"),
        (spoiled(2, fy=-1.0), r"frames\[2\] has fy = -1.0"),
        (spoiled(2, cx="a"), r"frames\[2\] has cx = 'a'"),
        (spoiled(4, cy=math.nan), r"frames\[4\] has cy = nan"),
        (spoiled(4, w=0), r"frames\[4\] has w = 0"),
        (spoiled(4, h=64.5), r"frames\[4\] has h = 64.5"),
        (spoiled(5, w=32), r"frames\[5\] has another w or h than frames\[0\]"),
        (spoiled(1, w2c=EYE[:3]), r"frames\[1\] has a w2c that is not 4 rows of 4 numbers"),
        (spoiled(1, w2c=[[1, 0, 0, math.inf], *EYE[1:]]), r"frames\[1\] has a w2c that is not 4 rows"),
        (spoiled(1, w2c=[[2, 0, 0, 0], *EYE[1:]]), r"frames\[1\] has a w2c that is not a rotation"),
        (spoiled(1, w2c=[[-1, 0, 0, 0], *EYE[1:]]), r"frames\[1\] has a w2c that is not a rotation"),
        (spoiled(1, w2c=[*EYE[:3], [0, 0, 1, 1]]), r"frames\[1\] has a w2c that is not a rotation"),
    ],
)
def test_a_file_of_cameras_that_is_wrong_says_where(tmp_path, text, message):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=rf"^[^\n]*c\.json[^\n]*{message}[^\n]*\.$"):
        read_cameras(tmp_path / "c.json")


def test_a_file_of_cameras_that_cannot_be_read(tmp_path):
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "c.json", tmp_path / "missing.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read as a file of cameras"):
            read_cameras(path)
