"""The network that knows faces, and the loss by its features."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from descent import assert_learns, losses_of
from heads import write_balls, write_config
from PIL import Image
from small import CPU
from torch.nn import functional as F

from facelift.data.parts import OTHER, PARTS
from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.train import run
from facelift.train.features import (
    PART_CLASSES,
    FeatureOutput,
    Features,
    FeaturesConfig,
    FeaturesTask,
    FeaturesTraining,
    load_features,
    perceptual_loss,
)

pytestmark = pytest.mark.usefixtures("float32")

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
    assert PARTS[1] == "skin" and OTHER >= PART_CLASSES - 1


def test_heads_without_parts_are_refused_in_one_sentence(people):
    folder = HeadFolder(people / "canonical")
    (people / "canonical" / folder.heads[1] / "parts/part_000.png").unlink()
    with pytest.raises(UserError, match="--truth all"):
        folder.parts(folder.heads[1], [0])


def learning(people):
    torch.manual_seed(0)
    config = FeaturesConfig(widths=(16, 16, 32), identity=8)
    return FeaturesTask(config, FeaturesTraining(f"{people}/canonical"), CPU)


def test_it_learns_parts_people_and_expressions(people):
    task = learning(people)
    assert list(task.model.config.expressions) == ["smile"], "the shape of a nose is no expression"
    assert [float(task._shown(head)) for head in task.folder.heads] == [0, 1, 0, 1]
    assert losses_of(task, batch=4).keys() == {"parts", "identity", "expression", "total"}
    assert_learns(task, batch=4)


def test_its_losses_are_least_for_who_sees_everything(people):
    """Two pictures each of three people: where each part is, who is like whom, and who smiles."""
    task = learning(people)
    parts = torch.arange(6 * 8 * 8).view(6, 8, 8) % PART_CLASSES
    shown = torch.tensor([1.0, torch.nan, 0.0, 1.0, 0.0, 0.0])[:, None]
    right = FeatureOutput(
        parts=20.0 * F.one_hot(parts[:, 2::4, 2::4], PART_CLASSES).movedim(-1, 1),
        identity=torch.eye(3).repeat_interleave(2, dim=0),
        expression=20.0 * (2 * shown.nan_to_num(0.0) - 1),
    )
    assert all(loss < 1e-3 for loss in task._losses(right, parts, shown).values())
    wrong = {
        "parts": replace(right, parts=right.parts.roll(1, dims=1)),
        "identity": replace(right, identity=right.identity.roll(1, dims=0)),
        "expression": replace(right, expression=-right.expression),
    }
    for name, understood in wrong.items():
        losses = task._losses(understood, parts, shown)
        assert [other for other, loss in losses.items() if loss > 1] == [name]


@pytest.mark.training
def test_what_it_learnt_is_exported(tmp_path, people):
    network = learned(tmp_path, people, 2)
    assert network.config.identity == 8 and list(network.config.expressions) == ["smile"]
    assert not torch.equal(network.identity_head.weight, learning(people).model.identity_head.weight)


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
    loss = perceptual_loss(features, image, truth)
    loss.backward()
    rate = 0.002 * loss.detach() / image.grad.square().sum()
    moved = perceptual_loss(features, image.detach() - rate * image.grad, truth)
    assert (loss - moved).item() == pytest.approx(0.002 * loss.item(), rel=0.2), "as its gradient promises"
    assert (image.grad * (image.detach() - truth)).sum() > 0, "towards the truth"
