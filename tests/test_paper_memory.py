"""What makes a training of the paper's size fit: LoRA, checkpointing, 8-bit moments, and advice in time."""

import sys
import types
from dataclasses import replace

import pytest
import torch
from descent import assert_learns, losses_of
from heads import write_balls
from paper import reconstructor_config, views_config, write_heads, write_unclip, write_vgg19
from small import CPU

from facelift.errors import UserError
from facelift.reconstruct import GSLRMConfig
from facelift.train.config import LoopConfig, read_yaml, structured
from facelift.train.memory import advice, explaining_memory
from facelift.train.optimizers import build_optimizers
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig
from facelift.weights import load_views

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A configuration of the paper's view generator, tiny, and the training in it."""
    folder = tmp_path_factory.mktemp("views")
    heads = write_balls(folder / "heads", count=2, size=64)
    path = views_config(folder, write_unclip(folder / "unclip"), heads)
    parts = read_yaml(path)
    model = structured(ViewGeneratorConfig, parts["model"], path, "model")
    return model, structured(ViewsTraining, parts["training"], path, "training")


def gradient(task):
    losses = losses_of(task, batch=1)
    return losses["total"], torch.cat(
        [p.grad.flatten() for p in task.model.parameters() if p.grad is not None]
    )


def test_lora_trains_a_fraction_and_is_exported_without_peft(tmp_path, views):
    model, training = views
    task = ViewsTask(replace(training, lora_rank=2), CPU, model)
    whole = sum(p.numel() for p in task.generator.unet.parameters())
    few = sum(p.numel() for p in task.model.parameters())
    assert few < 0.1 * whole and len(task.model.state_dict()) > 20
    assert_learns(task, batch=1)
    task.export(tmp_path)
    exported = load_views(tmp_path / "views")
    names = set(exported.state_dict())
    assert not any("lora" in name for name in names)
    latents, label = torch.randn(1, 6, 4, 8, 8), torch.randn(1, 6, 40)
    with torch.no_grad():
        for generator in (task.generator, exported):
            generator.eval()
        seen = [
            g.predict(latents, torch.tensor([400]), latents[:, :1], label) for g in (task.generator, exported)
        ]
    assert (seen[0] - seen[1]).abs().max() < 0.02 * seen[0].abs().max(), "as it is, but in float16"


def test_checkpointing_changes_no_gradient_of_the_view_generator(views):
    model, training = views
    plain, saving = (
        gradient(ViewsTask(replace(training, gradient_checkpointing=saves), CPU, model))
        for saves in (False, True)
    )
    assert plain[0] == pytest.approx(saving[0], rel=1e-5)
    assert (plain[1] - saving[1]).norm() < 0.02 * plain[1].norm()


def test_checkpointing_changes_no_gradient_of_the_reconstructor(tmp_path):
    vgg19 = write_vgg19(tmp_path / "vgg.safetensors")
    path = reconstructor_config(tmp_path, "reconstructor_256", write_heads(tmp_path / "heads", 32), vgg19)
    parts = read_yaml(path)
    config = structured(GSLRMConfig, parts["model"], path, "model")
    training = structured(ReconstructorTraining, parts["training"], path, "training")
    found = []
    for saves in (False, True):
        torch.manual_seed(0)
        found.append(
            gradient(ReconstructorTask(config, replace(training, gradient_checkpointing=saves), CPU))
        )
    torch.testing.assert_close(found[0], found[1])


def test_moments_in_8_bits_are_bitsandbytes(monkeypatch):
    model = torch.nn.Linear(2, 2)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match=r"facelift\[bitsandbytes\]"):
        next(build_optimizers(model, 1e-3, 0.0, {}, (0.9, 0.99), 0.1, adam_8bit=True))
    optim = types.ModuleType("bitsandbytes.optim")
    optim.AdamW8bit = lambda groups, **given: (len(groups[0]["params"]), given)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", optim)
    (made,) = build_optimizers(model, 1e-3, 0.0, {}, (0.9, 0.99), 0.1, adam_8bit=True)
    assert made == ((2, {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}), 1e-3)


def test_lora_without_peft_says_what_to_install(views, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    model, training = views
    with pytest.raises(UserError, match=r"facelift\[lora\]"):
        ViewsTask(replace(training, lora_rank=2), CPU, model)


def test_what_does_not_fit_is_told_what_would():
    training, loop = ViewsTraining("heads", init_from="unclip"), LoopConfig(batch=8)
    steps = []
    for changes, in_loop in (
        ({}, {}),
        ({"micro_batch": 4}, {}),
        ({"micro_batch": 1}, {}),
        ({"micro_batch": 1, "gradient_checkpointing": True}, {}),
        ({"micro_batch": 1, "gradient_checkpointing": True}, {"adam_8bit": True}),
        ({"micro_batch": 1, "gradient_checkpointing": True, "lora_rank": 4}, {"adam_8bit": True}),
    ):
        said = advice(replace(training, **changes), replace(loop, **in_loop))
        steps.append(said.split("`")[1])
    assert steps == [
        "micro_batch: 4",
        "micro_batch: 2",
        "gradient_checkpointing: true",
        "adam_8bit: true",
        "lora_rank: 16",
        "model",
    ]
    told = pytest.raises(UserError, match="does not fit into memory: set `micro_batch: 4`")
    with told, explaining_memory(training, loop):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
    with pytest.raises(RuntimeError, match="shapes"), explaining_memory(training, loop):
        raise RuntimeError("shapes do not match")
