"""Groomed hairstyles: taken over from another head, kept in a file and a pack, worn by people."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.errors import UserError
from facelift.synth import hairdos, hairstyles, meshes, recipes, registration, vitruvian
from facelift.synth.build import shape
from facelift.synth.groomed import put_on
from facelift.synth.hairdos import Hairdo
from facelift.synth.pack import open_assets, write_pack
from facelift.synth.sampling import sample_person
from facelift.synth.strands import scalp
from facelift.synth.surface import Surface

PLAIN = Hairdo("long", 5.2, 0.2, 0.1, 0.1, 0.12, 0.0, 0.0, "none", 7.5, 1.0, 0.4, 0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


@pytest.fixture(scope="module")
def hair(makehuman):
    """Strands that go out of the scalp, then down: (40, 12, 3)."""
    roots = scalp(makehuman).places[:40]
    out = (roots - [0, 7.45, 0.4]) / np.linalg.norm(roots - [0, 7.45, 0.4], axis=1, keepdims=True)
    t = np.linspace(0, 1, 12)[:, None, None]
    return np.moveaxis(roots + 0.3 * t * out - [0, 1.5, 0] * t**2, 0, 1).astype(np.float32)


@pytest.fixture
def clone(makehuman, hair, tmp_path):
    """A clone of a Vitruvian whose body is MakeHuman's, a tenth larger, in its own axes and elsewhere."""

    def theirs(points):
        return (np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) * 1.1 + [0, 0, 4]) / 10

    base = makehuman.base
    for folder in ("morphs/L1", "hairstyles"):
        (tmp_path / folder).mkdir(parents=True)
    np.save(tmp_path / "morphs/L1/Default.npy", theirs(base.vertices.astype(np.float64)))
    np.save(tmp_path / "faces.npy", base.faces[base.groups["body"]].astype(np.uint16))
    style = {"cnt": np.full(len(hair), 12, np.uint8), "data": theirs(hair.reshape(-1, 3)).astype(np.float32)}
    np.savez(tmp_path / "hairstyles/Long.npz", **style)
    np.savez(tmp_path / "hairstyles/eyebrows_01.npz", **style)
    return tmp_path


def test_hair_of_another_head_comes_to_lie_where_it_lay_there(makehuman, hair, clone, monkeypatch):
    monkeypatch.setattr(registration, "STIFFNESS", tuple(np.geomspace(300, 1, 6)))
    styles = vitruvian.make_hairstyles(clone, makehuman)
    assert list(styles) == ["Long"], "brows are no hairstyle"
    roots = styles["Long"][:, 0]
    apart = np.linalg.norm(roots[:, None] - hair[:, 0], axis=2)
    assert np.median(apart.min(axis=1)) < 0.05 and apart.min(axis=1).max() < 0.2
    np.testing.assert_allclose(styles["Long"][:, -1, 1].min(), hair[:, -1, 1].min(), atol=0.2)


def test_a_folder_that_is_no_clone_is_refused(makehuman, clone, tmp_path):
    with pytest.raises(UserError, match="git clone of"):
        vitruvian.make_hairstyles(tmp_path / "nowhere", makehuman)
    np.savez(clone / "hairstyles/Broken.npz", cnt=np.array([5, 5]), data=np.zeros((3, 3)))
    with pytest.raises(UserError, match="git clone"):
        vitruvian.make_hairstyles(clone, makehuman)


def test_styles_come_back_from_the_file_and_from_a_pack(makehuman_data, hair, tmp_path):
    file = tmp_path / "hair.npz"
    hairstyles.write_hairstyles(file, {"Long": hair})
    np.testing.assert_allclose(hairstyles.load_hairstyles(file)["Long"], hair, atol=1e-3)
    write_pack(tmp_path / "heads.pack", makehuman_data, hair=file)
    assert list(open_assets(tmp_path / "heads.pack").hairstyles) == ["Long"]
    file.write_bytes(b"hair")
    with pytest.raises(UserError, match="holds no hairstyles"):
        hairstyles.load_hairstyles(file)
    with pytest.raises(UserError, match="facelift synth hair"):
        write_pack(tmp_path / "heads.pack", makehuman_data, hair=tmp_path / "nowhere.npz")


@pytest.fixture(scope="module")
def groomed(makehuman_data, hair):
    assets = open_assets(makehuman_data)
    assets.cached("hairstyles", lambda: {"Long": hair})
    return assets


def test_a_style_is_worn_outside_of_the_body_shortened_and_mirrored(groomed, hair):
    person = sample_person(1006, groomed)
    body = shape(person, groomed)
    corners = meshes.proxy_template(groomed, person.clothes).corners
    surface = Surface(body, groomed.proxy(person.clothes).fit(body), corners, groomed)

    def worn(**changed):
        return put_on(body, surface, groomed, replace(PLAIN, strands="Long", **changed))[1]

    points = worn()
    apart, _ = surface.distance(points.reshape(-1, 3))
    assert apart.min() > -0.06 and np.median(surface.distance(points[:, 0])[0]) < 0.1
    half = worn(length=0.5)
    along = [np.linalg.norm(np.diff(each, axis=1), axis=2).sum(axis=1) for each in (half, points)]
    assert np.median(along[0] / along[1]) < 0.6
    assert np.corrcoef(points[:, 0, 0], worn(flipped=True)[:, 0, 0])[0, 1] < -0.9
    with pytest.raises(UserError, match="has no hairstyle Short"):
        put_on(body, surface, groomed, replace(PLAIN, strands="Short"))


def test_some_people_wear_them_where_there_are_any(makehuman, groomed):
    people = [recipes.with_grown_hair(sample_person(seed, makehuman)) for seed in range(100)]
    assert [recipes.with_groomed_hair(person, makehuman) for person in people] == people
    wear = [recipes.with_groomed_hair(person, groomed) for person in people]
    women = [person for person in wear if person.hairdo and person.hairdo.strands]
    assert 1 <= len(women) < 20 and all(person.male < 0.5 for person in women)
    rng = np.random.default_rng(0)
    names = {hairdos.sample_groomed(rng, PLAIN, ["Eve", "Combover_zoro_d"], True).strands for _ in range(60)}
    assert names == {"Eve", "Combover_zoro_d"}
    assert hairdos.sample_groomed(rng, PLAIN, ["Long"], True) is None
