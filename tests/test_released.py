"""FaceLift's released layout: a small folder with random weights, and what FaceLift's own code made of it."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from released import GOLDEN, expected_views, write_released
from safetensors.torch import load_file, save_file

from facelift import FaceLift
from facelift.cameras import Cameras
from facelift.cli.commands import run as run_command
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.refine import RefineConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.weights import CHECKPOINT, PIPELINE

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def expected():
    return expected_views()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The released folder; not to be written into."""
    return write_released(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def model(whole):
    return FaceLift.from_pretrained(whole, device="cpu")


@pytest.fixture
def folder(whole, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(whole, tmp_path / "released")
    return tmp_path / "released"


def assert_same_views(views, expected):
    """As the steps amplify rounding: processors differ by 4e-5 on average, other attention by 0.05."""
    error = (views - expected).abs()
    assert error.mean() < 2e-4 and error.max() < 5e-3


def portrait(expected):
    return expected["input.image"].movedim(-1, 0) / 255


def test_the_prompts_are_encoded_as_facelift_does(model, expected):
    torch.testing.assert_close(model.views.prompts.data, expected["input.prompt_embeds"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("sliced", [True, False])
def test_views_are_facelifts_own(model, expected, eta, sliced):
    views = model.views.generate(portrait(expected), 4, 4, 3.0, eta, sliced=sliced)
    assert_same_views(views, expected[f"output.eta{eta}"])


def test_noise_is_drawn_for_the_embedding_first(model, expected, monkeypatch):
    """The order of draws, checked against the reference's own; at eta 0 nothing else shows it."""
    seen = []
    embed = model.views.image_embedding.forward
    monkeypatch.setattr(
        model.views.image_embedding, "forward", lambda image, noise: seen.append(noise) or embed(image, noise)
    )
    predict = model.views.predict
    monkeypatch.setattr(
        model.views, "predict", lambda noisy, *rest: seen.append(noisy) or predict(noisy, *rest)
    )
    model.views.generate(portrait(expected), 4, 1, 1.0, 0.0)
    assert torch.equal(seen[0], expected["draw.embed_noise"])
    assert torch.equal(seen[1][0], expected["draw.latents"])


def test_gaussians_are_facelifts_own(model):
    tensors = load_file(GOLDEN / "gslrm_tiny.safetensors")
    cameras = Cameras(torch.linalg.inv(tensors["input.c2w"][0]), tensors["input.fxfycxcy"][0], 32, 32)
    with torch.no_grad():
        got = model.reconstructor(tensors["input.image"][0], cameras)
    names = {"means": "xyz", "quats": "rotation", "log_scales": "scaling", "sh0": "features"}
    for ours, theirs in (names | {"opacity_logits": "opacity"}).items():
        mine = getattr(got, ours)
        theirs = tensors[f"output.{theirs}"][0].reshape(mine.shape)
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_a_released_model_takes_the_views_as_they_are(model, expected):
    """FaceLift hands the generated front to GS-LRM and refines nothing."""
    image = expected["input.image"].numpy()
    head = model(image, seed=4, steps=4, guidance=3.0, eta=0.0, prepared=True)
    assert_same_views(head.views, expected["output.eta0"])
    again = model.reconstruct(head.views)
    assert torch.equal(head.gaussians.sh0, again.sh0)


def test_views_follow_the_size_of_a_prepared_portrait(model):
    image = np.full((128, 128, 3), 200, np.uint8)
    assert model(image, steps=1, guidance=1.0, prepared=True).views.shape == (6, 3, 128, 128)
    with pytest.raises(UserError, match="multiple of 8"):
        model(np.full((70, 70, 3), 200, np.uint8), steps=1, prepared=True)


def test_the_command_line_writes_the_reference_picture(whole, tmp_path, expected):
    Image.fromarray(expected["input.image"].numpy()).save(tmp_path / "in.png")
    options = "--prepared --seed 4 --steps 4 --guidance 3 --eta 0 --device cpu --no-turntable"
    converted = tmp_path / "converted"
    assert run("convert", whole, converted) == 0
    for model, out in ((whole, "released"), (converted, "converted")):
        arguments = ["reconstruct", tmp_path / "in.png", "--model", model, "-o", tmp_path / out]
        assert run(*arguments, *options.split()) == 0
        got = np.asarray(Image.open(tmp_path / out / "in/multiview.png")).astype(float)
        views = expected["output.eta0"].mul(255).round().movedim(1, -1)
        assert np.abs(got - np.concatenate([*views.numpy()], axis=1)).max() <= 1


def run(*arguments):
    return run_command([str(a) for a in arguments])


def test_our_own_layout_is_the_same_model_without_pickles(model, expected, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    files = sorted(str(p.relative_to(tmp_path / "ours")) for p in (tmp_path / "ours").rglob("*.*"))
    stages = [f"{s}/{f}" for s in ("reconstructor", "views") for f in ("config.json", "model.safetensors")]
    assert files == ["README.md", "config.json", *stages]
    assert "Adobe Research License" in (tmp_path / "ours/README.md").read_text()
    read = FaceLift.from_pretrained(tmp_path / "ours", device="cpu")
    assert read.settings == model.settings
    for ours, theirs in ((read.views, model.views), (read.reconstructor, model.reconstructor)):
        assert ours.config == theirs.config
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor)
    views = read.views.generate(portrait(expected), 4, 4, 3.0, 0.0)
    assert_same_views(views, expected["output.eta0"])


def test_few_steps_of_dpm_solver_come_close_to_many_of_ddim(model, expected):
    image = portrait(expected)
    many = model.views.generate(image, 4, 40, 3.0, 0.0)
    ddim, dpm = (model.views.generate(image, 4, 10, 3.0, 0.0, scheduler=s) for s in ("ddim", "dpm++"))
    ddim, dpm = ((few - many).square().mean() for few in (ddim, dpm))
    assert dpm < ddim


def test_half_precision_stays_near(whole, expected):
    half = FaceLift.from_pretrained(whole, device="cpu", dtype="float16")
    assert (
        half.views.unet.conv_in.weight.dtype
        == half.reconstructor.blocks[0].mlp[0].weight.dtype
        == torch.float16
    )
    assert half.reconstructor.pixel_head.weight.dtype == torch.float32
    image = expected["input.image"].numpy()
    head = half(image, seed=4, steps=4, guidance=3.0, eta=0.0, prepared=True)
    assert head.views.dtype == torch.float32
    assert (head.views - expected["output.eta0"]).square().mean() < 1e-4


# --- the full size


def test_every_full_size_tensor_has_a_home():
    shapes = json.loads((GOLDEN / "full_size_shapes.json").read_text())
    views, reconstructor = (
        yaml.safe_load((ROOT / f"configs/paper/{part}.yaml").read_text())["model"]
        for part in ("views", "reconstructor")
    )
    with torch.device("meta"):
        generator = ViewGenerator(ViewGeneratorConfig(**views))
        gslrm = GSLRM(GSLRMConfig(**reconstructor))
    assert {k: list(v.shape) for k, v in generator.unet.state_dict().items()} == shapes["unet"]
    assert GSLRMConfig(**reconstructor) == GSLRMConfig(), "the defaults are the paper's"
    assert sum(p.numel() for p in gslrm.parameters()) == 303_565_824


# --- bad input: one sentence, nothing executed


def refused(folder, *parts):
    with pytest.raises(UserError) as caught:
        FaceLift.from_pretrained(folder, device="cpu")
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    for part in parts:
        assert part in message
    return message


PARTS = [
    f"{PIPELINE}/unet/config.json",
    f"{PIPELINE}/vae/diffusion_pytorch_model.safetensors",
    f"{PIPELINE}/tokenizer/vocab.json",
    f"{PIPELINE}/image_normalizer/diffusion_pytorch_model.safetensors",
    CHECKPOINT,
]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(folder, part):
    (folder / part).unlink()
    refused(folder, part, "missing")


@pytest.mark.parametrize("part", [p for p in PARTS if not p.endswith("vocab.json")])
def test_a_truncated_file_is_named(folder, part):
    data = (folder / part).read_bytes()
    (folder / part).write_bytes(data[: len(data) * 2 // 3])
    refused(folder, part)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "text_encoder", "image_normalizer"])
def test_a_tensor_of_another_shape_is_named(folder, part):
    path = next((folder / PIPELINE / part).glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file(tensors | {name: torch.zeros(3, 5)}, path)
    assert "[3, 5]" in refused(folder, name.rsplit(".", 1)[-1])


def test_a_reconstructor_of_another_shape_is_named(folder):
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    state["model"]["pixel_gaussian_decoder.1.weight"] = torch.zeros(3, 64)
    torch.save(state, folder / CHECKPOINT)
    refused(folder, CHECKPOINT, "pixel_head.weight")
    torch.save({"model": {}}, folder / CHECKPOINT)
    refused(folder, CHECKPOINT, "not a GS-LRM")
    torch.save({"weights": state["model"]}, folder / CHECKPOINT)
    refused(folder, CHECKPOINT, "'model'")


@pytest.mark.parametrize("protocol", ["torch", "plain"])
def test_code_in_a_pickle_is_not_run(folder, tmp_path, protocol):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    state = {"model": {"patch_embedder.1.weight": Bomb()}}
    if protocol == "torch":
        torch.save(state, folder / CHECKPOINT)
    else:
        (folder / CHECKPOINT).write_bytes(pickle.dumps(state))
    refused(folder, CHECKPOINT, "nothing in it was run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["{", "[]", "{}", '{"sample_size": "large"}'])
def test_a_damaged_configuration_is_named(folder, value):
    (folder / PIPELINE / "unet/config.json").write_text(value)
    refused(folder, str(folder))


def test_the_packaged_model_needs_no_transformers(whole):
    """And the released one says what to install."""
    code = (
        "import sys; sys.modules['transformers'] = sys.modules['peft'] = None\n"  # peft needs it
        "from facelift import FaceLift\n"
        "FaceLift.from_pretrained(device='cpu')\n"
        f"FaceLift.from_pretrained({str(whole)!r}, device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip().endswith("install it with pip install 'facelift[paper]'.")


def test_settings_of_a_folder_decide(model, tmp_path, expected):
    """What a model asks of the pipeline is read from its folder: keep the portrait, and the front is it."""
    model.save_pretrained(tmp_path)
    asked = replace(model.settings, keep_portrait=True, refinement=RefineConfig(steps=1))
    (tmp_path / "config.json").write_text(json.dumps(asdict(asked)))
    head = FaceLift.from_pretrained(tmp_path, device="cpu")(
        expected["input.image"].numpy(), steps=1, guidance=1.0, prepared=True
    )
    assert torch.equal(head.views[0], head.portrait)
