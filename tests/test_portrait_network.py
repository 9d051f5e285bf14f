"""The network that describes portraits: its shapes, what it learns from, and what its depth becomes."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from descent import assert_learns, losses_of
from heads import write_ball, write_config
from PIL import Image

from facelift.cameras import RADIUS, canonical_rig
from facelift.data.attributes import ATTRIBUTES, attributes_of
from facelift.data.parts import part_id
from facelift.data.portraits import PortraitFolder
from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.portrait.depth import surface_distances
from facelift.portrait.network import (
    PortraitNetwork,
    PortraitNetworkConfig,
    PortraitPrediction,
    position_embedding,
    stack_inputs,
)
from facelift.train import run
from facelift.train.portrait import (
    PortraitTask,
    PortraitTraining,
    gradient_loss,
    hair_loss,
    maps_loss,
    relief_loss,
)
from facelift.train.portrait_samples import UNKNOWN, Chances, PortraitSampler, Scene, frame_portrait
from facelift.train.task import generator_for
from facelift.weights import load_portrait_network

CPU = torch.device("cpu")
SMALL = PortraitNetworkConfig(widths=(16, 16, 16), width=32, layers=1, head_dim=16)
PLAIN = Chances(half_profile=0, portrait=0, white=1, bystander=0, shadow=0, covered=0, cropped=0)
BALL_RADIUS = 0.7


def a_network(config: PortraitNetworkConfig = SMALL) -> PortraitNetwork:
    torch.manual_seed(0)
    return PortraitNetwork(config).eval()


def write_head(root, seed: int = 1000, size: int = 64):
    """A ball with all truth: skin before and hair behind."""
    folder, rig = root / f"head_{seed:06d}", canonical_rig(size)
    write_ball(folder, rig, BALL_RADIUS, (0.2, 0.2, 0.2))
    origins, directions = rig.rays()
    along = -(origins * directions).sum(-1)
    gap = BALL_RADIUS**2 - ((origins + along[..., None] * directions) ** 2).sum(-1)
    normals = (origins + (along - gap.clamp_min(0).sqrt())[..., None] * directions) / BALL_RADIUS
    hit = (gap > 0).numpy()
    for kind in ("normals", "parts"):
        (folder / kind).mkdir()
    for i in range(6):
        rgb = ((normals[i].numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8) * hit[i][..., None]
        Image.fromarray(rgb).save(folder / "normals" / f"normal_{i:03d}.png")
        hair = normals[i, ..., 1].numpy() > 0
        parts = np.where(hair, part_id("hair"), part_id("skin")) * hit[i]
        image = Image.fromarray(parts.astype(np.uint8)).convert("P")
        image.putdata(parts.astype(np.uint8).flatten().tolist())
        image.save(folder / "parts" / f"part_{i:03d}.png")
    scale = size / 64
    marks = [
        [41.5 * scale, 19.5 * scale, 1] if i in (36, 45) else [32.0 * scale, 44.0 * scale, 1]
        for i in range(68)
    ]
    (folder / "landmarks.json").write_text(json.dumps({"views": [marks] * 6}))
    (folder / "person.json").write_text(json.dumps({"male": 0.9, "age": 50, "glasses": None, "beard": {}}))
    return folder


@pytest.fixture
def heads(tmp_path):
    for seed in (1000, 1001):
        write_head(tmp_path / "heads", seed)
    return tmp_path / "heads"


@pytest.fixture
def portraits(tmp_path):
    """One labelled portrait: a disc on green, half of it hair, and points on a plane that leans back."""
    folder = tmp_path / "portraits"
    folder.mkdir()
    y, x = np.mgrid[:96, :96] + 0.5
    disc = np.hypot(x - 48, y - 48) < 30
    rgb = np.where(disc[..., None], [200, 100, 50], [0, 160, 0]).astype(np.uint8)
    cv2.imwrite(str(folder / "000.jpg"), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    cv2.imwrite(str(folder / "000.matte.png"), (255 * disc).astype(np.uint8))
    cv2.imwrite(str(folder / "000.hair.png"), (255 * (disc & (y < 48))).astype(np.uint8))
    rng = np.random.default_rng(0)
    points = np.dstack([rng.uniform(30, 66, (1, 478)), rng.uniform(30, 66, (1, 478))])[0]
    points = np.column_stack([points, 0.5 * points[:, 1]])
    (folder / "labels.json").write_text(json.dumps({"000": {"points": points.tolist()}}))
    return folder


# --- the network -----------------------------------------------------------------------------------------


def test_any_size_gives_pixels_of_that_size():
    network, rgb, prior = a_network(), torch.rand(3, 64, 48), torch.randn(64, 48)
    found = network.predict(rgb, prior)
    direct = network(stack_inputs(rgb[None], prior[None, None]))
    torch.testing.assert_close(found.depth, direct.depth)
    assert found.parts.shape == (1, 12, 64, 48) and found.maps.shape == (1, 68, 16, 12)
    torch.testing.assert_close(found.normals.norm(dim=1), torch.ones(1, 64, 48))
    odd = network.predict(rgb[:, :51, :37], prior[:51, :37])
    assert odd.logits.shape == (1, 1, 51, 37) and odd.normals.shape == (1, 3, 51, 37)


def test_it_answers_what_it_is_asked():
    asked = {"sex": ("female", "male"), "hair": ("none", "short", "long")}
    found = a_network(replace(SMALL, attributes=asked)).predict(torch.rand(3, 32, 32), torch.zeros(32, 32))
    assert {name: logits.shape for name, logits in found.attributes.items()} == {
        "sex": (1, 2),
        "hair": (1, 3),
    }


def test_every_place_has_its_own_embedding():
    embedding = position_embedding(3, 5, 32)
    apart = torch.cdist(embedding, embedding) + 9 * torch.eye(15)
    assert embedding.shape == (15, 32) and apart.min() > 0.3
    columns = embedding.view(3, 5, 32)[..., 16:]
    assert torch.equal(columns[0], columns[2]), "a column has the same half in every row"


@pytest.mark.parametrize("wrong", [{"widths": (16, 16)}, {"widths": (16, 16, 20)}, {"width": 40}])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="width"):
        replace(SMALL, **wrong)


# --- what is true of a photo -----------------------------------------------------------------------------


def test_truth_moves_with_its_pixels(tmp_path):
    """A dot on one landmark; depth and normals of a ball, which tell where its middle is."""
    head = write_head(tmp_path)
    rgba = np.array(Image.open(head / "cam_000.png"))
    rgba[18:21, 40:43] = 255  # about (41.5, 19.5)
    Image.fromarray(rgba).save(head / "cam_000.png")
    sampler = PortraitSampler(HeadFolder(tmp_path), 64, PLAIN)
    sides = set()
    for i in range(12):
        sample = sampler.photo(generator_for(5, i))
        x, y = sample.points[36]
        sides.add(bool(x > 32))
        bright = sample.photo[:3].mean(0) * (sample.alpha[0] > 0.9)
        row, column = divmod(int(bright.argmax()), 64)
        assert abs(column + 0.5 - x) < 2 and abs(row + 0.5 - y) < 2
        solid = sample.depth[0].isfinite()
        nearest = torch.where(solid, sample.depth[0], torch.inf)
        assert float(nearest.min()) == pytest.approx(-BALL_RADIUS, abs=0.01)
        row, column = divmod(int(nearest.argmin()), 64)
        assert sample.normals[2, row, column] < -0.95, "the nearest place faces the camera"
        edge = solid.nonzero()[solid.nonzero()[:, 1].argmax()]
        assert sample.normals[0, edge[0], edge[1]] > 0.8, "the rightmost one faces right"
    assert sides == {True, False}, "some are mirrored"
    framed = sampler.photo(generator_for(5, 0), moved=False)
    torch.testing.assert_close(framed.points[36], torch.tensor([41.5, 19.5]))
    assert set(framed.parts.unique().tolist()) == {0, part_id("skin")}
    (head / "landmarks.json").unlink()
    with pytest.raises(UserError, match="--truth all"):
        sampler.photo(generator_for(5, 0))


def test_turning_a_scene_turns_its_normals():
    right = np.zeros((8, 8, 3), np.float32)
    right[..., 0] = 1
    plane = np.zeros((8, 8), np.float32)
    scene = Scene(
        np.zeros((8, 8, 4), np.float32), plane, plane, right, plane.astype(np.uint8), plane,
        np.array([[8.0, 4.0]]), np.zeros((0, 3)), {},
    )  # fmt: skip
    turned = scene.moved(cv2.getRotationMatrix2D((3.5, 3.5), -90, 1.0))  # clockwise, as one sees it
    np.testing.assert_allclose(turned.normals[4, 4], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(turned.points, [[4.0, 8.0]], atol=1e-5)


def test_what_lies_beyond_the_photo_teaches_nothing(heads):
    sampler = PortraitSampler(HeadFolder(heads), 64, replace(PLAIN, cropped=1))
    samples = [sampler.photo(generator_for(1, i)) for i in range(8)]
    cut = [sample for sample in samples if not sample.alpha.isfinite().all()]
    assert cut
    for sample in cut:
        beyond = ~sample.alpha[0].isfinite()
        assert (sample.parts[beyond] == UNKNOWN).all() and not sample.depth[0][beyond].isfinite().any()
        assert (sample.normals[:, beyond] == 0).all() and sample.photo.isfinite().all()


def test_a_seed_draws_the_same_photo(heads, portraits):
    network = a_network()
    chances = Chances(portrait=0.5)
    sampler = PortraitSampler(HeadFolder(heads), 64, chances, PortraitFolder(portraits), network.framing)
    for i in range(6):
        one, again = (sampler.photo(generator_for(3, i)) for _ in range(2))
        assert torch.equal(one.photo, again.photo) and torch.equal(one.parts, again.parts)


def test_attributes_of_a_head(heads):
    answers = attributes_of(HeadFolder(heads), "head_001000")
    named = {name: ATTRIBUTES[name][answer] for name, answer in answers.items()}
    assert named == {
        "sex": "male", "age": "45 to 59", "glasses": "no", "beard": "no", "head": "bare",
        "hair_behind": "to the shoulders",
    }  # fmt: skip


# --- labelled portraits ----------------------------------------------------------------------------------


def test_a_portrait_is_framed_with_its_labels(portraits):
    portrait = PortraitFolder(portraits).load(0)
    framed = portrait.framed(58.0, 48.0, 48.0, 96)  # twice as large, its centre 10 pixels to the right
    assert framed.image.shape == (96, 96, 3)
    np.testing.assert_allclose(framed.image[48, 28], np.array([200, 100, 50]) / 255, atol=0.05)
    assert framed.alpha[48, 84] > 0.95 and framed.alpha[48, 92] < 0.05, (
        "the disc ends 30 pixels from its centre"
    )
    assert framed.hair[40, 28] > 0.95 and framed.hair[56, 28] < 0.05
    assert framed.known.min() == 1 and portrait.framed(90.0, 48.0, 48.0, 96).known[:, 80:].max() == 0
    np.testing.assert_allclose(framed.landmarks, (portrait.landmarks - [58, 48]) * 2 + 48, atol=1e-4)
    slope = np.polyfit(framed.relief[:, 1], framed.relief[:, 2], 1)[0]
    visible = 2 * RADIUS * np.tan(np.radians(25)) / 96  # world units a pixel at the head's distance
    assert slope == pytest.approx(0.5 * visible, rel=1e-3)


def test_a_portrait_before_its_own_background_is_the_photo(portraits):
    network = a_network()
    network.framing.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    scene = frame_portrait(PortraitFolder(portraits).load(0), network.framing, 64)
    person, behind = scene.person, scene.behind
    np.testing.assert_allclose(person[..., :3] + (1 - person[..., 3:]) * behind, behind, atol=1e-5)


def test_portraits_without_labels_are_refused(portraits):
    (portraits / "000.hair.png").unlink()
    with pytest.raises(UserError, match=r"000\.hair\.png"):
        PortraitFolder(portraits).load(0)
    (portraits / "labels.json").write_text(json.dumps({"000": {"points": [[1, 2, 3]]}}))
    with pytest.raises(UserError, match="478 points"):
        PortraitFolder(portraits)
    (portraits / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels\.json"):
        PortraitFolder(portraits)


# --- losses ----------------------------------------------------------------------------------------------


def test_maps_that_are_as_they_should_be_tell_the_point():
    torch.manual_seed(0)
    points = torch.rand(5, 2) * torch.tensor([28, 12]) + 2  # of 32 x 16 pixels, in 8 x 4 cells
    maps = torch.zeros(5, 4, 8, requires_grad=True)
    optimizer = torch.optim.Adam([maps], 0.3)
    for _ in range(300):
        optimizer.zero_grad()
        maps_loss(maps, points).backward()
        optimizer.step()
    torch.testing.assert_close(prediction(maps[None].detach()).points[0], points, atol=0.1, rtol=0)
    peak = torch.zeros(1, 1, 4, 8)
    peak[0, 0, 1, 5] = 100
    assert prediction(peak).points.tolist() == [[[22.0, 6.0]]]
    assert prediction(peak).entropy.item() == pytest.approx(0, abs=1e-5)
    assert prediction(0 * peak).entropy.item() == pytest.approx(np.log(32))


def prediction(maps: torch.Tensor) -> PortraitPrediction:
    nothing = torch.zeros(1)
    return PortraitPrediction(nothing, nothing, nothing, nothing, maps, {})


def test_only_the_shape_of_depth_has_gradients_and_edges_count_not():
    truth = torch.linspace(0, 0.2, 32).expand(1, 1, 32, 32).clone()
    truth[..., 16:] += 1.0  # another surface
    assert gradient_loss(truth + 5.0, truth) < 1e-6
    assert gradient_loss(truth - (truth > 1) * 0.5, truth) < 1e-6, (
        "how far apart two surfaces are is no slope"
    )
    flat, steep = gradient_loss(0 * truth, truth), gradient_loss(-truth, truth)
    torch.testing.assert_close(steep, 2 * flat)
    truth[..., :16, :] = torch.nan
    assert gradient_loss(truth.nan_to_num(7.0), truth) == 0


def test_hair_is_the_cross_entropy_of_what_is_known():
    share, hair = torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[1.0, torch.nan]]])
    assert hair_loss(share.log(), hair).item() == pytest.approx(-np.log(0.2))


def test_relief_knows_no_distance(heads):
    sample = PortraitSampler(HeadFolder(heads), 64, PLAIN).photo(generator_for(1, 0))
    assert relief_loss(torch.zeros(1, 1, 64, 64), [sample]).isnan(), "heads have depth, not relief"
    depth = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    x = torch.tensor([10.5, 20.5, 50.5])
    points = torch.stack([x, x, (x - 0.5) / 63 + 3.0], dim=-1)
    labelled = replace(sample, relief=points)
    assert relief_loss(depth, [sample, labelled][1:]) < 1e-6
    assert relief_loss(depth, [replace(sample, relief=points * torch.tensor([1, 1, 0]))]) > 0.1


# --- training --------------------------------------------------------------------------------------------


def test_it_learns_from_heads_and_portraits(heads, portraits):
    chances = Chances(portrait=0.4)
    training = PortraitTraining(str(heads), str(portraits), size=64, chances=chances)
    torch.manual_seed(0)
    task = PortraitTask(SMALL, training, CPU)
    kinds = {"matte", "wrong", "parts", "hair", "depth", "steps", "degrees", "pixels", "relief", "total"}
    assert losses_of(task, batch=8).keys() == kinds | set(ATTRIBUTES)
    assert_learns(task, batch=8)
    assert task.picture().shape == (3, 5 * 64, 8 * 64)


def test_a_training_goes_on_from_another(tmp_path, heads):
    config = write_config(
        tmp_path / "portrait.yaml",
        model={"widths": [16, 16, 16], "width": 32, "layers": 1, "head_dim": 16},
        training={"data": str(heads), "size": 64, "chances": {"bystander": 0.0}},
        loop={"batch": 2, "warmup": 1, "max_steps": 1, "ema": 0.5},
    )
    run("portrait", config, tmp_path / "run", device="cpu")
    trained = load_portrait_network(tmp_path / "run")
    assert trained is not None
    start = PortraitTraining(str(heads), init_from=str(tmp_path / "run/portrait"), size=64)
    task = PortraitTask(SMALL, start, CPU)
    for name, tensor in trained.state_dict().items():
        if name.startswith("framing"):  # which is fitted to the heads at once
            continue
        torch.testing.assert_close(task.model.state_dict()[name], tensor, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="does not fit the `model`"):
        PortraitTask(replace(SMALL, width=48), start, CPU)


# --- depth -----------------------------------------------------------------------------------------------


class Plane:
    """In place of the network: a plane before the head's centre, and nobody on the left."""

    def predict(self, rgb, prior):
        assert prior.max() > 0
        logits = torch.where(torch.arange(rgb.shape[-1]) < 8, -9.0, 9.0).expand(1, *rgb.shape[1:])
        depth = torch.full((1, 1, *rgb.shape[1:]), -0.25)
        return PortraitPrediction(logits[None], depth, depth, depth, depth, {})


def test_depth_places_pixels_on_their_rays():
    camera = canonical_rig(32)[[0]]
    distance = surface_distances(Plane(), torch.ones(3, 32, 32), camera)
    assert distance.shape == (38, 32) and distance[:, :8].isnan().all()
    origins, directions = camera.rays()
    points = (origins + distance[:32, :, None] * directions)[0, :, 8:]
    torch.testing.assert_close(points[..., 1], torch.full((32, 24), -0.25), atol=1e-5, rtol=0)
    assert torch.equal(distance[32:, 8:], distance[31, 8:].expand(6, -1))
