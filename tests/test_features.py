"""The network that knows faces, and the loss by its features."""

import json

import numpy as np
import pytest
import torch
from heads import write_balls, write_config
from PIL import Image
from torch.nn import functional as F

from facelift.data.parts import OTHER, PARTS
from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.train import run
from facelift.train.features import KINDS, Features, FeaturesConfig, load_features, perceptual_loss

SMILE = "expression/units/asian/smile"


@pytest.fixture
def people(tmp_path):
    """Four balls of different colours; what is not background is skin, and every other one smiles."""
    root = write_balls(tmp_path / "balls", 4)
    for i, head in enumerate(sorted((root / "canonical").iterdir())):
        (head / "parts").mkdir()
        for path in head.glob("cam_*.png"):
            parts = Image.fromarray((np.array(Image.open(path))[..., 3] > 127).astype(np.uint8))
            parts.putpalette([0, 0, 0, 240, 190, 160])
            parts.save(head / "parts" / path.name.replace("cam", "part"))
        (head / "person.json").write_text(json.dumps({"targets": {SMILE: 0.5 * (i % 2), "nose/long": 1.0}}))
    return root


def learned(tmp_path, people, steps):
    config = write_config(
        tmp_path / "features.yaml",
        model={"widths": [16, 16, 32], "identity": 8},
        training={"data": f"{people}/canonical"},
        loop={"batch": 4, "lr": 1e-2, "warmup": 5, "max_steps": steps, "ema": 0.8},
    )
    run("features", config, tmp_path / "run", device="cpu")
    return load_features(tmp_path / "run/features")


def test_parts_are_read_as_numbers_not_as_colours(people):
    folder = HeadFolder(people / "canonical")
    head = folder.heads[0]
    parts, views = folder.parts(head, [0, 3]), folder.load(head, [0, 3])
    assert torch.equal(parts > 0, views.alpha[:, 0] > 0.5) and parts.max() == 1
    assert PARTS[1] == "skin" and OTHER >= KINDS - 1


def test_heads_without_parts_are_refused_in_one_sentence(people):
    folder = HeadFolder(people / "canonical")
    (people / "canonical" / folder.heads[1] / "parts/part_000.png").unlink()
    with pytest.raises(UserError, match="--truth all"):
        folder.parts(folder.heads[1], [0])


@pytest.mark.training
def test_it_learns_parts_people_and_expressions(tmp_path, people):
    network, folder = learned(tmp_path, people, 120), HeadFolder(people / "canonical")
    assert list(network.config.expressions) == ["smile"], "the shape of a nose is no expression"
    with torch.no_grad():
        found = [network.understand(folder.load(head, [0, 1]).images) for head in folder.heads]
    true = torch.stack([folder.parts(head, [0, 1]) for head in folder.heads])[..., 2::4, 2::4]
    seen = torch.stack([each.parts for each in found]).argmax(2)
    assert (seen == true).float().mean() > 0.95
    fronts, asides = (torch.stack([each.identity[i] for each in found]) for i in (0, 1))
    assert torch.equal((fronts @ asides.mT).argmax(1), torch.arange(4)), "each is most like itself"
    smiles = torch.stack([each.expression[0, 0] for each in found]) > 0
    assert smiles.tolist() == [False, True, False, True]


@pytest.mark.training
def test_a_network_without_faces_to_learn_expressions_from_says_so(tmp_path, people):
    for record in people.glob("canonical/*/person.json"):
        record.write_text(json.dumps({"targets": {"nose/long": 1.0}}))
    with pytest.raises(UserError, match="expression"):
        learned(tmp_path, people, 1)


def test_the_loss_tells_pictures_apart_and_pulls_them_together():
    torch.manual_seed(0)
    features = Features(FeaturesConfig(widths=(16, 16), expressions=("smile",))).requires_grad_(False)
    truth = torch.rand(2, 3, 32, 32)
    assert perceptual_loss(features, truth, truth) == 0
    blurred = F.avg_pool2d(truth, 3, 1, 1)
    near, far = (perceptual_loss(features, truth.lerp(blurred, t), truth) for t in (0.3, 1.0))
    assert 0 < near < far < 2 * 4, "two vectors of length one are no farther apart than that"

    image = blurred.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        perceptual_loss(features, image, truth).backward()
        optimizer.step()
    assert (image - truth).abs().mean() < 0.7 * (blurred - truth).abs().mean()
