"""Data sets of heads: their files, and what becomes of them when something is stopped or damaged."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import STAND_INS, BallJob, ClusterBallJob
from descent import losses_of
from PIL import Image

from facelift import cameras
from facelift.data import shards, split
from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.reconstruct import GSLRMConfig
from facelift.synth import dataset
from facelift.synth import head as heads
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining

TESTS = Path(__file__).parent
FORMS = pytest.mark.parametrize("form", ["folders", "shards"])


@pytest.fixture
def make(renderer, monkeypatch):
    for thing, name, stand_in in STAND_INS:
        monkeypatch.setattr(thing, name, stand_in)
    monkeypatch.setattr(dataset, "Renderer", lambda: nullcontext(renderer))
    return lambda out, **how: dataset.synthesize(
        out, "assets", **{"heads": 2, "size": 32, "seed": 1000, "rig": "canonical"} | how
    )


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def heads_in(out):
    """What a reader finds of each head, whether in folders or in shards."""
    folder = HeadFolder(out)
    return {head: folder.load(head, depth=True) for head in folder.heads}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for head, views in expected.items():
        for part in ("images", "alpha", "depth"):
            assert torch.equal(getattr(found[head], part), getattr(views, part)), (head, part)
        assert torch.equal(found[head].cameras.w2c, views.cameras.w2c)


def test_split():
    assert split.seed_of("head_001234") == 1234 and split.seed_of(".head_001234.partial") is None
    assert split.is_held_out(0) and split.is_held_out(999) and not split.is_held_out(1000)
    assert split.seed_of(split.folder_name(7)) == 7


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


@FORMS
def test_all_rigs_come_from_one_build_of_each_head(make, tmp_path, monkeypatch, form):
    make(tmp_path / "all/orbit", heads=1, rig="orbit", views=3, form=form)  # as if stopped in the middle
    built, build = [], heads.build_scene
    monkeypatch.setattr(
        heads, "build_scene", lambda person, assets: built.append(person.seed) or build(person, assets)
    )
    paths = make(tmp_path / "all", heads=3, rig="all", views=3, form=form)
    assert built == [1000, 1001, 1002]
    assert [path.parent.name for path in paths][:: len(paths) // 3] == ["canonical", "orbit", "overhead"]
    for rig, views in (("canonical", 6), ("orbit", 3), ("overhead", 1)):
        make(tmp_path / rig, heads=3, rig=rig, views=3)
        found = heads_in(tmp_path / "all" / rig)
        assert_same(found, heads_in(tmp_path / rig))
        assert all(len(each.images) == views for each in found.values())
    above = heads_in(tmp_path / "overhead")["head_001000"].cameras.positions[0]
    assert above[2] > 2.69, "the camera is above the head"


def test_depth_alone_leaves_the_rest_out(make, tmp_path):
    make(tmp_path / "all", heads=1)
    make(tmp_path / "depth", heads=1, truth="depth")
    everything, depth = content(tmp_path / "all"), content(tmp_path / "depth")
    assert {path.parent.name for path in everything.keys() - depth.keys()} == {"normals", "parts"}
    with pytest.raises(UserError, match="--truth depth"):
        make(tmp_path / "depth", heads=1)
    make(tmp_path / "all", heads=1, truth="depth")


def test_check_sums_are_those_of_sha256sum(make, tmp_path):
    (folder,) = make(tmp_path, heads=1)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 4 * 6 + 2 == len(content(folder)) - 1
    for line in lines:
        checksum, _, name = line.partition("  ")  # two spaces, as the tool writes and reads it
        assert checksum == hashlib.sha256((folder / name).read_bytes()).hexdigest()


@FORMS
def test_same_seeds_same_bytes(make, tmp_path, form):
    make(tmp_path / "a", heads=3)
    make(tmp_path / "b", heads=2, seed=1001, form=form)
    expected = heads_in(tmp_path / "a")
    del expected["head_001000"]
    assert_same(heads_in(tmp_path / "b"), expected)


def test_shards_hold_what_folders_hold(make, tmp_path):
    (shard,) = make(tmp_path / "shards", form="shards")
    make(tmp_path / "folders")
    with tarfile.open(shard) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    expected = content(tmp_path / "folders")
    heads = {path: data for path, data in expected.items() if len(path.parts) > 1}
    assert found == {f"{path.parts[0]}.{path.name}": data for path, data in heads.items()}


def test_webdataset_reads_the_shards(make, tmp_path):
    import webdataset

    paths = make(tmp_path, heads=3, seed=1048, form="shards")
    urls = [str(path) for path in paths]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgba8"))
    assert [sample["__key__"] for sample in samples] == ["head_001048", "head_001049", "head_001050"]
    views = HeadFolder(tmp_path).load("head_001050")
    image = torch.tensor(samples[2]["cam_003.png"]).float() / 255
    assert torch.equal(image[..., 3], views.alpha[3, 0])
    assert len(samples[2]["opencv_cameras.json"]["frames"]) == 6


def test_shards_end_where_the_split_and_the_next_shard_begin(make, tmp_path):
    paths = make(tmp_path, seed=998, heads=4, form="shards")
    assert [path.name for path in paths] == ["heads_000998-000999.tar", "heads_001000-001001.tar"]
    assert (tmp_path / "data_mvdiff_val.txt").read_text().split() == [str(paths[0])]
    assert (tmp_path / "data_mvdiff_train.txt").read_text().split() == [str(paths[1])]
    assert len(HeadFolder(tmp_path)) == len(HeadFolder(tmp_path, held_out=True)) == 2
    (tmp_path / "empty").mkdir()
    units = dataset.Shards(tmp_path / "empty", None).units(range(980, 1120))
    assert units == [range(980, 1000), range(1000, 1050), range(1050, 1100), range(1100, 1120)]
    assert split.HELD_OUT_SEEDS.stop % shards.HEADS_PER_SHARD == 0


def test_a_longer_run_goes_on_where_the_shorter_one_ended(make, tmp_path, monkeypatch):
    make(tmp_path, heads=2, form="shards")
    expected = heads_in(make(tmp_path / "at once", heads=4, form="shards")[0].parent)
    drawn = count_drawn(monkeypatch)
    assert make(tmp_path, heads=4, form="shards") == [tmp_path / "heads_001000-001003.tar"]
    assert drawn == [1002, 1003]
    assert_same(heads_in(tmp_path), expected)
    assert make(tmp_path, heads=1, form="shards") == [tmp_path / "heads_001000-001003.tar"]
    with pytest.raises(UserError, match="holds some of these heads"):
        make(tmp_path, seed=1002, form="shards")


def count_drawn(monkeypatch):
    drawn, draw = [], dataset.HeadRenderer.draw
    monkeypatch.setattr(dataset.HeadRenderer, "draw", lambda *what: drawn.append(what[-1]) or draw(*what))
    return drawn


@FORMS
@pytest.mark.parametrize("damage", ["cut short", "one bit", "gone"])
def test_damage_is_found_and_mended(make, tmp_path, monkeypatch, form, damage):
    paths = make(tmp_path, heads=3, form=form)
    whole = content(tmp_path)
    files = sorted(path for path in whole if path.suffix in (".png", ".tar", ".json"))
    victim = tmp_path / random.Random(damage).choice(files)
    data = bytearray(victim.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 4
    victim.write_bytes(data[: len(data) // 2] if damage == "cut short" else data)
    if damage == "gone":
        victim.unlink()
    drawn = count_drawn(monkeypatch)
    assert make(tmp_path, heads=3, form=form) == paths
    assert (
        drawn == ([1000, 1001, 1002] if damage == "gone" else [1001, 1002])
        if form == "shards"
        else len(drawn) == 1
    )
    assert content(tmp_path) == whole
    drawn.clear()
    make(tmp_path, heads=3, form=form)
    assert drawn == []


def leftovers(out):
    return [path for path in out.glob(".*") if path.name != ".lock"]


def test_leftovers_of_a_killed_run_are_used_or_go(make, tmp_path):
    first, second = make(tmp_path)
    whole = content(second)
    kept = (first / "cam_000.png").stat()
    for path in second.glob("cam_*"):
        path.unlink()
    second.rename(tmp_path / ".head_001001.partial")
    assert make(tmp_path) == [first, second]
    assert content(second) == whole
    assert os.path.samestat((first / "cam_000.png").stat(), kept), "not written anew"
    assert not leftovers(tmp_path)


def test_lists_hold_what_earlier_runs_made(make, tmp_path):
    make(tmp_path, seed=1000)
    make(tmp_path, seed=1005, heads=1)
    lines = (tmp_path / "data_mvdiff_train.txt").read_text().splitlines()
    assert [Path(line).name for line in lines] == ["head_001000", "head_001001", "head_001005"]


def test_training_reads_shards_as_it_reads_folders(make, tmp_path):
    for form in ("folders", "shards"):
        make(tmp_path / form / "canonical", form=form)
        make(tmp_path / form / "orbit", form=form, rig="orbit", views=4)
    training = [
        ReconstructorTraining(f"{tmp_path}/{form}/canonical", f"{tmp_path}/{form}/orbit", render_start_step=1)
        for form in ("folders", "shards")
    ]
    model = GSLRMConfig(image_size=32, patch_size=8, width=64, layers=1, head_dim=32, grid=4)
    losses = []
    for each in training:
        torch.manual_seed(0)
        losses.append(losses_of(ReconstructorTask(model, each, torch.device("cpu")), seed=4))
    assert losses[0] == losses[1] and losses[0]["depth"] > 0


@FORMS
def test_other_views_in_the_same_place_are_refused(make, tmp_path, form):
    make(tmp_path, heads=1, form=form)
    for how in ({"size": 64}, {"rig": "orbit"}, {"renderer": "cycles"}):
        with pytest.raises(UserError, match="holds other views"):
            make(tmp_path, heads=1, form=form, **how)


def test_heads_of_an_earlier_version_are_left_alone(make, tmp_path):
    (folder,) = make(tmp_path, heads=1)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="earlier versions"):
        make(tmp_path, heads=1)


def test_a_second_run_in_the_same_folder_is_refused(make, tmp_path):
    with dataset._only_writer(tmp_path), pytest.raises(UserError, match="at work"):
        make(tmp_path)
    make(tmp_path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"heads": 0}, "heads"),
        ({"size": 31}, "32 to 2048"),
        ({"size": 4096}, "32 to 2048"),
        ({"rig": "spiral"}, "canonical or orbit"),
        ({"rig": "orbit", "views": 0}, "views"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"form": "zip"}, "folders or shards"),
        ({"truth": "none"}, "all or depth"),
        ({"renderer": "crayon"}, "opengl or cycles"),
        ({"samples": 0}, "samples"),
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


# ------------------------------------------------------------------------- many processes, some killed


def wait_for(condition, process):
    """For as long as the process lives: how fast it is says nothing."""
    while not condition():
        assert process.poll() is None
        time.sleep(0.01)


def start(*command):
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "LP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@FORMS
def test_a_killed_run_is_taken_up_where_it_was(make, tmp_path, monkeypatch, form):
    how = {"heads": 50, "size": 32, "seed": 1000, "rig": "canonical", "form": form}
    code = f"import balls, pathlib; balls.draw_and_die(pathlib.Path({str(tmp_path)!r}), 5, **{how!r})"
    assert start("-c", code).wait() == -signal.SIGKILL
    if form == "folders":
        there = sorted(split.seed_of(path.name) for path in tmp_path.glob("head_*"))
    else:
        there = [split.seed_of(name) for name, _, _ in shards.read_index(tmp_path / ".heads_001000.partial")]
    assert there == [*range(1000, 1005)], "nothing is lost"
    drawn = count_drawn(monkeypatch)
    make(tmp_path, **how | {"heads": len(there) + 2})
    assert drawn == [1000 + len(there), 1001 + len(there)], "and nothing done twice"
    assert not leftovers(tmp_path)
    heads = HeadFolder(tmp_path)
    assert all(heads.load(head, depth=True).images.shape[0] == 6 for head in heads.heads)


@FORMS
def test_workers_share_the_work(make, tmp_path, monkeypatch, form):
    monkeypatch.setattr(dataset, "Job", BallJob)
    make(tmp_path / "many", seed=1047, heads=6, form=form, workers=2)
    assert len(list((tmp_path / "many").glob("worker_*"))) == 2
    make(tmp_path / "one", seed=1047, heads=6, form=form)
    assert_same(heads_in(tmp_path / "many"), heads_in(tmp_path / "one"))


def kill_one_worker(out):
    """Once the cluster is well at work, kill one of its workers; the list gets the victim's number."""
    killed = []

    def kill():
        while len(records := sorted(out.glob("worker_*"))) < 3 or len(list(out.glob("head_*"))) < 6:
            time.sleep(0.02)
        killed.append(int(records[0].name.removeprefix("worker_")))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    return killed


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.ray
def test_ray_workers_share_the_work_and_one_may_die(make, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    monkeypatch.setattr(dataset, "Job", ClusterBallJob)
    port = 20000 + os.getpid() % 10000
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    scratch = tempfile.mkdtemp()  # pytest's own are too long for the names of Ray's sockets
    options = [f"--port={port}", f"--temp-dir={scratch}", "--num-cpus=3", "--object-store-memory=100000000"]
    cluster = start("-m", "ray.scripts.scripts", "start", "--head", "--block", *options)
    try:
        wait_for(lambda: listens(port), cluster)
        out = tmp_path / "out"
        killed = kill_one_worker(out)
        make(out, heads=60, form="folders", ray=f"127.0.0.1:{port}")
    finally:
        cluster.terminate()
        cluster.wait(60)
        shutil.rmtree(scratch)
    records = list(out.glob("worker_*"))
    assert killed and len(records) >= 3
    expected = range(1000, 1060)
    assert [split.seed_of(path.name) for path in sorted(out.glob("head_*"))] == [*expected]
    assert sorted({int(line) for record in records for line in record.read_text().split()}) == [*expected]
    make(tmp_path / "one", heads=3, seed=1030)
    found = {head: views for head, views in heads_in(out).items() if 1030 <= split.seed_of(head) < 1033}
    assert_same(found, heads_in(tmp_path / "one"))
    assert not ray.is_initialized() and not leftovers(out)


def test_ray_without_ray_or_cluster_is_one_sentence(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"facelift\[ray\]"):
        make(tmp_path, ray="auto")


def test_a_whole_head_from_the_assets(renderer, makehuman_data, tmp_path):
    (folder,) = dataset.synthesize(tmp_path, makehuman_data, heads=1, size=64, seed=3, rig="canonical")
    alpha = np.asarray(Image.open(folder / "cam_000.png"))[..., 3]
    assert 0.1 < (alpha > 0).mean() < 0.9
    assert alpha[:3].max() == 0, "the crown lies within the picture"
    assert len(json.loads((folder / "landmarks.json").read_text())["views"]) == 6
    parts = Image.open(io.BytesIO((folder / "parts/part_000.png").read_bytes()))
    assert parts.mode == "P" and {1, 9} <= {*np.unique(np.asarray(parts))}
