"""Model folders: what is written is what is read, and what is damaged is refused in a sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from facelift import weights
from facelift.errors import UserError
from facelift.portrait.network import PortraitNetwork, PortraitNetworkConfig
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.weights import find_model, load_reconstructor, load_views, save_model

TINY = GSLRMConfig(image_size=32, width=64, layers=1, head_dim=32)
PACKAGED = sorted(p for p in weights.PACKAGED.iterdir() if p.is_dir()) if weights.PACKAGED.is_dir() else []


@pytest.fixture
def saved(tmp_path):
    model = GSLRM(TINY)
    model.init_weights()
    save_model(model, tmp_path / "reconstructor", torch.float32)
    return model, tmp_path / "reconstructor"


def test_round_trip_is_exact(saved):
    model, folder = saved
    read = load_reconstructor(folder)
    assert read.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, read.state_dict()[name])
    assert not any(p.requires_grad for p in read.parameters())


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle(folder: Path) -> None:
    torch.save({"x": torch.ones(1)}, folder / "model.safetensors")


def reshape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"width": 128}))


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def foreign_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"speed": 3}')


@pytest.mark.parametrize("damage", [truncate, empty, remove, pickle, reshape, break_config, foreign_config])
def test_damaged_models_are_one_sentence(saved, damage):
    _, folder = saved
    damage(folder)
    with pytest.raises(UserError) as error:
        load_reconstructor(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_unknown_model_names_what_there_is(tmp_path):
    with pytest.raises(UserError, match="No model at"):
        find_model("nobody")
    with pytest.raises(UserError, match="No model at"):
        find_model(tmp_path)


def test_a_name_cannot_leave_the_package(tmp_path):
    with pytest.raises(UserError):
        find_model("../pretrained/../train")


@pytest.mark.parametrize("folder", PACKAGED, ids=lambda p: p.name)
def test_packaged_models_load_and_are_small(folder):
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 90e6
    assert (folder / "README.md").is_file(), "a model card"
    views, reconstructor = load_views(folder / "views"), load_reconstructor(folder / "reconstructor")
    assert views.config.image_size == reconstructor.config.image_size


def test_a_model_keeps_its_network_for_portraits_and_one_without_has_the_packaged_one(tmp_path):
    packaged = weights.load_portrait_network(find_model(None))
    assert packaged is not None
    torch.manual_seed(0)
    own = PortraitNetwork(PortraitNetworkConfig(widths=(16, 16, 16), width=32, layers=1, head_dim=16))
    save_model(own, tmp_path / "own/portrait")
    read = weights.load_portrait_network(tmp_path / "own")
    assert read is not None and read.config.widths == [16, 16, 16]
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], tensor, atol=1e-3, rtol=0)
    fallback = weights.load_portrait_network(tmp_path / "none")
    assert fallback is not None
    assert torch.equal(fallback.pixel_head.weight, packaged.pixel_head.weight)


def test_the_default_model_is_packaged():
    assert find_model(None) == weights.PACKAGED / "mini"


def test_a_folder_is_a_model(tmp_path):
    for part in ("views", "reconstructor"):
        shutil.copytree(weights.PACKAGED / "mini" / part, tmp_path / part)
    assert find_model(tmp_path) == tmp_path
