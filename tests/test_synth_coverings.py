"""Cloth around the head: it hides what it covers, leaves the face free, and is in the record."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.cameras import canonical_rig
from facelift.data.parts import part_id
from facelift.synth import coverings, recipes
from facelift.synth.build import build_scene
from facelift.synth.coverings import KINDS, Covering
from facelift.synth.landmarks import locate, see
from facelift.synth.pack import open_assets
from facelift.synth.patterns import Pattern
from facelift.synth.sampling import sample_person

FULL = ("hijab", "hood", "keffiyeh")


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


def worn(kind, **changed):
    thickness = sum(KINDS[kind].thickness) / 2
    return replace(Covering(kind, (0.8, 0.2, 0.3), None, thickness, 0.0, 0.0, 5), **changed)


@pytest.mark.parametrize("kind", KINDS)
def test_cloth_covers_the_head_and_leaves_the_face_free(makehuman, renderer, kind):
    person = sample_person(4005, makehuman)
    person = replace(person, hair=None, hat=None, beard=None, glasses=None, turn=(0.0, 0.0, 0.0))
    scene = build_scene(replace(person, covering=worn(kind)), makehuman)
    cameras = canonical_rig(256)[[0, 2, 3]]
    drawing = renderer.draw(scene, cameras)
    seen = see(locate(scene.base), cameras, drawing.depth).visible[0]
    assert seen[17:68].mean() > 0.9, "brows, eyes, nose and mouth"
    behind = drawing.parts[2]
    rows = np.flatnonzero((behind == part_id("hat")).any(axis=1))
    upper = behind[rows[0] : rows[0] + 60]
    assert (upper == part_id("hat")).sum() > 0.98 * (upper > 0).sum()
    assert drawing.rgba[2][upper.shape[0] // 2 + rows[0], 128, 3] == 255, "opaque"
    skin = [(parts == part_id("skin")).sum() for parts in drawing.parts]
    bare = renderer.draw(build_scene(person, makehuman), cameras).parts
    hidden = [1 - now / (parts == part_id("skin")).sum() for now, parts in zip(skin, bare, strict=True)]
    assert hidden[1] > 0.15 and hidden[2] > (0.9 if kind in FULL else 0.4)


def test_a_hijab_hides_ears_and_neck(makehuman, renderer):
    person = replace(sample_person(4005, makehuman), hair=None, hat=None, glasses=None, turn=(0.0, 0.0, 0.0))
    scene = build_scene(replace(person, covering=worn("hijab")), makehuman)
    ear = np.flatnonzero((makehuman.base.vertices[:, 0] < -0.78) & (makehuman.base.vertices[:, 1] > 6.5))
    ear = ear[np.isin(ear, makehuman.base.members("body"))]
    ear = ear[makehuman.base.vertices[ear, 0] > -0.95]
    camera = canonical_rig(256)[[2]]
    depth = renderer.draw(scene, camera).depth[0]
    x, y, z = (scene.base[ear] @ camera.w2c[0, :3, :3].numpy().T + camera.w2c[0, :3, 3].numpy()).T
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    column, row = (fx * x / z + cx).astype(int), (fy * y / z + cy).astype(int)
    assert len(ear) > 20 and (depth[row, column] < z - 0.005).all(), "cloth is nearer than the ear"


def test_the_face_is_seen_more_in_a_wider_opening_and_the_pattern_is_on_the_cloth(makehuman):
    body = makehuman.base.vertices
    clothes = makehuman.proxy(makehuman.names("clothes/*/*.mhclo")[-1]).fit(body)
    _, plain = coverings.cover(body, clothes, makehuman, worn("hijab"))
    _, wide = coverings.cover(body, clothes, makehuman, worn("hijab", wider=8.0))
    assert (wide[..., 3] < 128).sum() > 1.1 * (plain[..., 3] < 128).sum()
    dots = Pattern("dots", (1.0, 1.0, 1.0), 0.3, 0.0, 1.0)
    _, dotted = coverings.cover(body, clothes, makehuman, worn("hijab", pattern=dots))
    white = dotted[..., :3].min(axis=2) > 200
    assert 0.05 < white.mean() < 0.4 and not (plain[..., :3].min(axis=2) > 200).any()
    mesh, again = coverings.cover(body, clothes, makehuman, worn("hijab"))
    np.testing.assert_array_equal(plain, again)
    assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)


def test_who_wears_what_is_in_the_record(makehuman):
    rng = np.random.default_rng(0)
    for is_male in (False, True):
        kinds = {coverings.sample_covering(rng, is_male).kind for _ in range(200)}
        assert kinds == {name for name, kind in KINDS.items() if kind.shares[is_male]}
    plain = sample_person(1, makehuman)
    people = [recipes.with_covering(replace(plain, seed=seed)) for seed in range(400)]
    covered = [person for person in people if person.covering is not None]
    assert 10 < len(covered) < 80 and all(person.hair is None and person.hat is None for person in covered)
    for person in (*covered, *people[:3]):
        kept = replace(person, recipe=2)
        assert type(kept).from_json(kept.to_json()) == kept
    assert '"covering"' not in plain.to_json()
