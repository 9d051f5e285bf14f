"""Models and configurations of version 0.1 have other names; they are still read."""

from dataclasses import asdict, fields

import pytest
import torch
from heads import write_balls, write_config
from small import RECONSTRUCTOR

import facelift.train
from facelift import old_names
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.refine import RefineConfig
from facelift.train.config import LoopConfig
from facelift.train.stages import STAGES
from facelift.views import ViewGeneratorConfig
from facelift.weights import Settings

TINY = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_dim": 16}


def test_fields_of_a_reconstructor():
    old = GSLRMConfig.from_dict(**TINY, crown=(2, 2), detail=(4, 4), margin=16, aspect=3.0, floor=-1.4)
    assert (old.overhead_tokens, old.refinement_unet, old.bottom_padding) == ((2, 2), (4, 4), 16)
    assert (old.max_aspect_ratio, old.min_z) == (3.0, -1.4)
    assert GSLRMConfig.from_dict(**old.to_dict()) == old


def test_tensors_of_a_refinement_unet():
    model = GSLRM(GSLRMConfig(**TINY, refinement_unet=(4, 4)))
    state = model.state_dict()
    old = {
        name.replace("refinement_unet.", "detail.")
        .replace("conv_in.", "enter.")
        .replace("conv_out.", "leave."): torch.full_like(value, 0.5)
        for name, value in state.items()
    }
    assert any(name.startswith("detail.enter.") for name in old)
    model.load_state_dict(old)
    assert all((value == 0.5).all() for value in model.state_dict().values())


def test_fields_of_a_view_generator():
    old = ViewGeneratorConfig.from_dict(
        image_size=32, unet={}, autoencoder={}, drafts=True, fold=4, components=True
    )
    assert (old.warped_views, old.pixel_unshuffle, old.patch_pca) == (True, 4, True)
    assert ViewGeneratorConfig.from_dict(**old.to_dict()) == old


def test_fields_of_a_training_and_of_its_validation(tmp_path, monkeypatch):
    """Each old name, wherever a configuration may have it, sets the field that it is now."""
    balls, seen = write_balls(tmp_path / "balls"), {}
    write_balls(tmp_path / "held", 1, first_seed=900)
    folders = {"canonical": f"{balls}/canonical", "orbit": f"{balls}/orbit"}
    held = {name: path.replace("balls", "held") for name, path in folders.items()}

    def train(task, loop, out, minutes, held_out):
        seen["training"], seen["validation"] = task.training, held_out.training

    monkeypatch.setattr(facelift.train, "train", train)
    config = write_config(
        tmp_path / "old.yaml",
        model=RECONSTRUCTOR,
        training=folders | {"imagined": 0.4, "alone": 0.2, "wild_share": 0.3},
        validation=held | {"alone": 0.1},
    )
    facelift.train.run("reconstructor", config, tmp_path / "run", device="cpu")
    found = asdict(seen["training"])
    assert (found["generated_share"], found["front_only_share"], found["unposed_share"]) == (0.4, 0.2, 0.3)
    assert seen["validation"].front_only_share == 0.1
    assert seen["validation"].generated_share == 0.4


def test_fields_of_a_fit():
    old = Settings.from_dict(refinement={"imagined_weight": 0.5, "recolor_imagined": 0.1})
    assert old.refinement == RefineConfig(generated_weight=0.5, recolor_generated=0.1)


@pytest.mark.parametrize(
    ("table", "classes"),
    [
        (old_names.VIEW_GENERATOR, [ViewGeneratorConfig]),
        (old_names.RECONSTRUCTOR, [GSLRMConfig]),
        (old_names.REFINEMENT, [RefineConfig]),
        (old_names.LOOP, [LoopConfig]),
        (old_names.TRAINING, [parts.training for parts in STAGES.values()]),
    ],
)
def test_every_table_leads_to_fields_that_there_are(table, classes):
    """An old name that is a field again would be read as another one."""
    now = {field.name for cls in classes for field in fields(cls)}
    assert set(table.values()) <= now and not set(table) & now
