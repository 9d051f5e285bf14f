"""A head is the same whatever its caller has set, and what the caller has set stays."""

import math
import os
import random
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import digest, lift, portrait, tiny_folder, tiny_parts

from facelift import FaceLift, weights
from facelift.cameras import canonical_rig
from facelift.cli.commands import run
from facelift.devices import choose_device, inference_copy
from facelift.errors import UserError
from facelift.formats.ply import write_ply
from facelift.refine import RefineConfig, refine
from facelift.render import render

TESTS = Path(__file__).parent
PHOTO = TESTS.parent / "examples/portrait.jpg"
FILES = [f"{part}/model.safetensors" for part in ("views", "reconstructor", "portrait")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return FaceLift.from_pretrained(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def fresh(folder):
    """By dtype, the head that another process makes with as many threads."""
    dtypes = ("float32", "bfloat16")
    command = [sys.executable, str(TESTS / "tiny.py"), str(folder), str(torch.get_num_threads()), *dtypes]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return dict(zip(dtypes, done.stdout.split(), strict=True))


# --- torch's state


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def seeded():
    """Global generators somewhere else than usual; back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


STATES = {
    "nothing": nullcontext,
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast without cache": lambda: torch.autocast("cpu", torch.float16, cache_enabled=False),
    "meta": lambda: torch.device("meta"),
    "meta for all": lambda: default_device("meta"),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "deterministic": deterministic,
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True, check_nan=True),
    "seeds": seeded,
    "warnings": warnings_as_errors,
}
states = pytest.mark.parametrize("state", STATES.values(), ids=STATES)


def callers_state():
    """All that a caller may have set, and that nobody else may change."""
    generators = torch.get_rng_state(), np.random.get_state(), random.getstate()
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        np.geterr(),
        warnings.filters[:],
        generators[0].tolist(),
        [x.tolist() if isinstance(x, np.ndarray) else x for x in generators[1]],
        generators[2],
    ]


@states
def test_a_head_is_the_one_that_another_process_makes(model, fresh, state):
    with state():
        before = callers_state()
        head = lift(model)
        assert callers_state() == before
    assert digest(head) == fresh["float32"]
    assert not any(tensor.is_inference() for tensor in (head.views, head.gaussians.means))


@states
def test_loading_and_saving_are_the_same_in_every_state(folder, fresh, state, tmp_path):
    with state():
        before = callers_state()
        model = FaceLift.from_pretrained(folder, device="cpu", dtype="bfloat16")
        model.save_pretrained(tmp_path)
        assert callers_state() == before
        head = lift(model)
    assert digest(head) == fresh["bfloat16"]
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@states
def test_the_parts_by_themselves_are_the_same_in_every_state(model, state, tmp_path):
    """Stage 2 of given views, the fit, a rendering, a turntable's cameras, a file."""
    head = lift(model)

    def parts(path):
        rig = canonical_rig(32)
        views = render(head.gaussians, rig).image.clamp(0, 1)
        made = model.reconstruct(views, refinement=2)
        fitted = refine(made, views, rig, RefineConfig(steps=2))
        write_ply(path, fitted)
        return [rig.w2c, views, made.means, fitted.sh0, render(fitted, rig, 0.5).depth]

    expected = parts(tmp_path / "expected.ply")
    with state():
        before = callers_state()
        found = parts(tmp_path / "found.ply")
        assert callers_state() == before
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert (tmp_path / "found.ply").read_bytes() == (tmp_path / "expected.ply").read_bytes()


@states
def test_an_error_leaves_the_state_as_it_was(model, state):
    def interrupted(steps):
        raise KeyboardInterrupt

    with state():
        before = callers_state()
        with pytest.raises(KeyboardInterrupt):
            lift(model, progress=interrupted)
        with pytest.raises(UserError):
            lift(model, steps=0)
        with pytest.raises(UserError, match="No model"):
            FaceLift.from_pretrained("nobody", device="cpu")
        assert callers_state() == before
    lift(model)  # and the lock is free


def test_tensors_made_in_inference_mode_can_be_fitted(model):
    with torch.inference_mode():
        rig, head = canonical_rig(32), lift(model)
        gaussians = head.gaussians.map(torch.Tensor.clone)
        views = render(gaussians, rig).image.clamp(0, 1)
    assert gaussians.means.is_inference() and views.is_inference()
    fitted = refine(gaussians, views, rig, RefineConfig(steps=2))
    assert not fitted.means.is_inference() and not torch.equal(fitted.means, gaussians.means)
    assert model.reconstruct(views, refinement=2).means.isfinite().all()


def test_a_rendering_keeps_the_gradients_that_its_caller_wants(model):
    gaussians = lift(model).gaussians
    colors = gaussians.sh0.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), default_dtype(torch.float64), np.errstate(all="raise"):
        image = render(replace(gaussians, sh0=colors), canonical_rig(32)[0]).image
    assert image.dtype == torch.float32
    image.sum().backward()
    assert (colors.grad != 0).any()
    with torch.no_grad():
        assert not render(replace(gaussians, sh0=colors), canonical_rig(32)[0]).image.requires_grad


def test_the_packaged_model_is_the_same_in_the_worst_of_states():
    """From a photo: the portrait's own networks and its matting are part of it."""
    model = FaceLift.from_pretrained(device="cpu")
    expected = digest(model(PHOTO, refinement=2))
    with (
        torch.inference_mode(),
        default_dtype(torch.float64),
        torch.autocast("cpu", torch.bfloat16),
        torch.device("meta"),
        np.errstate(all="raise"),
        seeded(),
    ):
        before = callers_state()
        found = digest(model(PHOTO, refinement=2))
        assert callers_state() == before
    assert found == expected


# --- the caller's modules


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_modules_that_are_given_stay_as_they_are(dtype):
    parts = [part.train() for part in tiny_parts()]
    parts[0].requires_grad_(True)

    def kept():
        return [
            (name, tensor.dtype, tensor.requires_grad, tensor.data_ptr(), tensor.sum().item())
            for part in parts
            for name, tensor in part.state_dict(keep_vars=True).items()
        ]

    before = kept()
    model = FaceLift(*parts, "cpu", dtype=dtype)
    lift(model)
    assert kept() == before and all(part.training for part in parts)
    assert not model.views.training and not any(p.requires_grad for p in model.views.parameters())


def test_what_needs_no_cast_is_shared():
    views, _ = tiny_parts()
    for dtype, shared in ((torch.float32, True), (torch.bfloat16, False)):
        held = inference_copy(views, dtype)
        assert (held.unet.conv_in.weight.data_ptr() == views.unet.conv_in.weight.data_ptr()) == shared
        norm = held.unet.conv_norm_out.weight, views.unet.conv_norm_out.weight
        assert norm[0].data_ptr() == norm[1].data_ptr() and norm[0] is not norm[1]


# --- what is saved


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_is_saved_as_it_was_loaded(folder, dtype, tmp_path):
    FaceLift.from_pretrained(folder, device="cpu", dtype=dtype).save_pretrained(tmp_path)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"README.md", "LICENSE", "config.json", *FILES} <= files
    for name in files:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_packaged_model_is_saved_as_it_was_loaded(tmp_path):
    packaged = weights.find_model(None)
    FaceLift.from_pretrained(device="cpu", dtype="bfloat16").save_pretrained(tmp_path)
    stored, saved = weights.load_model(packaged), weights.load_model(tmp_path)
    for part in ("views", "reconstructor", "portrait"):
        before, after = (getattr(model, part).state_dict() for model in (stored, saved))
        assert before.keys() == after.keys()
        for key, tensor in before.items():
            assert tensor.dtype == after[key].dtype and torch.equal(tensor, after[key]), key
    for name in ("README.md", "LICENSE"):
        assert (tmp_path / name).read_bytes() == (packaged / name).read_bytes()


def test_weights_that_were_changed_are_saved_changed(folder, tmp_path):
    model = FaceLift.from_pretrained(folder, device="cpu", dtype="bfloat16")
    with torch.no_grad():
        model.views.prompts.add_(1)
    model.save_pretrained(tmp_path)
    stored, saved = (load_file(place / FILES[0]) for place in (folder, tmp_path))
    assert torch.equal(saved.pop("prompts"), stored.pop("prompts").float() + 1)
    assert all(torch.equal(saved[name], tensor) for name, tensor in stored.items())


def test_half_of_what_was_loaded_is_rounded_once(folder, tmp_path):
    """Not bfloat16's rounding first."""
    FaceLift.from_pretrained(folder, device="cpu", dtype="bfloat16").save_pretrained(tmp_path, torch.float16)
    stored, saved = (load_file(place / FILES[0]) for place in (folder, tmp_path))
    assert all(torch.equal(saved[name], tensor.half()) for name, tensor in stored.items())


def test_the_hub_gets_what_was_loaded(folder, monkeypatch):
    import huggingface_hub

    sent = {}

    class Api:
        def create_repo(self, *_, **__):
            return "https://huggingface.co/me/head"

        def upload_folder(self, folder_path, **_):
            files = (path for path in Path(folder_path).rglob("*") if path.is_file())
            sent.update({str(path.relative_to(folder_path)): path.read_bytes() for path in files})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    FaceLift.from_pretrained(folder, device="cpu", dtype="bfloat16").push_to_hub("me/head")
    assert sent == {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# --- devices


REFUSED = {
    "gpu": "There is no device 'gpu'",
    "cuda:x": "There is no device 'cuda:x'",
    "": "There is no device ''",
    "meta": "Nothing is computed on the device meta",
    torch.device("meta"): "Nothing is computed on the device meta",
    None: "There is no device None",
}


@pytest.mark.parametrize(("device", "sentence"), REFUSED.items(), ids=map(repr, REFUSED))
def test_a_device_that_is_none_is_one_sentence(folder, device, sentence):
    for attempt in (choose_device, lambda device: FaceLift.from_pretrained(folder, device=device)):
        with pytest.raises(UserError, match=sentence) as caught:
            attempt(device)
        assert "\n" not in str(caught.value)


def test_a_gpu_that_is_not_there_is_one_sentence(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for built, lacks in ((False, "built for CUDA"), (True, "a GPU and driver")):
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda built=built: built)
        for device in ("cuda", "cuda:1", torch.device("cuda")):
            with pytest.raises(UserError, match=lacks):
                FaceLift.from_pretrained(folder, device=device)
    with pytest.raises(UserError, match="an Apple GPU"):
        FaceLift.from_pretrained(folder, device="mps")
    assert choose_device("auto") == torch.device("cpu")


def test_a_gpu_of_another_number_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"There is no device cuda:7: the last one here is cuda:1\."):
        choose_device("cuda:7")
    for device in ("cuda", "cuda:1", torch.device("cuda", 0)):
        assert choose_device(device) == torch.device(device)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps", "meta"])
def test_the_command_says_the_same(device, capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert run(["reconstruct", str(PHOTO), "--device", device]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("facelift: ") and device.split(":")[0] in said


@pytest.mark.parametrize("options", [{"dtype": "float8"}, {"memory": "little"}])
def test_options_of_a_model_are_checked(folder, options):
    with pytest.raises(UserError, match=next(iter(options.values()))):
        FaceLift.from_pretrained(folder, device="cpu", **options)


# --- what is asked of tensors and numbers


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "The seed must be from 0 to"),
        ({"seed": 2**63}, "The seed must be from 0 to"),
        ({"seed": 0.5}, "The seed must be a whole number"),
        ({"steps": 0}, "The number of steps must be at least 1"),
        ({"guidance": float("nan")}, "The guidance must be a number"),
        ({"eta": 2.0}, "The eta must be from 0 to 1"),
        ({"scheduler": "euler"}, "There is no scheduler 'euler'"),
        ({"refinement": -1}, "of the refinement must be at least 0"),
    ],
)
def test_options_of_a_photo_are_checked_before_the_work(model, options, sentence, monkeypatch):
    monkeypatch.setattr("facelift.pipeline.prepare_portrait", None)
    with pytest.raises(UserError, match=sentence):
        model("photo.jpg", **options)


BAD_VIEWS = {
    "not a tensor": (np.ones((6, 3, 32, 32)), "must be a torch tensor, not ndarray"),
    "five": (torch.ones(5, 3, 32, 32), r"\(6, 3, S, S\), not \(5, 3, 32, 32\)"),
    "one": (torch.ones(3, 32, 32), r"not \(3, 32, 32\)"),
    "two channels": (torch.ones(6, 2, 32, 32), r"\(6, 3, S, S\)"),
    "oblong": (torch.ones(6, 3, 32, 24), r"\(6, 3, S, S\)"),
    "channels last": (torch.ones(6, 32, 32, 3), r"\(6, 3, S, S\)"),
    "bytes": (torch.ones(6, 3, 32, 32, dtype=torch.uint8), "divide bytes by 255"),
    "to 255": (torch.full((6, 3, 32, 32), 255.0), r"must lie in \[0, 1\], not in \[255, 255\]"),
    "from -1": (torch.full((6, 3, 32, 32), -1.0), r"must lie in \[0, 1\]"),
    "NaN": (torch.full((6, 3, 32, 32), torch.nan), r"must lie in \[0, 1\]"),
    "of another size": (torch.ones(6, 3, 36, 36), "multiple of 8 pixels wide, not 36"),
}


@pytest.mark.parametrize(("views", "sentence"), BAD_VIEWS.values(), ids=BAD_VIEWS)
def test_views_are_checked(model, views, sentence):
    with pytest.raises(UserError, match=sentence):
        model.reconstruct(views)


def test_a_view_generator_checks_its_portrait_and_warped_views(model):
    views = model.views
    image, drafts = torch.ones(3, 32, 32), torch.ones(6, 3, 32, 32)
    for given, sentence in (
        ((torch.ones(3, 64, 64), drafts), r"The portrait must be of shape \(3, 32, 32\)"),
        ((image * 255, drafts), r"The portrait must lie in \[0, 1\]"),
        ((image, None), "Warped views belong to"),
        ((image, drafts[:5]), r"The warped views must be of shape \(6, 3, 32, 32\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            views.generate(given[0], warped=given[1])


@pytest.fixture(scope="module")
def gaussians(model):
    return lift(model).gaussians


def spoilt(gaussians, name, value):
    field = getattr(gaussians, name).clone()
    field[3] = value
    return replace(gaussians, **{name: field})


WRITERS = {
    "render": lambda g, _: render(g, canonical_rig(32)),
    "refine": lambda g, _: refine(g, torch.ones(6, 3, 32, 32), canonical_rig(32), RefineConfig()),
    "write_ply": lambda g, folder: write_ply(folder / "head.ply", g),
}


@pytest.mark.parametrize("use", WRITERS.values(), ids=WRITERS)
def test_gaussians_that_are_none_are_told(gaussians, use, tmp_path):
    count = len(gaussians)
    for name in ("means", "quats", "scales", "opacities", "sh0"):
        for value in (torch.nan, torch.inf):
            with pytest.raises(UserError, match=rf"1 of {count} Gaussians hold NaN"):
                use(spoilt(gaussians, name, value), tmp_path)
    for bad, sentence in (
        (spoilt(gaussians, "quats", 0.0), "a rotation of length 0"),
        (spoilt(gaussians, "opacities", 3.0), r"opacities.sigmoid\(\) if they are logits"),
        (spoilt(gaussians, "scales", -3.0), r"scales.exp\(\) if they are logarithms"),
        (replace(gaussians, opacities=gaussians.opacities[:, None]), rf"opacities .* must be \({count},\)"),
        (replace(gaussians, sh0=gaussians.sh0[1:]), rf"sh0 .* must be \({count}, 3\)"),
        (replace(gaussians, means=gaussians.means.int()), "floats on one device: the means"),
        (replace(gaussians, quats=gaussians.quats.to("meta")), "floats on one device: the quats"),
    ):
        with pytest.raises(UserError, match=sentence):
            use(bad, tmp_path)
    assert not list(tmp_path.iterdir())


def test_cameras_and_backgrounds_are_checked(gaussians):
    rig = canonical_rig(32)
    for cameras, sentence in (
        (replace(rig, w2c=rig.w2c[:, :3]), r"w2c of cameras must be \(N, 4, 4\)"),
        (replace(rig, intrinsics=rig.intrinsics[:5]), r"intrinsics of cameras must be \(N, 4\)"),
        (replace(rig, w2c=rig.w2c * torch.nan), "w2c of cameras hold NaN"),
        (replace(rig, width=0), "0 x 32 pixels"),
    ):
        with pytest.raises(UserError, match=sentence):
            render(gaussians, cameras)
    for background in (torch.ones(4), torch.ones(5, 3), torch.ones(32, 32, 3)):
        with pytest.raises(UserError, match=r"a number, \(3,\) or \(6, 3\)"):
            render(gaussians, rig, background)


def test_what_is_fitted_is_checked(gaussians):
    one = RefineConfig(steps=1)
    rig, views, layer = canonical_rig(32), torch.ones(6, 3, 32, 32), torch.ones(6, 1, 32, 32)
    for arguments, sentence in (
        ((views[:4], rig, one), r"views must be of shape \(6, 3, 32, 32\)"),
        ((views, canonical_rig(64), one), r"views must be of shape \(6, 3, 64, 64\)"),
        ((views * 255, rig, one), r"views must lie in \[0, 1\]"),
        ((views.to("meta"), rig, one), "views are on meta, and all else on cpu"),
        ((views[:5], rig[:5], one), "even number of them, not 5"),
        ((views, rig, one, layer[:, 0]), "coverage must be of shape"),
        ((views, rig, one, layer, layer * 2), "confidence must lie in"),
    ):
        with pytest.raises(UserError, match=sentence):
            refine(gaussians, *arguments)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": True}, "The seed must be a whole number, not True"),
        ({"seed": None}, "The seed must be a whole number, not None"),
        ({"seed": "a"}, "The seed must be a whole number, not 'a'"),
        ({"seed": math.nan}, "The seed must be a whole number, not nan"),
        ({"guidance": "x"}, "The guidance must be a number, not 'x'"),
        ({"guidance": math.inf}, "The guidance must be a number, not inf"),
        ({"refinement": math.nan}, "The number of steps of the refinement must be a whole number, not nan"),
    ],
)
def test_options_that_are_no_numbers_are_named(model, options, sentence):
    with pytest.raises(UserError, match=sentence):
        model(portrait(0), prepared=True, **options)


def test_a_seed_of_numpy_is_a_seed(model):
    one, other = (model(portrait(0), seed=seed, prepared=True) for seed in (3, np.int64(3)))
    assert torch.equal(one.gaussians.means, other.gaussians.means)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_views_of_any_float_are_reconstructed(model, dtype):
    views = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)).half()
    expected = model.reconstruct(views.float(), refinement=0)
    assert torch.equal(model.reconstruct(views.to(dtype), refinement=0).means, expected.means)
