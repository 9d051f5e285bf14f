"""Heads as files of every kind: by `Head.save`, `facelift export` and `facelift reconstruct --format`."""

import os
from dataclasses import replace

import pytest
import torch
from splats import assert_close, cloud
from test_cli import photos, pipeline, run  # noqa: F401 - a fixture

from facelift import head as head_module
from facelift.errors import UserError
from facelift.export import chosen_suffix, suffixes
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.splats import SPLAT_FORMATS, read_splats
from facelift.results import RESULT_NAMES, owned_names, write_results

SPLATS = [format.suffix for format in SPLAT_FORMATS if format.write]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ply("in.ply", cloud(40, degree=1))
    return tmp_path


def make_head(**changes):
    picture = torch.zeros(3, 16, 16)
    return head_module.Head(picture, picture.expand(6, 3, 16, 16), cloud(40), 1, **changes)


@pytest.mark.parametrize("suffix", SPLATS)
def test_a_head_is_saved_as_what_its_name_says(tmp_path, suffix):
    head = make_head()
    head.save(tmp_path / f"a{suffix}")
    assert_close(read_splats(tmp_path / f"a{suffix}"), head.gaussians, suffix)


def test_a_name_that_says_nothing_is_told_all_that_would(tmp_path):
    with pytest.raises(UserError, match=r"^No file of a head is called a\.xyz: [^\n]+\.$") as caught:
        make_head().save(tmp_path / "a.xyz")
    assert all(suffix in str(caught.value) for suffix in suffixes())


def test_heads_of_facelifts_own_weights_keep_its_ply(tmp_path):
    from facelift.weights import RELEASED_SETTINGS, Settings

    assert (Settings().ply_layout, RELEASED_SETTINGS.ply_layout) == ("standard", "facelift")
    for layout, size in (("standard", 56), ("facelift", 239)):
        make_head(ply_layout=layout).save(tmp_path / "a.ply")
        content = (tmp_path / "a.ply").read_bytes()
        assert len(content.partition(b"end_header\n")[2]) == 40 * size
        make_head(ply_layout=layout).save(tmp_path / "a.compressed.ply")
        assert b"packed_position" in (tmp_path / "a.compressed.ply").read_bytes()


# --- facelift export


def test_one_file_becomes_many(here, capsys):
    names = [f"out{suffix}" for suffix in SPLATS]
    assert run("export", "in.ply", *names) == 0
    assert capsys.readouterr().out.splitlines() == [f"in.ply -> {name}" for name in names]
    for name, suffix in zip(names, SPLATS, strict=True):
        assert_close(read_splats(name), cloud(40, degree=1), suffix)


def test_a_file_in_another_frame_is_turned_on_request(here):
    turned = read_ply("in.ply", frame="world")
    write_ply("lying.ply", turned)
    assert run("export", "in.ply", "out.ply", "--frame", "world") == 0
    assert_close(read_ply("out.ply"), turned, ".ply")


def test_a_ply_is_laid_out_on_request(here):
    assert run("export", "in.ply", "out.ply", "--ply-layout", "facelift") == 0
    assert b"uchar red" in (here / "out.ply").read_bytes()[:400]
    assert_close(read_ply("out.ply").tensors() and replace(read_ply("out.ply"), shN=None), cloud(40), ".ply")


def test_what_is_there_is_kept_unless_told_otherwise(here, capsys):
    (here / "out.splat").write_text("mine")
    assert run("export", "in.ply", "new.ply", "out.splat") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "facelift: out.splat is there already; choose another name, or add --overwrite."
    )
    assert (here / "out.splat").read_text() == "mine" and not (here / "new.ply").exists()
    assert run("export", "in.ply", "out.splat", "in.ply", "--overwrite") == 0
    assert len(read_splats("out.splat")) == len(read_splats("in.ply")) == 40


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["in.ply", "out.xyz"], "No file of a head is called out.xyz: let the name end in .ply, "),
        (["in.ply", "a.spz", "a.compressed.ply", "--ply-layout", "inria"], "No file here has a PLY layout: "),
        (["in.ply", "a.ply", "./a.ply"], "a.ply is named twice; give each file a name of its own."),
        (["missing.ply", "a.ply"], "Cannot read missing.ply: there is no such file."),
        (["folder", "a.ply"], "Cannot read folder: it is a folder; give the name of a file."),
        (["empty.ply", "a.ply"], "empty.ply is not a complete PLY file; write or download it again."),
        (["letter.txt", "a.ply"], "letter.txt is no file of Gaussians that is known here; these are .ply, "),
        (["none.ply", "a.ply"], "none.ply holds no Gaussians that can be drawn; give another file."),
        (["nan.ply", "a.ply"], "nan.ply holds no Gaussians that can be drawn; give another file."),
        (
            ["in.ply", "nowhere/a.ply"],
            "Cannot write nowhere/a.ply: the folder does not exist; create it first.",
        ),
        (["huge.ply", "a.ply"], "huge.ply claims 20,000,001 Gaussians; files of up to 20,000,000 are read."),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_sentence(here, capsys, arguments, sentence):
    (here / "folder").mkdir()
    (here / "empty.ply").touch()
    (here / "letter.txt").write_text("Dear Sir or Madam")
    write_ply("none.ply", cloud(2)[:0])
    content = (here / "in.ply").read_bytes()
    header, end, body = content.partition(b"end_header\n")
    (here / "nan.ply").write_bytes(header + end + b"\xff" * len(body))
    with open("huge.ply", "wb") as file:  # a hole, which takes no room
        file.write(header.replace(b"vertex 40", b"vertex 20000001") + end)
        os.truncate("huge.ply", 4_000_000_000)
    assert run("export", *arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"facelift: {sentence}") and error.endswith(".")
    assert not (here / "a.ply").exists()


def test_gaussians_that_cannot_be_drawn_are_counted_and_left_out(here, capsys):
    content = bytearray((here / "in.ply").read_bytes())
    content[-4:] = b"\xff\xff\xff\xff"  # NaN in the last rotation
    (here / "in.ply").write_bytes(content)
    assert run("export", "in.ply", "out.ply") == 0
    assert "1 of 40 Gaussians in in.ply hold NaN or infinity: they are left out." in capsys.readouterr().err
    assert len(read_splats("out.ply")) == 39


# --- facelift reconstruct --format


def test_more_files_beside_the_ply(pipeline, tmp_path, capsys):  # noqa: F811
    pipeline.head.gaussians, pipeline.head.ply_layout = cloud(40), "standard"
    photos(tmp_path, "a.jpg")
    formats = [word for suffix in SPLATS for word in ("--format", suffix[1:])]
    assert run("reconstruct", "a.jpg", "--no-turntable", *formats) == 0
    folder = tmp_path / "outputs/a"
    written = {f"head{suffix}" for suffix in SPLATS}
    assert {path.name for path in folder.iterdir()} == RESULT_NAMES - {"turntable.mp4"} | written
    assert_close(read_splats(folder / "head.splat"), cloud(40), ".splat")
    (folder / "mine.txt").touch()
    assert run("reconstruct", "a.jpg", "--no-turntable") == 0  # which is another result, and this one goes
    assert {path.name for path in folder.iterdir()} == RESULT_NAMES - {"turntable.mp4"} | {"mine.txt"}
    assert written <= owned_names()


def test_unknown_formats_are_told_before_the_work(pipeline, tmp_path, capsys):  # noqa: F811
    photos(tmp_path, "a.jpg")
    assert run("reconstruct", "a.jpg", "--format", "doc") == 1
    assert "facelift: A head is not written as doc: choose ply, " in capsys.readouterr().err
    assert not pipeline.loaded and not (tmp_path / "outputs").exists()
    assert chosen_suffix(".PLY") == ".ply"


def test_a_layout_of_the_ply_is_taken(pipeline, tmp_path):  # noqa: F811
    pipeline.head = make_head()
    photos(tmp_path, "a.jpg")
    assert run("reconstruct", "a.jpg", "--no-turntable", "--ply-layout", "inria") == 0
    assert b"property float nx" in (tmp_path / "outputs/a/gaussians.ply").read_bytes()[:400]


def test_several_meshes_of_one_result_are_made_once(tmp_path, monkeypatch):
    """Making one takes seconds, writing it does not."""
    made, written = [], []
    monkeypatch.setattr("facelift.export.default_mesh", lambda gaussians: made.append(gaussians) or "mesh")
    monkeypatch.setattr("facelift.export.write_mesh", lambda path, mesh: written.append((path.name, mesh)))
    write_results(tmp_path, make_head(), frames=None, formats=(".obj", ".stl"))
    assert len(made) == 1 and written == [("head.obj", "mesh"), ("head.stl", "mesh")]
