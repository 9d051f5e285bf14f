"""The making of `bench-heads-v1` and `-v2`, on tiny ones that OpenGL draws."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from lit import assets_with_map
from makehuman import write_names

from facelift.cameras import canonical_rig, orbit_rig
from facelift.data.split import BENCH_SEEDS, is_held_out
from facelift.errors import UserError
from facelift.evaluate.sets import TestSet
from facelift.synth import bench as benches
from facelift.synth.bench import (
    BENCH_HEADS_V1,
    BENCH_HEADS_V2,
    Bench,
    checksum_of,
    draft_of,
    make_bench,
    maps_of,
    parameters,
    people_of,
)
from facelift.synth.pack import open_assets

TINY = Bench("tiny", (976, 977), 2, 3, 48, "opengl", 1)


@pytest.fixture(scope="module")
def tiny(renderer, makehuman_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    make_bench(out, makehuman_data, TINY)
    return out


def test_the_set_is_one_to_measure_on(tiny):
    found = TestSet(tiny)
    assert found.people == ["head_000976", "head_000977"]
    assert found.names == [f"light_{k}/head_{s:06d}" for k in range(2) for s in (976, 977)]
    one, other = (found.load(f"light_{k}/head_000976") for k in range(2))
    torch.testing.assert_close(one.canonical.cameras.w2c, canonical_rig(48).w2c)
    torch.testing.assert_close(one.orbit.cameras.w2c, orbit_rig(3, 48).w2c)
    # The same head under another light, and another head.
    assert torch.equal(one.orbit.alpha, other.orbit.alpha) and torch.equal(one.orbit.depth, other.orbit.depth)
    assert (one.orbit.images - other.orbit.images).abs().mean() > 0.003
    assert not torch.equal(one.orbit.alpha, found.load("light_0/head_000977").orbit.alpha)
    # Depth and picture agree: the middle of the back of the head is within the head's reach.
    assert 1.9 < one.canonical.depth[3, 24, 24].item() < 2.7


def test_the_set_says_what_it_is(tiny):
    written = json.loads((tiny / "bench.json").read_text())
    assert written["checksum"] == checksum_of({k: v for k, v in written.items() if k != "checksum"})
    assert written["people"]["light_1/head_000977"] == json.loads(
        (tiny / "light_1/head_000977/person.json").read_text()
    )


def test_a_stopped_run_goes_on_and_draws_the_same(tiny, makehuman_data, tmp_path):
    folders = make_bench(tmp_path, makehuman_data, TINY)
    kept = (folders[0] / "images/cam_000.png").stat()
    pictures = {path: path.read_bytes() for path in folders[2].rglob("*.png")}
    shutil.rmtree(folders[2])
    assert make_bench(tmp_path, makehuman_data, TINY) == folders
    assert os.path.samestat((folders[0] / "images/cam_000.png").stat(), kept), "not written anew"
    assert {path: path.read_bytes() for path in folders[2].rglob("*.png")} == pictures
    with pytest.raises(UserError, match="holds another set"):
        make_bench(tmp_path, makehuman_data, replace(TINY, seeds=(978,)))


def test_another_generator_cannot_make_the_set_under_its_name(makehuman_data, tmp_path):
    with pytest.raises(UserError, match="make other heads than tiny's"):
        make_bench(tmp_path / "set", makehuman_data, replace(TINY, checksum="0" * 64))
    assert not (tmp_path / "set").exists()


def test_every_parameter_counts(makehuman_data):
    opened = open_assets(makehuman_data)

    def checksum(bench):
        return checksum_of(parameters(bench, people_of(bench, opened)))

    same = checksum(TINY)
    assert same == checksum(replace(TINY, checksum="x"))
    for change in ({"seeds": (976, 978)}, {"lights": 1}, {"orbit_views": 4}, {"size": 64}, {"samples": 2}):
        assert checksum(replace(TINY, **change)) != same


def test_the_set_is_held_out_and_the_generator_still_makes_it(tmp_path):
    """If this fails, the generator samples other people: `bench-heads-v1` needs a new name and checksum."""
    bench = BENCH_HEADS_V1
    assert bench.seeds == tuple(BENCH_SEEDS) and len(bench.seeds) == 24 and all(map(is_held_out, bench.seeds))
    assert (bench.lights, bench.orbit_views, bench.size, bench.renderer) == (2, 24, 512, "cycles")
    found = parameters(bench, people_of(bench, open_assets(write_names(tmp_path))))
    assert checksum_of(found) == bench.checksum
    assert np.isfinite(found["w2c"]).all() and draft_of(bench).name != bench.name


def test_version_2_has_other_people_of_recipe_2(makehuman_data):
    bench = BENCH_HEADS_V2
    assert len(set(bench.seeds)) == 48 and all(map(is_held_out, bench.seeds))
    assert not {*bench.seeds} & {*BENCH_HEADS_V1.seeds} and bench.recipe == 2
    assert (bench.lights, bench.orbit_views, bench.size, bench.renderer) == (2, 24, 512, "cycles")
    with pytest.raises(UserError, match="facelift synth pack --scans --hdris"):
        people_of(bench, open_assets(makehuman_data))


def test_people_of_version_2_stand_in_maps_of_light(renderer, makehuman_data, tmp_path, monkeypatch):
    assets = assets_with_map(makehuman_data, tmp_path / "beside")
    monkeypatch.setattr(benches, "open_assets", lambda path: assets)
    two = replace(TINY, name="tiny-2", seeds=(928, 929), orbit_views=1, recipe=2)
    make_bench(tmp_path / "set", "assets", two)
    found = TestSet(tmp_path / "set")
    assert found.names == [f"light_{k}/head_{s:06d}" for k in range(2) for s in (928, 929)]
    written = json.loads((tmp_path / "set/bench.json").read_text())
    people = people_of(two, assets)
    assert written["maps"] == maps_of(people, assets) and {*written["maps"]} == {"land"}
    for seed in (928, 929):
        own, other = (people[f"light_{k}/head_{seed:06d}"] for k in range(2))
        assert other.hdri is not None and other == replace(own, hdri=other.hdri) and other != own
        one, two_ = (found.load(f"light_{k}/head_{seed:06d}") for k in range(2))
        assert torch.equal(one.orbit.alpha, two_.orbit.alpha)
        assert (one.orbit.images - two_.orbit.images).abs().mean() > 0.002
