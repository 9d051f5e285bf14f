"""Cycles draws what OpenGL draws, where the cameras say, under the light that the scene says."""

import sys

import numpy as np
import pytest
import torch
from test_synth_render import card, part, scene, sphere, sphere_depth

from facelift import cameras
from facelift.errors import UserError
from facelift.synth import cycles
from facelift.synth.light import irradiance
from facelift.synth.renderers import open_renderer
from facelift.synth.scene import Light, Scene


@pytest.fixture(scope="module")
def renderer():
    try:
        opened = cycles.Renderer(samples=4)
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def linear(srgb):
    """What `developed` took, below its shoulder."""
    return np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def surroundings(environment, *parts, lamps=(), exposure=1.0):
    directions = np.array([direction for direction, *_ in lamps], np.float32).reshape(-1, 3)
    colors = np.array([color for _, color, _ in lamps], np.float32).reshape(-1, 3)
    spreads = np.array([spread for *_, spread in lamps], np.float32)
    return Scene(parts, Light(np.asarray(environment, np.float32), directions, colors, spreads, exposure))


def test_depth_and_silhouette_of_a_sphere_match_its_rays(renderer):
    views, radius = cameras.orbit_rig(3, 96), 0.6
    rgba, depth = renderer.render(scene(sphere([0, 0, 0], radius, steps=200)), views)
    exact, square = sphere_depth(views, radius)
    facing = square > 0.25  # a ray anywhere within the pixel has about the depth of its middle
    assert np.abs(depth - exact)[facing].max() < 0.02 and np.abs((depth - exact)[facing].mean()) < 1e-3
    assert (rgba[..., 3][square > 0.05] == 255).all()
    area = np.pi * (96 / 2 / np.tan(np.radians(25)) * np.tan(np.arcsin(radius / 2.7))) ** 2
    assert rgba[..., 3].sum(axis=(1, 2)) / 255 == pytest.approx(area, rel=0.01)
    assert (depth == 0)[rgba[..., 3] == 0].all() and (rgba[rgba[..., 3] == 0] == 0).all()


@pytest.mark.parametrize("focal", [(110.0, 110.0), (140.0, 100.0), (100.0, 140.0)])
def test_projection_agrees_with_the_cameras_whatever_their_intrinsics(renderer, focal):
    rig = cameras.orbit_rig(2, 96)
    views = cameras.Cameras(rig.w2c, torch.tensor([[*focal, 40.0, 53.0]] * 2), 96, 80)
    center = np.array([0.11, -0.17, 0.13])
    rgba, _ = renderer.render(scene(sphere(center, 0.1)), views)
    seen = torch.einsum("nij,j->ni", views.w2c, torch.tensor([*center, 1.0], dtype=torch.float32))
    expected = seen[:, :2] / seen[:, 2:3] * torch.tensor(focal) + torch.tensor([40.0, 53.0])
    rows, columns = np.mgrid[:80, :96] + 0.5
    for weight, where in zip(rgba[..., 3].astype(float), expected.numpy(), strict=True):
        found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.abs(found - where).max() < 0.15


def test_a_matte_sphere_has_the_irradiance_of_its_surroundings(renderer):
    polar, azimuth = np.meshgrid((np.arange(16) + 0.5) / 16, (np.arange(32) + 0.5) / 32, indexing="ij")
    red = 0.5 + 0.5 * np.cos(2 * np.pi * (azimuth - 0.1))  # brightest a little from +x towards +y
    green = 0.5 + 0.5 * np.cos(2 * np.pi * (azimuth - 0.6))
    environment = np.stack([red, green, 1 - polar], -1)
    ball = sphere([0, 0, 0], 0.6, (255, 255, 255, 255), "clothes", steps=100)
    views = cameras.orbit_rig(3, 64)
    rgba, depth = renderer.render(surroundings(environment, ball, exposure=0.6), views)
    origins, directions = (x.numpy() for x in views.rays())
    ahead = (directions * views.w2c[:, 2, :3].numpy()[:, None, None]).sum(-1)
    normals = (origins + directions * (depth / ahead)[..., None]) / 0.6
    facing = (depth > 0) & ((-directions * normals).sum(-1) > 0.5)
    expected = 0.6 * irradiance(environment.astype(np.float32), normals[facing])
    error = linear(rgba[facing][:, :3] / 255) - expected
    assert expected.std(axis=0).min() > 0.05
    assert np.abs(error.mean(axis=0)).max() < 0.01 and error.std(axis=0).max() < 0.025


def test_a_white_surface_that_faces_a_lamp_has_its_colour(renderer):
    texture = np.full((4, 4, 4), 255, np.uint8)
    white = card(texture)
    white = part(white.vertices, white.normals, white.uvs, white.faces, texture, "clothes", False)
    lamp = ([0.0, -1.0, 0.0], [0.5, 0.25, 0.1], 0.1)
    rgba, _ = renderer.render(
        surroundings(np.zeros((2, 4, 3)), white, lamps=[lamp]), cameras.canonical_rig(32)[0]
    )
    assert linear(rgba[0, 16, 16, :3] / 255) == pytest.approx(np.array(lamp[1]), abs=0.01)


def test_cards_are_cut_and_both_of_their_sides_are_lit(renderer):
    texture = np.full((64, 64, 4), 255, np.uint8)
    texture[:, :32] = 0  # black where transparent, on the side of -x: left in front, right from behind
    rgba, _ = renderer.render(scene(card(texture)), cameras.canonical_rig(64)[[0, 3]])
    assert (rgba[0, 32, :31, 3] == 0).all() and (rgba[1, 32, 33:, 3] == 0).all()
    assert (rgba[0, 32, 36:42] > 150).all() and (rgba[1, 32, 22:28] > 150).all()


def test_the_same_scene_gives_the_same_bytes_and_the_next_its_own(renderer):
    scenes = [scene(sphere([0, 0, 0], 0.5, color=(*color, 255))) for color in ((200, 20, 20), (20, 20, 200))]
    view = cameras.orbit_rig(2, 48)
    red, blue, again = (renderer.render(scenes[i], view)[0] for i in (0, 1, 0))
    assert np.array_equal(red, again)
    assert red[0, 24, 24, 0] > 2 * red[0, 24, 24, 2] and blue[0, 24, 24, 2] > 2 * blue[0, 24, 24, 0]


def test_one_blender_in_a_process(renderer):
    with pytest.raises(RuntimeError, match="close the other"):
        cycles.Renderer()


@pytest.mark.parametrize("seed", [3, 1000])
def test_both_renderers_draw_the_same_person(renderer, makehuman_data, seed):
    from facelift.synth.build import build_scene
    from facelift.synth.pack import open_assets
    from facelift.synth.sampling import sample_person

    assets = open_assets(makehuman_data)
    person = build_scene(sample_person(seed, assets), assets)
    views = cameras.canonical_rig(96)[[0, 2]]
    with open_renderer("opengl") as opengl:
        expected, near = opengl.render(person, views)
    found, depth = renderer.render(person, views)
    ours, theirs = found[..., 3] > 127, expected[..., 3] > 127
    iou = (ours & theirs).sum(axis=(1, 2)) / (ours | theirs).sum(axis=(1, 2))
    assert iou.min() >= 0.97
    both = (depth > 0) & (near > 0)
    assert np.median(np.abs(depth - near)[both]) < 0.005
    # The same light: as bright, and the same colours, where both see the person.
    solid = (found[..., 3] == 255) & (expected[..., 3] == 255)
    assert np.abs(found[solid].astype(float).mean(0) - expected[solid].mean(0)).max() < 20


# ------------------------------------------------------------------------------------- without Blender


def test_developing_is_the_curve_of_srgb_with_a_shoulder():
    half, bright = 0.21586, 1.0  # 128 / 255 in sRGB
    picture = np.array([[[half, half, half, 1.0], [half / 2, 0, 0, 0.5], [bright, 50, 0, 1], [9, 9, 9, 0]]])
    rgba = cycles.developed(picture.astype(np.float32), 1.0)[0]
    assert rgba[:2].tolist() == [[128, 128, 128, 255], [128, 0, 0, 128]]
    assert 128 < rgba[2, 0] < rgba[2, 1] == 255 and rgba[3].tolist() == [0, 0, 0, 0]
    darker = (picture * [0.25, 0.25, 0.25, 1]).astype(np.float32)
    assert (cycles.developed(darker, 4.0)[0] == rgba).all()


def test_missing_bpy_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "bpy", None)
    monkeypatch.setattr(cycles.Renderer, "_is_open", False)
    with pytest.raises(UserError, match=r"facelift\[cycles\]"):
        open_renderer("cycles")


def test_a_library_that_blender_lacks_is_explained(monkeypatch, tmp_path):
    (tmp_path / "bpy.py").write_text("raise ImportError('libXrender.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bpy", raising=False)
    monkeypatch.setattr(cycles.Renderer, "_is_open", False)
    with pytest.raises(UserError, match=r"libXrender.so.1.*libxrender1"):
        open_renderer("cycles")


def test_renderers_by_name():
    with pytest.raises(UserError, match="opengl or cycles"):
        open_renderer("povray")
    with pytest.raises(UserError, match="samples"):
        open_renderer("cycles", 0)
