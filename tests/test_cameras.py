import json
import math
from pathlib import Path

import pytest
import torch

from facelift.cameras import VIEW_NAMES, canonical_rig, orbit, orbit_rig, turntable_rig

GOLDEN = Path(__file__).parent / "golden" / "facelift_six_cameras.json"


def project(cameras, points):
    """(N, ..., 3) world points to (N, ..., 2) pixels, written out independently of `rays`."""
    rotation, translation = cameras.w2c[:, :3, :3], cameras.w2c[:, :3, 3]
    seen = torch.einsum("nij,n...j->n...i", rotation, points)
    seen = seen + translation.reshape(len(cameras), *[1] * (points.ndim - 2), 3)
    fx, fy, cx, cy = (k.reshape(-1, *[1] * (points.ndim - 2)) for k in cameras.intrinsics.unbind(-1))
    return torch.stack([fx * seen[..., 0] / seen[..., 2] + cx, fy * seen[..., 1] / seen[..., 2] + cy], -1)


def test_canonical_rig_is_facelifts_own():
    frames = json.loads(GOLDEN.read_text())["frames"]
    ours = canonical_rig(512)
    theirs = [frames[i] for i in (2, 1, 0, 5, 4, 3)]
    assert len(ours) == len(theirs) == len(VIEW_NAMES)
    torch.testing.assert_close(ours.w2c, torch.tensor([f["w2c"] for f in theirs]), atol=2e-6, rtol=0)
    intrinsics = torch.tensor([[f[k] for k in ("fx", "fy", "cx", "cy")] for f in theirs])
    torch.testing.assert_close(ours.intrinsics, intrinsics, atol=1e-3, rtol=0)
    assert {(f["w"], f["h"]) for f in theirs} == {(ours.width, ours.height)}


def test_canonical_positions():
    side = 2.7 / math.sqrt(2)
    expected = [(0, -2.7, 0), (-side, -side, 0), (-2.7, 0, 0), (0, 2.7, 0), (2.7, 0, 0), (side, -side, 0)]
    torch.testing.assert_close(canonical_rig().positions, torch.tensor(expected), atol=1e-6, rtol=0)


def test_resized_keeps_the_field_of_view():
    small = canonical_rig(512).resized(64)
    torch.testing.assert_close(small.intrinsics, canonical_rig(64).intrinsics)
    assert (small.width, small.height) == (64, 64)


def test_rays_of_a_known_camera():
    # A one-pixel image: its centre is the principal point, so the ray is the optical axis.
    origins, directions = canonical_rig(1).rays()
    assert origins.shape == directions.shape == (6, 1, 1, 3)
    positions = canonical_rig(1).positions
    torch.testing.assert_close(origins[:, 0, 0], positions)
    torch.testing.assert_close(directions[:, 0, 0], -positions / 2.7, atol=1e-6, rtol=0)
    # In front: right in the image is +x in the world, down is -z; the border is half the field of view away.
    _, directions = canonical_rig(2).rays()
    across = math.tan(math.radians(25)) / 2
    corner = torch.tensor([across, 1.0, -across])
    torch.testing.assert_close(directions[0, 1, 1], corner / corner.norm())


def test_points_on_a_ray_project_to_its_pixel_centre():
    cameras = orbit([10.0, 200.0], [-30.0, 55.0], size=12)
    origins, directions = cameras.rays()
    distance = torch.linspace(0.5, 4.0, 144).reshape(12, 12, 1)
    y, x = torch.meshgrid(torch.arange(12.0) + 0.5, torch.arange(12.0) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], -1).expand(2, -1, -1, -1)
    torch.testing.assert_close(project(cameras, origins + distance * directions), pixels, atol=1e-4, rtol=0)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 12, 12))


def test_depth_along_rays_is_their_z_in_the_camera():
    cameras = orbit([10.0, 200.0], [-30.0, 55.0], size=12)
    origins, directions = cameras.rays()
    ends = torch.cat([origins + directions, torch.ones(2, 12, 12, 1)], dim=-1)
    z = torch.einsum("nij,nhwj->nhwi", cameras.w2c, ends)[..., 2]
    torch.testing.assert_close(cameras.depth_along_rays(), z, atol=1e-6, rtol=0)


def test_c2w_is_the_inverse():
    cameras = orbit([33.0], [44.0])
    torch.testing.assert_close(cameras.c2w @ cameras.w2c, torch.eye(4)[None], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "position"),
    [
        (0, 0, (0, -2, 0)),
        (90, 0, (-2, 0, 0)),
        (0, 30, (0, -math.sqrt(3), 1)),
        (180, -30, (0, math.sqrt(3), -1)),
    ],
)
def test_orbit_positions(azimuth, elevation, position):
    camera = orbit([azimuth], [elevation], size=8, radius=2.0)
    torch.testing.assert_close(
        camera.positions[0], torch.tensor(position, dtype=torch.float32), atol=1e-6, rtol=0
    )
    centre = project(camera, torch.zeros(1, 1, 3))[0, 0]
    torch.testing.assert_close(centre, torch.tensor([4.0, 4.0]))  # it looks at the origin
    above = project(camera, torch.tensor([[[0.0, 0.0, 0.1]]]))[0, 0]
    assert above[1] < 4.0  # up in the world is up in the image


def test_projecting_is_the_inverse_of_rays():
    rig = orbit_rig(3, 8)
    origins, directions = rig.rays()
    for i in range(3):
        points = origins[i] + 2.0 * directions[i]
        pixels, depth = rig.project(points)
        assert pixels.shape == (3, 8, 8, 2) and depth.shape == (3, 8, 8)
        rows, columns = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
        torch.testing.assert_close(pixels[i], torch.stack([columns, rows], -1), atol=1e-4, rtol=0)
        torch.testing.assert_close(depth[i], 2.0 * directions[i] @ rig.w2c[i, 2, :3])


def test_orbit_rig_goes_all_round_and_keeps_its_range():
    rig = orbit_rig(32, 16, (-20.0, 60.0))
    position = rig.positions
    torch.testing.assert_close(position.norm(dim=-1), torch.full((32,), 2.7))
    elevation = torch.rad2deg(torch.asin(position[:, 2] / 2.7))
    assert elevation.min() >= -20.001 and elevation.max() <= 60.001 and elevation.max() - elevation.min() > 70
    azimuth = torch.rad2deg(torch.atan2(-position[:, 0], -position[:, 1])) % 360
    torch.testing.assert_close(azimuth.diff(), torch.full((31,), 11.25), atol=1e-3, rtol=0)
    assert (position[:, None] - canonical_rig().positions).norm(dim=-1).min() > 0.1


def test_turntable_starts_in_front_and_turns_evenly():
    rig = turntable_rig(frames=4, size=32, elevation=20.0)
    high, out = 2.7 * math.sin(math.radians(20)), 2.7 * math.cos(math.radians(20))
    expected = [(0, -out, high), (-out, 0, high), (0, out, high), (out, 0, high)]
    torch.testing.assert_close(rig.positions, torch.tensor(expected), atol=1e-6, rtol=0)
    assert len(turntable_rig()) == 150
