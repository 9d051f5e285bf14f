"""Many photos: each has one row and one result, whoever dies; the same command goes on where it was.

Most workers are stand-ins: threads that write a few bytes for a photo, or processes and actors that do and
are killed. One test has the models.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import batch_worker
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from batch_worker import NotingJob, begun
from PIL import Image
from tiny import portrait, tiny_folder

from facelift import FaceLift
from facelift.batch import Job, reconstruct_batch, run
from facelift.batch.photos import read_photos
from facelift.batch.stores import PER_SHARD
from facelift.batch.worker import Result, Worker
from facelift.cli.commands import run as run_command
from facelift.errors import UserError
from facelift.formats.splats import read_splats

ROOT = Path(__file__).parents[1]


class WorkerDiedError(Exception):
    """What a stand-in raises when it was killed."""


class Threads:
    """A slot whose worker is a thread. `deaths` of a photo's title are how often it kills the worker."""

    died = WorkerDiedError
    pool = ThreadPoolExecutor(4)

    def __init__(self, deaths, at_once=1, starts=0):
        self.deaths, self.at_once, self.starts, self.tasks = deaths, at_once, starts, []

    def start(self):
        def begin():
            self.starts -= 1
            if self.starts >= 0:
                raise WorkerDiedError
            return self.at_once

        return self.pool.submit(begin)

    def lift(self, photos) -> Future:
        self.tasks.append([photo.name.stem for photo in photos])

        def made():
            for photo in photos:
                if self.deaths.get(photo.name.stem, 0) > 0:
                    self.deaths[photo.name.stem] -= 1
                    raise WorkerDiedError
            return [result_of(photo) for photo in photos]

        return self.pool.submit(made)

    def stop(self):
        pass


def result_of(photo) -> Result:
    content = photo.source if isinstance(photo.source, bytes) else photo.source.read_bytes()
    if not content:
        return Result("refused", "It is empty.")
    return Result("done", warnings=("Blurred.",), seconds=1.5, files={"gaussians.ply": content})


@pytest.fixture
def slots(monkeypatch):
    """Two stand-ins in the place of processes; what they do may be changed."""
    standing = [Threads({}), Threads({})]

    @contextmanager
    def stand_in(*_):
        yield standing

    monkeypatch.setattr(run, "on_this_machine", stand_in)
    return standing


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        (folder / f"p{i}.jpg").write_bytes(b"photo %d" % i)
    return folder


def table(out: Path) -> dict[str, dict]:
    rows = pq.read_table(out / "index.parquet").to_pylist()
    assert len({row["photo"] for row in rows}) == len(rows), "a photo has one row"
    return {Path(row["photo"]).name: row for row in rows}


def results(out: Path) -> dict[str, bytes]:
    """What the index says lies in folders or shards, and nothing else does."""
    found = {}
    for name, row in table(out).items():
        for path in row["paths"]:
            if row["shard"]:
                with tarfile.open(out / row["shard"]) as tar:
                    found[name] = tar.extractfile(path).read()
            else:
                found[name] = (out / path).read_bytes()
    return found


def test_each_photo_has_a_row_and_a_folder(slots, photos, tmp_path):
    (photos / "empty.jpg").touch()
    rows = list(reconstruct_batch([photos], tmp_path / "out", workers=2))
    found = table(tmp_path / "out")
    assert len(rows) == len(found) == 7
    row = found["p3.jpg"]
    assert row["photo"] == str(photos / "p3.jpg") and row["paths"] == ["p3/gaussians.ply"]
    assert (row["status"], row["warnings"], row["time"], row["error"]) == ("done", ["Blurred."], 1.5, None)
    assert (found["empty.jpg"]["status"], found["empty.jpg"]["error"]) == ("refused", "It is empty.")
    assert results(tmp_path / "out") == {f"p{i}.jpg": b"photo %d" % i for i in range(6)}
    assert list(reconstruct_batch([photos], tmp_path / "out")) == [], "all is there, refusals too"
    assert {p.name for p in (tmp_path / "out").iterdir()} - {f"p{i}" for i in range(6)} == {
        ".lock",
        "index.jsonl",
        "index.parquet",
    }


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_photo_whose_worker_dies_is_made_by_another(slots, photos, tmp_path, at_once):
    deaths = {"p1": 1, "p4": 9}
    slots[:] = [Threads(deaths, at_once), Threads(deaths, at_once)]
    list(reconstruct_batch([photos], tmp_path / "out"))
    found = table(tmp_path / "out")
    assert {name for name, row in found.items() if row["status"] == "done"} == {
        f"p{i}.jpg" for i in (0, 1, 2, 3, 5)
    }
    assert found["p4.jpg"]["status"] == "failed" and "memory" in found["p4.jpg"]["error"]
    assert deaths == {"p1": 0, "p4": 7}, "two workers are enough to know"
    assert sum("p4" in task for task in slots[0].tasks + slots[1].tasks) == 2
    deaths.clear()
    (again,) = reconstruct_batch([photos], tmp_path / "out")
    assert Path(again.photo).name == "p4.jpg" and again.status == "done", "what failed is tried again"
    assert len(table(tmp_path / "out")) == 6


def test_workers_that_die_while_they_load_end_the_run(slots, photos, tmp_path):
    slots[:] = [Threads({}, starts=2)]
    assert len(list(reconstruct_batch([photos], tmp_path / "out"))) == 6, "twice is bad luck"
    slots[:] = [Threads({}, starts=99)]
    with pytest.raises(UserError, match="fewer --workers"):
        list(reconstruct_batch([photos], tmp_path / "other"))


@pytest.mark.parametrize("storage", ["folders", "shards"])
def test_a_killed_run_goes_on_where_it_was(slots, photos, tmp_path, storage):
    """Killed between the files and the row of the third photo, in the middle of writing that row."""
    out = tmp_path / "out"
    first = reconstruct_batch([photos], out, storage=storage)
    made = [next(first).photo for _ in range(3)]
    first.close()
    journal = (out / "index.jsonl").read_bytes()
    (out / "index.jsonl").write_bytes(journal[: journal.rindex(b'"status"')])
    if storage == "shards":
        with (out / "heads-000000.tar").open("ab") as shard:
            shard.write(b"half of a head")
    (out / ".scratch/left").mkdir(parents=True)
    again = [row.photo for row in reconstruct_batch([photos], out, storage=storage)]
    assert sorted(made[:2] + again) == [str(photos / f"p{i}.jpg") for i in range(6)]
    assert results(out) == {f"p{i}.jpg": b"photo %d" % i for i in range(6)}
    assert not (out / ".scratch").exists()
    if storage == "shards":
        with tarfile.open(out / "heads-000000.tar") as tar:
            assert sorted(tar.getnames()) == [f"p{i}.gaussians.ply" for i in range(6)]


def test_what_changed_is_made_again(slots, photos, tmp_path):
    out = tmp_path / "out"
    list(reconstruct_batch([photos], out))
    (photos / "p2.jpg").write_bytes(b"another photo")
    (out / "p0/gaussians.ply").unlink()
    (out / "p5/mine.txt").touch()
    (photos / "p2.png").write_bytes(b"a namesake")
    again = {Path(row.photo).name: row.name for row in reconstruct_batch([photos], out)}
    assert again == {"p2.jpg": "p2", "p0.jpg": "p0", "p2.png": "p2.png"}
    other = Job(generation={"seed": 7})
    assert len(list(reconstruct_batch([photos], out, other))) == 7, "and all with another seed"
    assert len(table(out)) == 7 and (out / "p5/mine.txt").exists()
    assert other.digest == Job(generation={"seed": 7}, place={"device": "cpu"}, batch_size=3).digest


def test_shards_are_samples_of_fifty(slots, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(PER_SHARD + 2):
        (folder / f"a.{i}.jpg").write_bytes(b"%d" % i)
    slots[:] = [Threads({})]
    list(reconstruct_batch([folder], tmp_path / "out", storage="shards"))
    assert sorted(p.name for p in (tmp_path / "out").glob("*.tar")) == [
        "heads-000000.tar",
        "heads-000001.tar",
    ]
    assert len(results(tmp_path / "out")) == PER_SHARD + 2
    with tarfile.open(tmp_path / "out/heads-000001.tar") as tar:
        keys = {name.split(".", 1)[0] for name in tar.getnames()}
    assert keys == {"a_8", "a_9"}, "the first dot of a name begins its kind: see WebDataset"
    list(reconstruct_batch([tmp_path / "many/a.1.jpg"], tmp_path / "mixed", storage="shards"))
    (tmp_path / "mixed/index.jsonl").unlink()
    list(reconstruct_batch([tmp_path / "many/a.1.jpg"], tmp_path / "mixed", storage="shards"))
    assert len(list((tmp_path / "mixed").glob("*.tar"))) == 2, "a shard that no journal knows stays"


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(portrait(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def keys(paths) -> dict[str, str]:
    found = list(read_photos(paths, lambda *_: False))
    return {photo.key: photo.name.name for photo in found}


def test_photos_lie_in_folders_globs_tars_and_parquet(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"a/x.jpg": b"x", "a/x.json": b"{}", "a/._x.jpg": b"", "y.jpg": b"y"}
    write_tar(tmp_path / "one.tar", content)
    write_tar(tmp_path / "two.tar.gz", {"z.jpg": b"z"}, "w:gz")
    pq.write_table(pa.table({"id": ["m/k.png", None], "image": [b"k", b""]}), tmp_path / "rows.parquet")
    structs = [{"bytes": b"h", "path": "h.webp"}]
    pq.write_table(pa.table({"image": structs, "label": [1]}), tmp_path / "hub.parquet")
    assert list(keys(["photos/p[12].*"])) == [str(photos / "p1.jpg"), str(photos / "p2.jpg")]
    assert len(keys(["phot*/**", str(photos)])) == 6
    archives = ["one.tar", "two.tar.gz", "rows.parquet", "hub.parquet"]
    assert keys(archives) == {
        f"{tmp_path}/one.tar/a/x.jpg": "x.jpg",
        f"{tmp_path}/one.tar/y.jpg": "y.jpg",
        f"{tmp_path}/two.tar.gz/z.jpg": "z.jpg",
        f"{tmp_path}/rows.parquet/0": "k.png",
        f"{tmp_path}/rows.parquet/1": "rows-000001",
        f"{tmp_path}/hub.parquet/0": "h.webp",
    }
    seen = [photo.source for photo in read_photos(archives, lambda key, _: "tar" in key)]
    assert seen == [b"k", b"", b"h"]


def test_damage_ends_the_run_after_what_was_before_it(slots, tmp_path):
    files = {f"{i}.jpg": bytes([65 + i]) * 2000 for i in range(3)}
    whole = write_tar(tmp_path / "a.tar", files).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:5000])
    with pytest.raises(UserError, match=r"a\.tar.*damaged"):
        list(reconstruct_batch([tmp_path / "a.tar"], tmp_path / "out"))
    assert set(results(tmp_path / "out")) == {"0.jpg"}
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"b\.parquet cannot be read"):
        list(reconstruct_batch([tmp_path / "b.parquet"], tmp_path / "out"))
    pq.write_table(pa.table({"a": [b""], "b": [b""]}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match=r"one column of photos.*2 \(a, b\)"):
        list(reconstruct_batch([tmp_path / "c.parquet"], tmp_path / "out"))


def test_a_folder_that_cannot_take_results(slots, photos, tmp_path):
    with pytest.raises(UserError, match="among the photos"):
        list(reconstruct_batch([photos], photos))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/index.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="choose another --out"):
        list(reconstruct_batch([photos], tmp_path / "foreign"))
    first = reconstruct_batch([photos], tmp_path / "out")
    next(first)
    with pytest.raises(UserError, match="Another run"):
        list(reconstruct_batch([photos], tmp_path / "out"))
    first.close()
    with pytest.raises(UserError, match="no photo or folder at"):
        list(reconstruct_batch(["nowhere/*.jpg"], tmp_path / "out"))


def test_what_is_missing_is_named(slots, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"facelift\[ray\]"):
        list(reconstruct_batch([photos], tmp_path / "out", ray="auto"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"facelift\[batch\]"):
        list(reconstruct_batch([photos], tmp_path / "out"))


# --- real workers


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def job(tiny_model):
    return Job(
        model={"model": str(tiny_model)},
        place={"device": "cpu"},
        preparation={"prepared": True},
        generation={"refinement": 1},
        files={"frames": None},
    )


@pytest.fixture
def people(tmp_path):
    """A tar file of two portraits and one that is none."""
    files = {f"p{i}.png": png(i) for i in range(2)} | {"bad.jpg": b"no photo"}
    return write_tar(tmp_path / "people.tar", files)


def test_a_worker_makes_a_batch_and_one_bad_photo_spoils_none(job, monkeypatch):
    worker = Worker(job)
    assert worker.load() == 1
    bad, good = ("bad", b"no photo"), ("good", png(0))
    refused, done = worker.lift([bad, good])
    assert refused.status == "refused" and "not an image" in refused.error and not refused.files
    assert done.status == "done" and {"gaussians.ply", "input.png"} <= set(done.files)
    calls = []

    def pipeline(portraits, **options):
        calls.append(len(portraits))
        if len(portraits) > 1:
            raise MemoryError
        if len(calls) == 2:
            raise RuntimeError("CUDA out of memory")
        return worker_pipeline(portraits, **options)

    worker_pipeline = worker._pipeline
    pipeline.prepare = worker_pipeline.prepare
    worker._pipeline = pipeline
    assert [result.status for result in worker.lift([good, good])] == ["failed", "done"]
    assert calls == [2, 1, 1]
    with pytest.raises(UserError, match="1000 steps"):
        Worker(Job(job.model, job.place, generation={"steps": 5000})).load()


@contextmanager
def ray_cluster(monkeypatch):
    """A cluster of two processors on this machine; yields its address."""
    port = 20000 + os.getpid() % 10000
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    scratch = tempfile.mkdtemp()  # pytest's own are too long for the names of Ray's sockets
    options = [f"--port={port}", f"--temp-dir={scratch}", "--num-cpus=2", "--object-store-memory=100000000"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    cluster = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert cluster.poll() is None and time.monotonic() < deadline, "Ray does not start"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        cluster.terminate()
        cluster.wait(60)
        shutil.rmtree(scratch)


@pytest.fixture
def noting(tmp_path):
    (tmp_path / "notes").mkdir()
    return NotingJob(notes=str(tmp_path / "notes"), pause=0.05)


def test_a_process_that_is_killed_half_way_is_replaced(photos, tmp_path, noting):
    job = replace(noting, deadly="p3")
    assert len(list(reconstruct_batch([photos], tmp_path / "out", job, workers=2))) == 6
    assert results(tmp_path / "out") == {f"p{i}.jpg": b"photo %d" % i for i in range(6)}
    assert begun(noting.notes) == sorted([*(f"p{i}" for i in range(6)), "p3"]), "no other one is made again"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_driver_that_is_killed_half_way_leaves_nothing_behind_and_goes_on(photos, tmp_path, noting):
    out = tmp_path / "out"
    command = [sys.executable, batch_worker.__file__, str(photos), str(out), noting.notes]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as driver:
        assert driver.stdout.readline() and driver.stdout.readline()
        driver.kill()
    workers = [int(file.name) for file in Path(noting.notes).iterdir()]
    deadline = time.monotonic() + 300
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "workers end with their driver"
        time.sleep(0.05)
    there = begun(noting.notes)
    rows = list(reconstruct_batch([photos], out, noting, workers=2))
    assert len(rows) == 4 and len(there) <= 4, "what has a row is not made again; two were in work"
    assert len(begun(noting.notes)) == len(there) + 4
    assert results(out) == {f"p{i}.jpg": b"photo %d" % i for i in range(6)}


@pytest.mark.ray
def test_ray_workers_make_each_photo_once_and_one_may_die(photos, tmp_path, noting, monkeypatch):
    """On a real cluster: one of its workers is killed half-way."""
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    with ray_cluster(monkeypatch) as address:
        for i in range(6, 20):
            (photos / f"p{i}.jpg").write_bytes(b"photo %d" % i)
        job = replace(noting, deadly="p10")
        assert len(list(reconstruct_batch([photos], tmp_path / "out", job, ray=address))) == 20
        assert results(tmp_path / "out") == {f"p{i}.jpg": b"photo %d" % i for i in range(20)}
        assert begun(noting.notes) == sorted([*(f"p{i}" for i in range(20)), "p10"])
        missing = Job(model={"model": str(tmp_path / "nowhere")}, place={"device": "cpu"})
        with pytest.raises(UserError, match="nowhere"):
            list(reconstruct_batch([photos], tmp_path / "other", missing, workers=1, ray=address))
        with pytest.raises(UserError, match="--gpus-per-worker"):
            list(reconstruct_batch([photos], tmp_path / "other", noting, ray=address, gpus_per_worker=0.5))


def test_the_command_makes_a_batch(tiny_model, people, tmp_path, capsys):
    """With the models, in a process of its own."""
    arguments = [
        "reconstruct",
        people,
        "--model",
        tiny_model,
        "--device",
        "cpu",
        "--prepared",
        "--storage",
        "shards",
    ]
    arguments += [
        "--workers",
        "1",
        "--refinement",
        "1",
        "--no-turntable",
        "--format",
        "spz",
        "-o",
        tmp_path / "out",
    ]
    assert run_command([*map(str, arguments)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("2 photos done, 1 refused, 0 failed: ")
    assert "people.tar/bad.jpg: The image" in told.err
    found = table(tmp_path / "out")
    assert "p1.head.spz" in found["p1.png"]["paths"] and found["p1.png"]["time"] > 0
    with tarfile.open(tmp_path / "out/heads-000000.tar") as tar:
        (tmp_path / "p1.ply").write_bytes(tar.extractfile("p1.gaussians.ply").read())
    expected = FaceLift.from_pretrained(tiny_model, device="cpu")(png(1), prepared=True, refinement=1)
    torch.testing.assert_close(read_splats(tmp_path / "p1.ply").means, expected.gaussians.means)
    assert run_command([*map(str, arguments)]) == 1, "one of the photos still has no head"
    assert len(capsys.readouterr().out.splitlines()) == 1
