"""The command line, against a pipeline that generates nothing: what lands where, and what it says."""

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from facelift.cli.commands import run as run_command
from facelift.errors import UserError
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.video import write_video
from facelift.gaussians import Gaussians
from facelift.portrait import Framing
from facelift.results import RESULT_NAMES, find_photos, folder_names

SIZE = 16


class FakeHead:
    warnings = ()
    ply_layout = "standard"
    portrait = torch.full((3, SIZE, SIZE), 0.5)
    views = torch.linspace(0, 1, 6).reshape(6, 1, 1, 1).expand(6, 3, SIZE, SIZE)
    gaussians = Gaussians(*[torch.ones(4, n) for n in (3, 4, 3)], torch.full((4,), 0.5), torch.ones(4, 3))

    def render(self, cameras):
        assert (len(cameras), cameras.width) == (6, SIZE)
        return 1 - self.views

    def save(self, path, title=None):
        write_ply(path, self.gaussians)

    def turntable(self, path, frames=150, size=None, progress=iter):
        side = size or SIZE
        write_video(path, progress(np.zeros((side, side, 3), np.uint8) for _ in range(frames)))


class FakePipeline:
    """Records what it was asked; `fail` maps a photo's name to what goes wrong with it."""

    def __init__(self):
        self.loaded = []
        self.calls = []
        self.fail = {}
        self.seconds = None
        self.head = FakeHead()

    def from_pretrained(self, model=None, **options):
        self.loaded.append((model, options))
        return self

    def estimate(self, steps, guidance, scheduler):
        return self.seconds

    def __call__(self, photo, timings=None, progress=iter, **options):
        assert list(progress(range(3))) == [0, 1, 2]
        self.calls.append((Path(photo).name, options))
        with timings("views"):
            if Path(photo).name in self.fail:
                raise self.fail[Path(photo).name]
        return self.head


@pytest.fixture
def pipeline(monkeypatch, tmp_path):
    fake = FakePipeline()
    module = types.ModuleType("facelift.pipeline")
    module.FaceLift = fake
    monkeypatch.setitem(sys.modules, "facelift.pipeline", module)
    monkeypatch.chdir(tmp_path)
    return fake


def run(*arguments):
    return run_command([str(a) for a in arguments])


def photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"a photo, as far as the fake pipeline cares")
    return folder


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- one photo


def test_a_photo_becomes_a_folder_of_results(pipeline, tmp_path, capsys):
    photos(tmp_path, "portrait.jpg")
    assert run("reconstruct", "portrait.jpg", "--frames", 3) == 0
    folder = tmp_path / "outputs" / "portrait"
    assert everything(tmp_path / "outputs") == sorted(
        ["portrait", *(f"portrait/{name}" for name in RESULT_NAMES)]
    )
    assert Image.open(folder / "input.png").size == (SIZE, SIZE)
    views = np.asarray(Image.open(folder / "multiview.png"))
    assert views.shape == (SIZE, 6 * SIZE, 3)
    assert views[0, ::SIZE, 0].tolist() == [0, 51, 102, 153, 204, 255]
    pairs = np.asarray(Image.open(folder / "output.png"))
    assert pairs.shape == (2 * SIZE, 6 * SIZE, 3)
    np.testing.assert_array_equal(pairs[:SIZE], views)  # above the views, beneath them the renders
    np.testing.assert_array_equal(pairs[SIZE:], 255 - views)
    assert len(read_ply(folder / "gaussians.ply")) == 4
    with av.open(str(folder / "turntable.mp4")) as video:
        assert video.streams.video[0].frames == 3
    assert "portrait.jpg -> outputs/portrait" in capsys.readouterr().out


def test_options_reach_the_pipeline(pipeline, tmp_path):
    photos(tmp_path, "a.png")
    options = (
        "--seed 7 --steps 9 --guidance 2.5 --eta 0.5 --scheduler dpm++ --matting none --prepared "
        "--refinement 5 --model big --revision v1 --device cpu --dtype float16 --memory offload "
        "--face 1 --tilt -20 --zoom 1.2 --shift 0.1 -0.05 --no-turntable"
    )
    assert run("reconstruct", "a.png", "-o", "there", *options.split()) == 0
    options = {"device": "cpu", "revision": "v1", "dtype": "float16", "memory": "offload"}
    assert pipeline.loaded == [("big", options)]
    expected = {"seed": 7, "steps": 9, "guidance": 2.5, "eta": 0.5, "scheduler": "dpm++"}
    expected |= {"matting": "none", "prepared": True, "refinement": 5}
    expected |= {"framing": Framing(1, -20.0, 1.2, (0.1, -0.05))}
    assert pipeline.calls == [("a.png", expected)]
    assert everything(tmp_path / "there") == sorted(
        ["a", *(f"a/{name}" for name in RESULT_NAMES - {"turntable.mp4"})]
    )


def test_defaults_and_turntable_size(pipeline, tmp_path):
    photos(tmp_path, "a.png")
    assert run("reconstruct", "a.png", "--frames", 2, "--size", 32) == 0
    options = {"device": "auto", "revision": None, "dtype": "auto", "memory": "auto"}
    assert pipeline.loaded == [(None, options)]
    expected = {"seed": 0, "steps": None, "guidance": None, "eta": None, "scheduler": "ddim"}
    expected |= {"matting": "auto", "prepared": False, "refinement": None, "framing": None}
    assert pipeline.calls == [("a.png", expected)]
    with av.open(str(tmp_path / "outputs" / "a" / "turntable.mp4")) as video:
        assert video.streams.video[0].width == 32


@pytest.mark.parametrize(("seconds", "said"), [(42, "42 seconds"), (2700, "45 minutes"), (9000, "2.5 hours")])
def test_long_work_is_announced_before_it_begins(pipeline, tmp_path, capsys, seconds, said):
    photos(tmp_path, "a.png")
    pipeline.seconds = seconds
    assert run("reconstruct", "a.png", "--no-turntable") == 0
    before, _ = capsys.readouterr().err.split("Reconstructing")
    assert f"about {said} on this CPU" in before


def test_more_steps_than_the_model_knows_are_refused():
    from facelift.views import ViewGenerator

    config = types.SimpleNamespace(num_train_timesteps=1000)
    model = types.SimpleNamespace(scheduler=types.SimpleNamespace(config=config))
    with pytest.raises(UserError, match="1000 steps"):
        ViewGenerator.resolve_sampling(model, "ddim", 1001)


def test_timings_are_printed(pipeline, tmp_path, capsys):
    photos(tmp_path, "a.png")
    assert run("reconstruct", "a.png", "--frames", 1, "--timings") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith(" s")]
    assert [row[0] for row in rows] == ["load", "views", "renders", "files", "turntable", "total"]
    seconds = [float(row[1]) for row in rows]
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.05)


def test_each_warning_is_a_line(pipeline, tmp_path, capsys):
    photos(tmp_path, "a.png")
    pipeline.head.warnings = ("The head is cut off.", "The face is blurred.")
    assert run("reconstruct", "a.png", "--no-turntable") == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "a.png: The" in line] == [
        "a.png: The head is cut off.",
        "a.png: The face is blurred.",
    ]


# --- half-written results


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("No face was found."), 1), (KeyboardInterrupt(), 130), (MemoryError(), 1)],
)
def test_a_failure_leaves_nothing_half_written(pipeline, tmp_path, monkeypatch, error, code):
    photos(tmp_path, "a.png")
    monkeypatch.setattr(FakeHead, "turntable", lambda *_, **__: (_ for _ in ()).throw(error))
    assert run("reconstruct", "a.png") == code
    assert everything(tmp_path / "outputs") == []


def test_the_old_result_stays_until_the_new_one_is_complete(pipeline, tmp_path):
    photos(tmp_path, "a.png")
    assert run("reconstruct", "a.png", "--frames", 2) == 0
    (tmp_path / "outputs" / "a" / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    pipeline.fail = {"a.png": UserError("No face was found.")}
    assert run("reconstruct", "a.png") == 1
    assert everything(tmp_path) == before
    pipeline.fail = {}
    assert run("reconstruct", "a.png", "--no-turntable") == 0  # no stale video; what is not ours stays
    assert everything(tmp_path) == [name for name in before if not name.endswith(".mp4")]


def test_results_never_replace_the_photo(pipeline, tmp_path, capsys):
    photos(tmp_path / "a", "a.png", "input.png")
    assert run("reconstruct", "a/a.png", "-o", ".") == 1
    assert "choose another --out" in capsys.readouterr().err
    assert everything(tmp_path) == ["a", "a/a.png", "a/input.png"]


# --- folders


def test_a_folder_of_photos_goes_on_after_a_bad_one(pipeline, tmp_path, capsys):
    photos(tmp_path / "in", "c.JPG", "a.png", "b.webp", "d.jpg", "notes.txt", ".hidden.png")
    (tmp_path / "in" / "folder.png").mkdir()
    pipeline.fail = {
        "b.webp": UserError("No face was found."),
        "c.JPG": RuntimeError("odd\nthing"),
        "notes.txt": UserError("in/notes.txt is not an image that can be read."),
    }
    assert run("reconstruct", "in", "--no-turntable") == 1
    assert [name for name, _ in pipeline.calls] == ["a.png", "b.webp", "c.JPG", "d.jpg", "notes.txt"]
    assert len(pipeline.loaded) == 1
    assert sorted(os.listdir(tmp_path / "outputs")) == ["a", "d"]
    out, err = capsys.readouterr()
    assert "facelift: in/b.webp: No face was found.\n" in err
    assert "facelift: in/c.JPG: RuntimeError: odd thing\n" in err
    assert "facelift: in/notes.txt: is not an image that can be read.\n" in err
    assert "Traceback" not in err
    assert out.splitlines()[-1] == "2 of 5 photos reconstructed, 3 failed."


def test_several_photos_and_folders_are_taken(pipeline, tmp_path, capsys):
    photos(tmp_path / "in", "a.png", "b.heic")
    photos(tmp_path, "a.png", "c.avif")
    pipeline.fail = {"missing.jpg": UserError("There is no file missing.jpg.")}
    assert run("reconstruct", "a.png", "missing.jpg", "in", "c.avif", "./a.png", "--no-turntable") == 1
    assert [name for name, _ in pipeline.calls] == ["a.png", "missing.jpg", "a.png", "b.heic", "c.avif"]
    assert sorted(os.listdir("outputs")) == ["a.png", "a.png-2", "b", "c"]
    out, err = capsys.readouterr()
    assert "missing.jpg: There is no file" in err
    assert out.splitlines()[-1] == "4 of 5 photos reconstructed, 1 failed."


def test_an_empty_path_is_no_folder(pipeline, tmp_path, capsys):
    photos(tmp_path, "a.png")
    for paths in ([""], ["a.png", ""]):
        assert run("reconstruct", *paths) == 1
        assert "path is empty" in sentence(capsys)
    assert pipeline.loaded == []


def test_a_folder_without_failures_is_a_success(pipeline, tmp_path, capsys):
    photos(tmp_path / "in", "a.png", "b.png")
    assert run("reconstruct", "in", "--no-turntable") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 photos reconstructed, 0 failed."


def test_photos_of_the_same_name_do_not_overwrite_each_other(pipeline, tmp_path):
    photos(tmp_path / "in", "a.jpg", "a.png", "b.png")
    assert run("reconstruct", "in", "--no-turntable") == 0
    assert sorted(os.listdir(tmp_path / "outputs")) == ["a.jpg", "a.png", "b"]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["A.jpg", "a.jpg"], ["A.jpg", "a.jpg-2"]),
        (["Ä.jpg", "ä.png"], ["Ä.jpg", "ä.png"]),
    ],
)
def test_folder_names(names, folders):
    assert folder_names([Path("in") / name for name in names]) == folders


def test_find_photos_sorts(tmp_path):
    photos(tmp_path, "b.jpg", "a.TIFF", "c", ".hidden.jpg", "Thumbs.db")
    assert [photo.name for photo in find_photos([tmp_path])] == ["a.TIFF", "b.jpg", "c"]
    several = find_photos([tmp_path / "c", str(tmp_path), tmp_path / "missing.jpg", tmp_path / "b.jpg"])
    assert [photo.name for photo in several] == ["c", "a.TIFF", "b.jpg", "missing.jpg"]


# --- what goes wrong is one sentence


def sentence(capsys):
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("facelift: ")]
    assert len(lines) == 1 and err.endswith(lines[0] + "\n") and lines[0].endswith(".")
    return lines[0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("No face was found;\nuse a clearer photo."), "No face was found; use a clearer photo."),
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/lost"), "/lost: there is no such file or folder"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/secret/weights"),
            "/secret/weights: permission denied",
        ),
    ],
)
def test_what_a_user_can_cause(pipeline, tmp_path, capsys, error, text):
    photos(tmp_path, "a.png")
    pipeline.fail = {"a.png": error}
    assert run("reconstruct", "a.png") == 1
    assert text in sentence(capsys)
    assert everything(tmp_path / "outputs") == []


def test_a_defect_is_not_hidden(pipeline, tmp_path):
    photos(tmp_path, "a.png")
    pipeline.fail = {"a.png": RuntimeError("shapes do not match")}
    with pytest.raises(RuntimeError, match="shapes"):
        run("reconstruct", "a.png")


def test_places_that_do_not_work(pipeline, tmp_path, capsys):
    photos(tmp_path, "a.png", "file")
    (tmp_path / "empty").mkdir()
    assert run("reconstruct", "missing.jpg") == 1
    assert "missing.jpg" in sentence(capsys)
    assert run("reconstruct", "empty") == 1
    assert "no photos in empty" in sentence(capsys)
    assert pipeline.loaded == []  # found out before anything slow
    assert run("reconstruct", "a.png", "-o", "file") == 1
    assert "Cannot write file/a" in sentence(capsys)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_text("in the way")
    assert run("reconstruct", "a.png", "-o", "there") == 1
    assert "there/a is a file" in sentence(capsys)
    assert run("reconstruct", "a.png", "-o", "/proc/there") == 1
    assert "Cannot write /proc/there/a" in sentence(capsys)
    assert pipeline.calls == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["reconstruct", "a.png", "--stpes", "3"], "--stpes"),
        (["recnostruct", "a.png"], "recnostruct"),
        (["reconstruct"], "PHOTO"),
        (["reconstruct", "a.png", "--steps", "many"], "--steps"),
        (["reconstruct", "a.png", "--steps", "0"], "--steps"),
        (["reconstruct", "a.png", "--seed", "-1"], "--seed"),
        (["reconstruct", "a.png", "--matting", "magic"], "grabcut"),
        (["synth", "there"], "--assets"),
        (["train", "everything", "config.yaml"], "everything"),
        (["evaluate"], "HEADS"),
        (["evaluate", "heads", "--people", "0"], "--people"),
        (["compare", "a"], "B"),
        (["bench", "there"], "--assets"),
    ],
)
def test_a_wrong_call_is_one_sentence(pipeline, capsys, arguments, text):
    assert run(*arguments) == 2
    line = sentence(capsys)
    assert text in line and "--help" in line
    assert pipeline.loaded == []


# --- the other commands pass on what they were given


def test_synth(monkeypatch):
    calls = []
    module = types.ModuleType("facelift.synth.dataset")
    module.synthesize = lambda *arguments, **more: calls.append((arguments, more))
    monkeypatch.setitem(sys.modules, "facelift.synth.dataset", module)
    assert run("synth", "there", "--assets", "data") == 0
    options = (
        "--assets data --heads 3 --size 64 --seed 5 --rig orbit --views 8 --renderer cycles --samples 4 "
    )
    options += "--truth depth --format shards --workers 4 --ray auto --recipe 1"
    assert run("synth", *options.split(), "there") == 0
    names = ("renderer", "samples", "truth", "form", "workers", "ray", "recipe")
    assert calls == [
        (
            (Path("there"), Path("data"), 10, 256, 1000, "canonical", 32),
            dict(zip(names, ("opengl", 16, "all", "folders", 1, None, None), strict=True)),
        ),
        (
            (Path("there"), Path("data"), 3, 64, 5, "orbit", 8),
            dict(zip(names, ("cycles", 4, "depth", "shards", 4, "auto", 1), strict=True)),
        ),
    ]


def test_synth_pack(monkeypatch, tmp_path):
    module = types.ModuleType("facelift.synth.pack")
    module.write_pack = lambda file, *others: file.write_text(" ".join(map(str, others)))
    monkeypatch.setitem(sys.modules, "facelift.synth.pack", module)
    assert run("synth", "pack", tmp_path / "heads.pack", "--assets", "data") == 0
    assert (tmp_path / "heads.pack").read_text() == "data None None None"
    further = ("--scans", "s.npz", "--hdris", "maps", "--hair", "h.npz")
    assert run("synth", "pack", tmp_path / "heads.pack", "--assets", "data", *further) == 0
    assert (tmp_path / "heads.pack").read_text() == "data s.npz maps h.npz"


def test_synth_explains_itself_and_the_pack(capsys):
    assert run("synth", "--help") == 0
    shown = capsys.readouterr().out
    assert "--rig" in shown and "--workers" in shown and "facelift synth pack" in " ".join(shown.split())
    assert run("synth", "pack", "--help") == 0
    assert "FILE" in capsys.readouterr().out


def test_train(monkeypatch):
    import facelift.train.launch

    calls = []
    monkeypatch.setattr(
        facelift.train.launch, "launch", lambda processes, **given: calls.append((processes, *given.values()))
    )
    assert run("train", "views", "configs/mini/views.yaml") == 0
    options = "--out there --max-minutes 1.5 --device cpu --unposed-photos photos --streaming --processes 2"
    assert run("train", "reconstructor", "c.yaml", *options.split()) == 0
    assert calls == [
        (1, "views", Path("configs/mini/views.yaml"), Path("runs/mini/views"), None, "auto", None, False),
        (2, "reconstructor", Path("c.yaml"), Path("there"), 1.5, "cpu", Path("photos"), True),
    ]


def test_evaluate(pipeline, monkeypatch, capsys):
    calls = []
    module = types.ModuleType("facelift.evaluate")
    module.evaluate = lambda *arguments: calls.append(arguments) or "a report"
    module.to_markdown = {"a report": "the table"}.get
    monkeypatch.setitem(sys.modules, "facelift.evaluate", module)
    assert run("evaluate", "heads") == 0
    options = "-o there --train train --photos a.png --model big --heads 3 --size 256 --seed 5 --fetch"
    options += " --device cpu"
    assert run("evaluate", "heads", *options.split()) == 0
    assert pipeline.loaded == [(None, {"device": "auto"}), ("big", {"device": "cpu"})]
    assert calls == [
        (pipeline, Path("heads"), Path("outputs/evaluation"), None, None, None, None, 0, "mini", False),
        (pipeline, Path("heads"), Path("there"), Path("train"), Path("a.png"), 3, 256, 5, "big", True),
    ]
    assert "the table" in capsys.readouterr().out


def test_compare(monkeypatch, capsys):
    calls = []
    module = types.ModuleType("facelift.evaluate.compare")
    module.compare = lambda *arguments: calls.append(arguments) or "the table"
    monkeypatch.setitem(sys.modules, "facelift.evaluate.compare", module)
    assert run("compare", "a", "b") == 0
    assert run("compare", "a", "b", "-o", "there") == 0
    assert calls == [(Path("a"), Path("b"), Path(out)) for out in ("outputs/comparison", "there")]
    assert "the table" in capsys.readouterr().out


def test_bench(monkeypatch):
    calls = []
    module = types.ModuleType("facelift.synth.bench")
    module.BENCHES = {1: "the set", 2: "the other"}
    module.draft_of = lambda bench: f"draft of {bench}"
    module.make_bench = lambda *arguments: calls.append(arguments) or []
    monkeypatch.setitem(sys.modules, "facelift.synth.bench", module)
    assert run("bench", "there", "--assets", "data") == 0
    assert run("bench", "there", "--assets", "data", "--draft") == 0
    assert run("bench", "there", "--assets", "data", "--version", "2") == 0
    made = ("the set", "draft of the set", "the other")
    assert calls == [(Path("there"), Path("data"), bench) for bench in made]


def test_version_and_help(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("facelift 0.")
    assert run("--help") == 0
    assert "reconstruct" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from facelift.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print('heavy:', {'torch', 'numpy', 'PIL', 'av'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: set()\n")


def test_a_setting_of_the_fit_is_changed_by_name(monkeypatch, capsys):
    code = "facelift reconstruct examples/portrait.jpg --fit flat=0"
    monkeypatch.chdir(Path(__file__).parents[1])
    assert run(*code.split()[1:]) == 1
    assert "The fit has no setting 'flat'" in capsys.readouterr().err
