"""The nodes in integrations/comfyui, run as ComfyUI does: found by path, in a thread, in inference mode.

ComfyUI itself is no package; small stand-ins have the few functions of it that the nodes call.
"""

import importlib.util
import json
import os
import re
import sys
import threading
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from tiny import SIZE, digest, portrait, tiny_folder

from facelift import FaceLift, Head
from facelift.camera_paths import camera_path
from facelift.errors import UserError
from facelift.formats.splats import read_splats
from facelift.render import render

PACK = Path(__file__).parents[1] / "integrations/comfyui"
OPTIONS = {"seed": 3, "matting": "auto", "refinement_steps": 2, "prepared": True}


class CancelledError(Exception):
    """As ComfyUI's, for a job that was cancelled."""


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    """The pack, ComfyUI's folders and bars; in `countdown` checks from now, somebody presses Cancel."""
    root = tmp_path_factory.mktemp("ComfyUI")
    folders: dict[str, list[str]] = {}
    ui = SimpleNamespace(root=root, output=root / "output", bars=[], countdown=None)

    def get_save_image_path(prefix, output, *size):
        subfolder, name = os.path.split(os.path.normpath(prefix))
        folder = os.path.join(output, subfolder)
        os.makedirs(folder, exist_ok=True)
        numbers = [
            int(found[1]) for f in os.listdir(folder) if (found := re.match(rf"{re.escape(name)}_(\d+)_", f))
        ]
        return folder, name, max(numbers, default=0) + 1, subfolder, prefix

    class ProgressBar:
        def __init__(self, total):
            self.values, self.total = [], total
            ui.bars.append(self)

        def update_absolute(self, value, total=None, preview=None):
            self.values.append(value)

    def throw_exception_if_processing_interrupted():
        if ui.countdown is not None:
            ui.countdown -= 1
            if ui.countdown < 0:
                raise CancelledError

    modules = {
        "folder_paths": {
            "models_dir": str(root / "models"),
            "add_model_folder_path": lambda name, path: folders.setdefault(name, []).append(path),
            "get_folder_paths": lambda name: folders[name],
            "get_output_directory": lambda: str(root / "output"),
            "get_save_image_path": get_save_image_path,
        },
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {
            "get_torch_device": lambda: torch.device("cpu"),
            "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted,
        },
        "comfy_api": {},
        "comfy_api.latest": {"Types": SimpleNamespace(SPLAT=lambda *fields: fields)},
    }
    tiny_folder(root / "models/facelift/tiny")
    name = str(PACK).replace(".", "_x_")  # as ComfyUI calls it
    with pytest.MonkeyPatch.context() as patch:
        for module, contents in modules.items():
            made = ModuleType(module)
            made.__dict__.update(contents)
            patch.setitem(sys.modules, module, made)
            parent, _, child = module.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, made)
        spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
        pack = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, pack)
        spec.loader.exec_module(pack)
        ui.classes, ui.shown = pack.NODE_CLASS_MAPPINGS, pack.NODE_DISPLAY_NAME_MAPPINGS
        yield ui
        for module in [module for module in sys.modules if module.startswith(name)]:
            del sys.modules[module]


def run(comfy, name, **inputs):
    """What a node gives, run as ComfyUI runs it; raises what it raises."""
    node = comfy.classes[f"FaceLift{name}"]
    given = {}

    def work():
        with torch.inference_mode():
            tensors = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
            try:
                given["result"] = getattr(node(), node.FUNCTION)(**tensors)
            except BaseException as error:
                given["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in given:
        raise given["error"]
    return given["result"]


def photos(*seeds):
    """(B, H, W, 3) as ComfyUI holds images."""
    return torch.stack([torch.from_numpy(portrait(seed)).float() / 255 for seed in seeds])


@pytest.fixture(scope="module")
def model(comfy):
    (loaded,) = run(comfy, "LoadModel", model="tiny", device="auto", dtype="float32", memory="auto")
    return loaded


@pytest.fixture(scope="module")
def head(comfy, model):
    return run(comfy, "PhotoToHead", model=model, photo=photos(0), **OPTIONS)[0][0]


@pytest.fixture(autouse=True)
def nobody_cancels(comfy):
    comfy.countdown = None
    comfy.bars.clear()


def test_what_comfyui_asks_of_every_node(comfy):
    assert comfy.classes.keys() == comfy.shown.keys() and len(comfy.classes) == 5
    for node in comfy.classes.values():
        assert callable(getattr(node, node.FUNCTION)) and len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
        for group in node.INPUT_TYPES().values():
            assert all(isinstance(kind, str | list) for kind, *_ in group.values())


def test_a_batch_becomes_the_heads_that_python_makes(comfy, model):
    """In inference mode, in another thread, in half precision: each bit is that of a plain call."""
    batch = photos(0, 1).half()
    heads, portraits, views = run(comfy, "PhotoToHead", model=model, photo=batch, **OPTIONS)
    assert [len(heads), len(portraits), len(views)] == [2, 2, 2]
    assert portraits[0].shape == (1, 2 * SIZE, 2 * SIZE, 3) and views[0].shape == (6, SIZE, SIZE, 3)
    for one, made in zip(batch, heads, strict=True):
        plain = model(one.float().movedim(-1, 0), seed=3, refinement=2, prepared=True)
        assert digest(made) == digest(plain)
        assert not made.gaussians.means.is_inference(), "others may go on computing with it"
    (bar,) = comfy.bars
    assert bar.values == sorted(bar.values) and bar.values[-1] == bar.total and len(bar.values) >= 8


def test_a_mask_is_the_matte(comfy, model):
    photo = photos(0)
    person = (photo.amin(-1) < 0.9).float()
    small = torch.nn.functional.avg_pool2d(person[None], 2)[0]
    made = run(comfy, "PhotoToHead", model=model, photo=photo, mask=small, **OPTIONS)[0][0]
    larger = torch.nn.functional.interpolate(small[None], photo.shape[1:3], mode="bilinear")[0]
    rgba = torch.cat([photo[0].movedim(-1, 0), larger])
    assert digest(made) == digest(model(rgba, seed=3, refinement=2, prepared=True))
    without = digest(run(comfy, "PhotoToHead", model=model, photo=photo, **OPTIONS)[0][0])
    none = torch.zeros(1, 64, 64)  # what Load Image gives for a picture without alpha
    assert digest(run(comfy, "PhotoToHead", model=model, photo=photo, mask=none, **OPTIONS)[0][0]) == without
    assert digest(made) != without
    with pytest.raises(UserError, match="There are 2 masks for 3 photos"):
        run(comfy, "PhotoToHead", model=model, photo=photos(0, 1, 2), mask=torch.ones(2, 8, 8), **OPTIONS)


def test_a_bad_photo_is_named_and_a_missing_model_told(comfy, model):
    assert isinstance(model, FaceLift)
    batch = photos(0, 1)
    batch[1, 0, 0] = torch.nan
    with pytest.raises(UserError, match="Photo 2 of 2: The image has values that are not finite"):
        run(comfy, "PhotoToHead", model=model, photo=batch, **OPTIONS)
    with pytest.raises(UserError, match=r"There is no model '\.\./\.\.'"):
        run(comfy, "LoadModel", model="../..", device="cpu", dtype="auto", memory="auto")


@pytest.mark.parametrize("checks", [0, 1, 2, 4])
def test_cancel_ends_the_work_and_the_model_goes_on(comfy, model, checks):
    comfy.countdown = checks
    with pytest.raises(CancelledError):
        run(comfy, "PhotoToHead", model=model, photo=photos(0), **OPTIONS)
    comfy.countdown = None
    assert run(comfy, "PhotoToHead", model=model, photo=photos(0), **OPTIONS)[0]


def test_a_turn_is_drawn_as_python_draws_it(comfy, head):
    view = {"azimuth": 20.0, "elevation": 10.0, "distance": 2.5, "width": 40, "height": 24}
    images, masks = run(comfy, "RenderHead", head=head, frames=3, background="#0080ff", **view)
    assert images.shape == (3, 24, 40, 3) and masks.shape == (3, 24, 40)
    cameras = camera_path("turntable", 3, (40, 24), 20.0, 10.0, 2.5)
    drawn = render(head.gaussians, cameras, torch.tensor([0.0, 128 / 255, 1.0]))
    torch.testing.assert_close(images, drawn.image.clamp(0, 1).movedim(1, -1))
    torch.testing.assert_close(masks, drawn.alpha[:, 0])
    (bar,) = comfy.bars
    assert bar.values == [100, 200, 300] and bar.total == 300
    still, _ = run(comfy, "RenderHead", head=head, frames=1, background="#0080ff", **view)
    torch.testing.assert_close(still[0], images[0])
    comfy.countdown = 1
    with pytest.raises(CancelledError):
        run(comfy, "RenderHead", head=head, frames=3, background="white", **view)
    with pytest.raises(UserError, match="'no such' is no colour"):
        run(comfy, "RenderHead", head=head, frames=1, background="no such", **view)


@pytest.mark.parametrize("format", ["ply", "compressed.ply", "spz", "glb", "html"])
def test_files_go_into_the_output_folder_and_are_numbered(comfy, head, format):
    prefix = f"3d/{format}/head"
    results = [run(comfy, "SaveHead", head=head, filename_prefix=prefix, format=format) for _ in range(2)]
    assert [r["result"][0] for r in results] == [f"{prefix}_0000{n}_.{format}" for n in (1, 2)]
    for result in results:
        path = comfy.output / result["result"][0]
        saved = {"filename": path.name, "subfolder": f"3d/{format}", "type": "output"}
        assert result["ui"] == {"3d": [saved]}
        if format == "html":
            assert b"<canvas" in path.read_bytes()
        else:
            assert len(read_splats(path)) == len(head.gaussians)


def test_a_mesh_is_written_where_it_is_asked_for(comfy, head, monkeypatch):
    """That meshes are right is for tests/test_mesh.py to say."""
    written = []
    monkeypatch.setattr(Head, "mesh", lambda self: SimpleNamespace(save=written.append))
    result = run(comfy, "SaveHead", head=head, filename_prefix="mesh", format="glb (mesh)")
    assert written == [comfy.output / "mesh_00001_.glb"] and result["result"] == ("mesh_00001_.glb",)


@pytest.mark.parametrize("prefix", ["../head", "a/../../head", "/tmp/head", r"..\head", r"C:\head", "a\0b"])
def test_no_file_is_written_elsewhere(comfy, head, prefix):
    before = set(comfy.root.rglob("*"))
    with pytest.raises(UserError, match="leads out of ComfyUI's output folder"):
        run(comfy, "SaveHead", head=head, filename_prefix=prefix, format="ply")
    assert set(comfy.root.rglob("*")) == before


def test_a_head_is_a_splat_of_comfyuis_own_nodes(comfy, head, tmp_path, monkeypatch):
    """The numbers that a PLY of it holds, which ComfyUI reads without turning them."""
    (fields,) = run(comfy, "HeadToSplat", head=head)
    means, scales, quats, opacities, sh = fields
    head.save(tmp_path / "head.ply")
    same = read_splats(tmp_path / "head.ply", frame="world")  # as the file has them
    torch.testing.assert_close(means[0], same.means)
    torch.testing.assert_close(scales[0], same.scales)
    torch.testing.assert_close(quats[0], same.quats)
    torch.testing.assert_close(opacities[0, :, 0], same.opacities, atol=1e-6, rtol=0)
    torch.testing.assert_close(sh[0, :, 0], same.sh0)
    monkeypatch.delattr(sys.modules["comfy_api.latest"], "Types")
    with pytest.raises(UserError, match="This ComfyUI has no splat nodes yet"):
        run(comfy, "HeadToSplat", head=head)


def test_the_workflow_fits_the_nodes(comfy):
    """Every value is one that the node takes, and every link joins an output to an input of its type."""
    flow = json.loads((PACK / "example_workflows/photo_to_head.json").read_text())
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert {node["type"] for node in nodes.values()} >= {
        f"FaceLift{n}" for n in ("LoadModel", "SaveHead", "RenderHead")
    }
    for number, source, slot, target, place, kind in flow["links"]:
        output, taken = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert number in output["links"] and taken["link"] == number
        assert output["type"] == taken["type"] == kind
    for node in nodes.values():
        if node["type"] in comfy.classes:
            declared = comfy.classes[node["type"]]
            assert [o["type"] for o in node["outputs"]] == list(declared.RETURN_TYPES)
            values = iter(node["widgets_values"])
            for name, (kind, *options) in {
                k: v for g in declared.INPUT_TYPES().values() for k, v in g.items()
            }.items():
                if isinstance(kind, list):
                    assert next(values) in kind
                elif kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
                    value = next(values)
                    assert isinstance(
                        value, {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}[kind]
                    )
                    assert kind in ("STRING", "BOOLEAN") or options[0]["min"] <= value <= options[0]["max"]
                    assert not options[0].get("control_after_generate") or next(values) == "fixed"
                else:
                    assert {"name": name, "type": kind}.items() <= next(
                        i for i in node["inputs"] if i["name"] == name
                    ).items()
            assert next(values, None) is None


def test_the_registry_takes_the_metadata():
    described = tomllib.loads((PACK / "pyproject.toml").read_text())
    project = described["project"]
    assert re.fullmatch(r"[a-z][a-z0-9._-]{0,99}", project["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert described["tool"]["comfy"].keys() >= {"PublisherId", "DisplayName"}
    assert project["dependencies"] == [], "PyPI's facelift is another project"
    assert (
        project["version"] == tomllib.loads((PACK / "../../pyproject.toml").read_text())["project"]["version"]
    )


def test_without_facelift_the_pack_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "facelift.pipeline", None)  # as an absent module
    spec = importlib.util.spec_from_file_location("pack_without_facelift", PACK / "__init__.py")
    with pytest.raises(ImportError, match="FaceLift is not installed in ComfyUI's Python"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
