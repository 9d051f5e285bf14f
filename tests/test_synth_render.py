"""Synthetic heads are drawn where the cameras say."""

import sys

import numpy as np
import pytest
import torch

from facelift import cameras
from facelift.errors import UserError
from facelift.synth.scene import Light, Part, Scene


def sphere(center, radius, color=(200, 150, 130, 255), name="skin", alpha=False, steps=64):
    u, v = np.meshgrid(np.linspace(0, 1, 2 * steps + 1), np.linspace(0, 1, steps + 1))
    azimuth, height = 2 * np.pi * u, np.pi * (v - 0.5)
    flat = np.cos(height)
    normals = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(height)], -1).reshape(-1, 3)
    i = np.arange(u.size).reshape(u.shape)
    a, b, c, d = (x.ravel() for x in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    texture = np.full((8, 8, 4), color, np.uint8)
    uvs = np.stack([u.ravel(), v.ravel()], -1)
    return part(normals * radius + center, normals, uvs, faces, texture, name, alpha)


def card(texture, y=0.0, half=0.5):
    """A square across the line of sight of the front camera, its texture upright."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    vertices = np.stack([corners[:, 0], np.full(4, y), corners[:, 1]], -1)
    normals = np.tile([0.0, -1.0, 0.0], (4, 1))
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return part(vertices, normals, uvs, np.array([[0, 1, 2], [0, 2, 3]]), texture, "hair", True)


def part(vertices, normals, uvs, faces, texture, name, alpha):
    floats = (x.astype(np.float32) for x in (np.asarray(vertices), normals, uvs))
    return Part(name, *floats, faces.astype(np.int32), texture, alpha, specular=0.0)


def sphere_depth(views, radius):
    """Depth of a sphere about the origin in each pixel, and the squared half length of its ray within."""
    origins, directions = (x.double() for x in views.rays())
    along = -(origins * directions).sum(-1)
    square = radius**2 - (origins.square().sum(-1) - along**2)
    forward = views.w2c[:, 2, :3].double()[:, None, None]
    depth = ((along - square.clamp_min(0).sqrt()) * (directions * forward).sum(-1)).numpy()
    return depth, square.numpy()


def scene(*parts, sky=1.0, lamps=()):
    directions = np.array([direction for direction, _ in lamps], np.float32).reshape(-1, 3)
    colors = np.array([color for _, color in lamps], np.float32).reshape(-1, 3)
    spreads = np.full(len(lamps), 0.1, np.float32)
    return Scene(parts, Light(np.full((16, 32, 3), sky, np.float32), directions, colors, spreads))


@pytest.mark.parametrize("size", [64, 255, 512])
def test_projection_agrees_with_the_cameras(renderer, size):
    views = cameras.orbit_rig(6, size)
    center = np.array([0.31, -0.17, 0.23])
    rgba, depth = renderer.render(scene(sphere(center, 0.1)), views)
    seen = torch.einsum("nij,j->ni", views.w2c, torch.tensor([*center, 1.0], dtype=torch.float32))
    fx, fy, cx, cy = views.intrinsics.unbind(-1)
    for i in range(len(views)):
        x, y, z = (float(v) for v in seen[i, :3])
        weight = rgba[i, ..., 3].astype(float)
        rows, columns = np.mgrid[:size, :size] + 0.5
        found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        expected = np.array([float(fx[i]) * x / z + float(cx[i]), float(fy[i]) * y / z + float(cy[i])])
        assert np.abs(found - expected).max() < 0.15
        assert depth[i][depth[i] > 0].min() == pytest.approx(z - 0.1, abs=5e-3)


def test_depth_and_silhouette_of_a_sphere_match_its_rays(renderer):
    views, radius = cameras.canonical_rig(128), 0.6
    rgba, depth = renderer.render(scene(sphere([0, 0, 0], radius, steps=200)), views)
    exact, square = sphere_depth(views, radius)
    inside = square > 0.05
    assert np.abs(depth - exact)[inside].max() < 1e-3
    assert (rgba[..., 3][inside] == 255).all()
    area = np.pi * (128 / 2 / np.tan(np.radians(25)) * np.tan(np.arcsin(radius / 2.7))) ** 2
    assert rgba[0, ..., 3].sum() / 255 == pytest.approx(area, rel=2e-3)
    assert (depth == 0)[rgba[..., 3] == 0].all() and (depth > 0)[rgba[..., 3] > 0].all()


def test_depth_takes_no_mean_across_an_edge(renderer):
    views = cameras.canonical_rig(64)[0]
    texture = np.full((4, 4, 4), 255, np.uint8)
    near, far = card(texture, y=-0.5, half=0.303), card(texture, y=0.5, half=0.7)
    _, depth = renderer.render(scene(near, far), views)
    assert np.isin(np.round(depth, 4), np.float32([0, 2.2, 3.2])).all()


def test_images_are_upright_and_their_colours_those_of_the_texture(renderer):
    texture = np.zeros((64, 64, 4), np.uint8)
    texture[:32, :32] = 255, 0, 0, 255  # the first row is v = 1: red is above, at -x, left in the front view
    texture[32:, 32:] = 0, 128, 255, 255
    rgba, _ = renderer.render(scene(card(texture)), cameras.canonical_rig(128)[0])
    # A flat white sky leaves the colours alone, but for what the card itself takes away from the sky.
    upper, lower = rgba[0, 45, 45], rgba[0, 83, 83]
    assert upper[0] > 200 and upper[1] == upper[2] == 0 and upper[3] == 255
    assert lower[2] > 200 and lower[0] == 0 and lower[1] / lower[2] == pytest.approx(0.5, abs=0.06)
    assert rgba[0, 45, 83, 3] == rgba[0, 83, 45, 3] == 0


def test_transparent_edges_carry_no_fringe(renderer):
    y, x = np.mgrid[:256, :256]
    texture = np.zeros((256, 256, 4), np.uint8)
    texture[(x // 3 + y // 7) % 2 == 0] = 90, 200, 60, 255  # hair-thin strokes, black where transparent
    rgba, _ = renderer.render(scene(card(texture)), cameras.canonical_rig(96)[0])
    color = rgba[rgba[..., 3] > 0][:, :3].astype(float)
    partial = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert partial.mean() > 0.05
    assert np.abs(color - color.mean(0)).max() < 12


def test_cards_show_both_sides(renderer):
    texture = np.full((4, 4, 4), 255, np.uint8)
    rgba, _ = renderer.render(scene(card(texture)), cameras.canonical_rig(64)[[0, 3]])
    assert (rgba[:, 32, 32, 3] == 255).all()
    assert (rgba[:, 32, 32, :3] > 128).all()


def test_lamps_light_their_side_and_throw_shadows(renderer):
    lamp = ([-1.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    alone = scene(sphere([0, 0, 0], 0.4), sky=0.0, lamps=[lamp])
    shaded = scene(sphere([0, 0, 0], 0.4), sphere([-0.9, 0, 0], 0.3), sky=0.0, lamps=[lamp])
    view = cameras.canonical_rig(128)[0]
    lit, _ = renderer.render(alone, view)
    dark, _ = renderer.render(shaded, view)
    assert lit[0, 64, 50, 0] > 100 > 20 > lit[0, 64, 78, 0]
    assert dark[0, 64, 46, 0] < 0.5 * lit[0, 64, 46, 0]


def test_same_scene_gives_same_bytes_whatever_was_drawn_between(renderer):
    first, other = scene(sphere([0, 0, 0], 0.5)), scene(sphere([0.2, 0, 0], 0.3))
    view = cameras.orbit_rig(2, 64)
    before = renderer.render(first, view)
    renderer.render(other, cameras.canonical_rig(100))
    after = renderer.render(first, view)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_renderers_beside_each_other_draw_as_each_does_alone(renderer):
    from facelift.synth.opengl import Renderer

    drawn, other = scene(sphere([0, 0, 0], 0.5)), scene(sphere([0.2, 0, 0], 0.3))
    view = cameras.orbit_rig(2, 32)
    alone = renderer.render(drawn, view)
    with Renderer() as second:
        second.render(other, view)
        beside = renderer.render(drawn, view)
        assert np.array_equal(second.render(drawn, view)[0], alone[0])
    renderer.render(other, view)
    after = renderer.render(drawn, view)
    for found in (beside, after):
        assert all(np.array_equal(a, b) for a, b in zip(found, alone, strict=True))


def test_missing_egl_is_explained(monkeypatch):
    import moderngl

    from facelift.synth.opengl import Renderer

    def refuse(**_):
        raise Exception("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(moderngl, "create_context", refuse)
    with pytest.raises(UserError, match="libegl1 and libgl1-mesa-dri"):
        Renderer()


def test_missing_moderngl_is_explained(monkeypatch):
    from facelift.synth.opengl import Renderer

    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(UserError, match=r"facelift\[synth\]"):
        Renderer()
