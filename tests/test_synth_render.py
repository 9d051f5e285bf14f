"""Synthetic heads are drawn where the cameras say, and their folders survive anything."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facelift import cameras, split
from facelift.errors import UserError
from facelift.synth.scene import Light, Part, Scene

ASSETS = Path(__file__).parents[2] / "shared/assets/makehuman/data"
needs_assets = pytest.mark.skipif(not ASSETS.exists(), reason="needs MakeHuman's assets")


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


def scene(*parts, sky=1.0, lamps=()):
    directions = np.array([direction for direction, _ in lamps], np.float32).reshape(-1, 3)
    colors = np.array([color for _, color in lamps], np.float32).reshape(-1, 3)
    spreads = np.full(len(lamps), 0.1, np.float32)
    return Scene(parts, Light(np.full((16, 32, 3), sky, np.float32), directions, colors, spreads))


@pytest.fixture(scope="module")
def renderer():
    from facelift.synth.opengl import Renderer

    try:
        opened = Renderer()
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


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
    origins, directions = (x.double() for x in views.rays())
    along = -(origins * directions).sum(-1)
    square = radius**2 - (origins.square().sum(-1) - along**2)
    forward = views.w2c[:, 2, :3].double()[:, None, None]
    exact = ((along - square.clamp_min(0).sqrt()) * (directions * forward).sum(-1)).numpy()
    inside = square.numpy() > 0.05
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


def test_split():
    assert split.seed_of("head_001234") == 1234 and split.seed_of(".head_001234.partial") is None
    assert split.is_held_out(0) and split.is_held_out(999) and not split.is_held_out(1000)
    assert split.seed_of(split.folder_name(7)) == 7


# ---------------------------------------------------------------------------------------------- folders


class Balls:
    """Stands in for people: a ball whose colour and place hang on the seed."""

    def __init__(self, seed):
        self.seed = seed

    def to_json(self):
        return json.dumps({"seed": self.seed})

    def build(self):
        rng = np.random.default_rng(self.seed)
        return scene(sphere(rng.uniform(-0.2, 0.2, 3), 0.4, color=(*rng.integers(0, 255, 3), 255)))


@pytest.fixture
def make(renderer, monkeypatch):
    from facelift.synth import dataset

    monkeypatch.setattr(dataset.Assets, "open", lambda folder: None)
    monkeypatch.setattr(dataset, "sample_person", lambda seed, assets: Balls(seed))
    monkeypatch.setattr(dataset, "build_scene", lambda person, assets: person.build())
    return lambda out, **how: dataset.synthesize(
        out, "assets", **{"heads": 2, "size": 32, "seed": 1000, "rig": "canonical"} | how
    )


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_canonical_layout_is_facelifts(make, tmp_path):
    folders = make(tmp_path / "out", seed=999)
    assert [folder.name for folder in folders] == ["head_000999", "head_001000"]
    assert sorted(p.name for p in folders[0].glob("cam_*")) == [f"cam_{i:03d}.png" for i in range(6)]
    image = Image.open(folders[0] / "cam_000.png")
    assert image.mode == "RGBA" and image.size == (32, 32) and image.getpixel((0, 0)) == (0, 0, 0, 0)
    assert (tmp_path / "out/data_mvdiff_val.txt").read_text().split() == [str(folders[0])]
    assert (tmp_path / "out/data_mvdiff_train.txt").read_text().split() == [str(folders[1])]
    assert json.loads((folders[0] / "person.json").read_text())["seed"] == 999


def test_orbit_layout_is_facelifts(make, tmp_path):
    (folder,) = make(tmp_path, heads=1, rig="orbit", views=5)
    record = json.loads((folder / "opencv_cameras.json").read_text())
    rig = cameras.orbit_rig(5, 32)
    assert record["id"] == folder.name and len(record["frames"]) == 5
    for i, frame in enumerate(record["frames"]):
        assert frame["file_path"] == f"images/cam_{i:03d}.png"
        assert np.allclose(frame["w2c"], rig.w2c[i]) and (frame["w"], frame["h"]) == (32, 32)
        assert np.allclose([frame[k] for k in ("fx", "fy", "cx", "cy")], rig.intrinsics[i])
        alpha = np.asarray(Image.open(folder / frame["file_path"]))[..., 3]
        depth = np.asarray(Image.open(folder / f"depth/depth_{i:03d}.png")) / 10_000
        assert ((depth > 0) == (alpha > 0)).all() and 2 < depth[alpha > 0].mean() < 3
    assert (tmp_path / "data_gslrm_train.txt").read_text().split() == [str(folder)]


def test_same_seeds_same_bytes(make, tmp_path):
    make(tmp_path / "a", heads=3)
    make(tmp_path / "b", heads=1, seed=1002)
    assert content(tmp_path / "a/head_001002") == content(tmp_path / "b/head_001002")


def test_resumes_and_mends_what_was_half_written(make, tmp_path):
    first, second = make(tmp_path)
    whole = content(second)
    kept = (first / "cam_000.png").stat().st_mtime_ns
    for path in second.glob("cam_*"):
        path.unlink()
    second.rename(tmp_path / ".head_001001.partial")
    assert make(tmp_path) == [first, second]
    assert content(second) == whole
    assert (first / "cam_000.png").stat().st_mtime_ns == kept
    assert not list(tmp_path.glob(".*"))


def test_lists_hold_what_earlier_runs_made(make, tmp_path):
    make(tmp_path, seed=1000)
    make(tmp_path, seed=1005, heads=1)
    lines = (tmp_path / "data_mvdiff_train.txt").read_text().splitlines()
    assert [Path(line).name for line in lines] == ["head_001000", "head_001001", "head_001005"]


def test_other_views_in_the_same_place_are_refused(make, tmp_path):
    make(tmp_path, heads=1)
    for how in ({"size": 64}, {"rig": "orbit"}):
        with pytest.raises(UserError, match="holds other views"):
            make(tmp_path, heads=1, **how)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"heads": 0}, "heads"),
        ({"size": 31}, "32 to 2048"),
        ({"size": 4096}, "32 to 2048"),
        ({"rig": "spiral"}, "canonical or orbit"),
        ({"rig": "orbit", "views": 0}, "views"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_values_are_one_sentence(make, tmp_path, how, words):
    with pytest.raises(UserError, match=words) as caught:
        make(tmp_path / "out", **how)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_one_sentence(make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        make(tmp_path / "file")


KILLED = """
    import sys, numpy as np
    from facelift.synth import dataset
    from tests.test_synth_render import Balls
    dataset.Assets.open = lambda folder: None
    dataset.sample_person = lambda seed, assets: Balls(seed)
    dataset.build_scene = lambda person, assets: person.build()
    dataset.synthesize(sys.argv[1], "assets", 500, 64, 1000, "orbit", views=12)
"""


def test_a_killed_run_leaves_only_whole_heads(make, tmp_path):
    root = Path(__file__).parents[1]
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "LP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("head_*"))) < 3:
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    heads = sorted(tmp_path.glob("head_*"))
    assert all(len(content(head)) == 26 for head in heads)
    made = make(tmp_path, heads=len(heads) + 1, rig="orbit", views=12, size=64)
    assert all(len(content(head)) == 26 for head in made) and not list(tmp_path.glob(".*"))


@needs_assets
def test_a_whole_head_from_the_assets(renderer, tmp_path):
    from facelift.synth.dataset import synthesize

    (folder,) = synthesize(tmp_path, ASSETS, heads=1, size=64, seed=3, rig="canonical")
    alpha = np.asarray(Image.open(folder / "cam_000.png"))[..., 3]
    assert 0.1 < (alpha > 0).mean() < 0.9
    assert alpha[:3].max() == 0, "the crown lies within the picture"
