"""SOG: what is in a bundle, palettes for large scenes, and bundles that mean harm."""

import json
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from splats import assert_close, cloud

from facelift.errors import UserError
from facelift.formats.clustering import codebook, palette
from facelift.formats.sog import read_sog, write_sog
from facelift.gaussians import Gaussians


def members(path):
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def rewritten(path, files, **changes):
    """The bundle again, with other files in it, or a meta.json with changes."""
    files = dict(files)
    meta = json.loads(files["meta.json"]) | changes
    files["meta.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return path


def test_a_bundle_is_stored_webp_without_loss(tmp_path):
    write_sog(tmp_path / "a.sog", cloud(500, degree=1))
    files = members(tmp_path / "a.sog")
    images = ["means_l", "means_u", "quats", "scales", "sh0", "shN_centroids", "shN_labels"]
    assert list(files) == [*(f"{name}.webp" for name in images), "meta.json"]
    meta = json.loads(files["meta.json"])
    assert meta["version"] == 2 and meta["count"] == 500 and meta["shN"]["bands"] == 1
    assert len(meta["scales"]["codebook"]) == len(meta["sh0"]["codebook"]) == 256
    with Image.open(BytesIO(files["quats.webp"])) as image:
        assert image.size == (24, 24)
        assert set(np.asarray(image)[..., 3].ravel()[:500]) <= {252, 253, 254, 255}
    with zipfile.ZipFile(tmp_path / "a.sog") as bundle:
        assert {info.compress_type for info in bundle.infolist()} == {zipfile.ZIP_STORED}
    write_sog(tmp_path / "b.sog", cloud(500, degree=1))
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "b.sog").read_bytes()


def test_codebooks_spend_their_numbers_where_the_values_are():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=20_000), [40.0]]).reshape(-1, 3)
    book, places = codebook(values)
    assert book.shape == (256,) and (np.diff(book) >= 0).all() and places.shape == values.shape
    assert np.sqrt(np.square(book[places] - values).mean()) < 0.014, "256 even steps to 40 leave 0.05"
    assert abs(book[places[-1, -1]] - 40.0) < 1e-9
    few, places = codebook(np.array([2.0, -1.0, 2.0]))
    np.testing.assert_array_equal(few[places], [2.0, -1.0, 2.0])


def test_palettes_are_near_what_they_stand_for():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(60, 9)).astype(np.float32)
    vectors = (kinds[rng.integers(0, 60, 5000)] + 0.01 * rng.normal(size=(5000, 9))).astype(np.float32)
    found, labels = palette(vectors, 1024)
    assert len(found) <= 1024 and labels.min() >= 0 and labels.max() < len(found)
    assert np.sqrt(np.square(found[labels] - vectors).mean()) < 0.011
    same, labels = palette(vectors, 5000)
    np.testing.assert_array_equal(same[labels], vectors)


def test_more_vectors_than_labels_can_tell_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("facelift.formats.sog._PALETTE", 64)
    before = cloud(600, degree=1)
    kinds = before.shN[:20].repeat(30, 1, 1)
    before = replace(before, shN=kinds + 0.001 * before.shN)
    write_sog(tmp_path / "a.sog", before)
    assert json.loads(members(tmp_path / "a.sog")["meta.json"])["shN"]["count"] <= 64
    assert_close(read_sog(tmp_path / "a.sog"), before, ".sog")


def test_far_and_flat_gaussians(tmp_path):
    few = cloud(3)
    means = torch.tensor([[1e6, 0.0, -1e-3], [-1e6, 0.0, 2.0], [0.0, 0.0, -0.5]])
    write_sog(tmp_path / "a.sog", replace(few, means=means, scales=torch.zeros(3, 3)))
    found = read_sog(tmp_path / "a.sog")
    assert isinstance(found, Gaussians) and found.drawable.all()
    np.testing.assert_allclose(found.means.numpy()[:, 0].sum(), 0.0, atol=300.0)
    assert found.scales.max() < 1e-8


@pytest.mark.parametrize("version", [None, 1, 3])
def test_other_versions_are_named(tmp_path, version):
    write_sog(tmp_path / "a.sog", cloud(3))
    with pytest.raises(UserError, match="not of version 2 of SOG"):
        read_sog(rewritten(tmp_path / "a.sog", members(tmp_path / "a.sog"), version=version))


def test_names_in_a_bundle_never_become_paths(tmp_path):
    write_sog(tmp_path / "a.sog", cloud(3))
    files = members(tmp_path / "a.sog")
    (tmp_path / "outside.webp").write_bytes(files["means_l.webp"])
    for name in ("../outside.webp", str(tmp_path / "outside.webp")):
        meta = json.loads(files["meta.json"])["means"] | {"files": [name, "means_u.webp"]}
        with pytest.raises(UserError, match="not a complete SOG file"):
            read_sog(rewritten(tmp_path / "b.sog", files, means=meta))
        odd = {name if k == "means_l.webp" else k: v for k, v in files.items()}
        before = set(tmp_path.iterdir())
        assert_close(read_sog(rewritten(tmp_path / "b.sog", odd, means=meta)), cloud(3), ".sog")
        assert set(tmp_path.iterdir()) == before


def picture(width, height):
    file = BytesIO()
    Image.new("RGBA", (width, height)).save(file, "WEBP", lossless=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "name, bomb",
    [
        ("meta.json", b"[" * 100_000),
        ("meta.json", b" " * (1 << 26)),
        ("means_l.webp", bytes(1 << 27)),
        ("quats.webp", picture(4096, 4096)),
        ("sh0.webp", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\x7f/\xff\xff\xff\x0f"),
    ],
    ids=["nested", "spaces", "zeros", "large", "huge"],
)
def test_a_bomb_is_not_unpacked(tmp_path, name, bomb):
    import tracemalloc

    write_sog(tmp_path / "a.sog", cloud(3))
    with zipfile.ZipFile(tmp_path / "b.sog", "w", zipfile.ZIP_DEFLATED) as bundle:
        for member, data in members(tmp_path / "a.sog").items():
            bundle.writestr(member, bomb if member == name else data)
    tracemalloc.start()
    with pytest.raises(UserError, match="not a complete SOG file"):
        read_sog(tmp_path / "b.sog")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
    count = 20_000_001
    with pytest.raises(UserError, match="claims 20,000,001 Gaussians"):
        read_sog(rewritten(tmp_path / "b.sog", members(tmp_path / "a.sog"), count=count))
