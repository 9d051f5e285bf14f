"""Training on folders as the generator writes them: real loops, small models, a few seconds each."""

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from heads import write_ball, write_balls, write_config
from PIL import Image
from torch.nn import functional as F

from facelift.cameras import canonical_rig, orbit_rig
from facelift.data.reader import HeadFolder, Views
from facelift.data.split import HELD_OUT_SEEDS
from facelift.errors import UserError
from facelift.portrait.align import Portrait
from facelift.portrait.segment import Sight, as_input
from facelift.reconstruct import GSLRM, GaussianBatch, GSLRMConfig
from facelift.render import render
from facelift.train import run
from facelift.train.augment import random_mirror
from facelift.train.backgrounds import random_background
from facelift.train.critic import Critic, contest, critic_loss, deception_loss
from facelift.train.features import Features, FeaturesConfig
from facelift.train.loop import Muon, draws, orthogonalized
from facelift.train.portrait import PortraitTraining, Scenes, maps_loss
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining, geometry_losses
from facelift.train.unposed import WildFolder
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.weights import load_reconstructor, load_segmenter, load_views, save_model

CPU = torch.device("cpu")
RECONSTRUCTOR = {
    "image_size": 32,
    "patch_size": 8,
    "width": 64,
    "layers": 2,
    "head_dim": 32,
    "grid": 4,
    "residual_color": True,
    "footprint_scale": True,
    "skip_background": True,
}
BLOCKS = 2
VIEWS = {
    "image_size": 32,
    "fold": 2,
    "autoencoder": {
        "block_out_channels": [32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * BLOCKS,
        "up_block_types": ["UpDecoderBlock2D"] * BLOCKS,
        "layers_per_block": 1,
        "latent_channels": 4,
        "mid_block_add_attention": False,
    },
    "unet": {
        "sample_size": 8,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": [32, 32],
        "down_block_types": ["CrossAttnDownBlock2D"] * BLOCKS,
        "up_block_types": ["CrossAttnUpBlock2D"] * BLOCKS,
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
    },
    "scheduler": {
        "prediction_type": "v_prediction",
        "clip_sample": False,
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
    "steps": 4,
    "guidance": 1.0,
    "eta": 0.0,
}


def test_orthogonalized_keeps_the_singular_vectors():
    for shape in ((8, 40), (40, 8)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        values = u.T @ orthogonalized(matrix) @ vh.T
        torch.testing.assert_close(values, torch.diag(values.diag()), atol=1e-4, rtol=0)
        assert values.diag().min() > 0.65 and values.diag().max() < 1.25


def test_muon_moves_convolutions_by_their_rate():
    weight = torch.nn.Parameter(torch.zeros(4, 6, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    assert (weight * weight.grad).sum() < 0, "downhill"
    assert abs(weight.square().mean().sqrt() - 0.2 * 0.1) < 0.004, "as far as AdamW would"


@pytest.fixture
def balls(tmp_path):
    return write_balls(tmp_path / "balls")


def reconstructor_config(tmp_path, balls, steps, **training):
    return write_config(
        tmp_path / f"reconstructor-{steps}.yaml",
        model=RECONSTRUCTOR,
        training={
            "canonical": f"{balls}/canonical",
            "orbit": f"{balls}/orbit",
            "render_size": 32,
            **training,
        },
        loop={
            "batch": 2,
            "lr": 3e-3,
            "muon_lr": 3e-3,
            "warmup": 5,
            "ema": 0.9,
            "max_steps": steps,
            "cooldown": 0,
        },
    )


def test_reads_what_the_generator_writes(tmp_path):
    write_ball(tmp_path / "head_001000", canonical_rig(32), 0.7, (1.0, 0.5, 0.25))
    views = HeadFolder(tmp_path).load("head_001000", depth=True)
    assert views.images.shape == (6, 3, 32, 32) and views.alpha.shape == (6, 1, 32, 32)
    assert views.images[:, :, 0, 0].eq(1).all(), "transparent is white"
    assert views.depth is not None
    assert abs(views.depth[0, 16, 16] - (2.7 - 0.7)) < 0.02
    assert views.depth[0, 0, 0] == 0
    red, green, blue = views.images[0, :, 15, 16]
    assert red > green > blue, "channels are RGB"


def test_six_views_without_cameras_have_the_canonical_ones(tmp_path):
    write_ball(tmp_path / "sample_000", canonical_rig(32), 0.7, (1.0, 0.5, 0.25))
    (tmp_path / "sample_000/opencv_cameras.json").unlink()
    torch.testing.assert_close(HeadFolder(tmp_path).cameras("sample_000").w2c, canonical_rig(32).w2c)


def test_held_out_heads_are_never_trained_on(tmp_path):
    seed = HELD_OUT_SEEDS[7]
    write_balls(tmp_path, 2, first_seed=seed)
    write_balls(tmp_path, 1, first_seed=HELD_OUT_SEEDS.stop)
    assert HeadFolder(tmp_path / "canonical").heads == [f"head_{HELD_OUT_SEEDS.stop:06d}"]
    assert len(HeadFolder(tmp_path / "canonical", held_out=True)) == 2


@pytest.mark.training
def test_reconstructor_overfits_balls(tmp_path, balls):
    config = reconstructor_config(tmp_path, balls, 100, render_from=50)
    run("reconstructor", config, tmp_path / "run", device="cpu")
    model = load_reconstructor(tmp_path / "run/reconstructor")
    inputs, others = HeadFolder(balls / "canonical"), HeadFolder(balls / "orbit")
    for head in inputs.heads:
        views, truth = inputs.load(head), others.load(head)
        with torch.no_grad():
            image = render(model.reconstruct(views.images, views.cameras), truth.cameras).image
        assert -10 * (image - truth.images).square().mean().log10() > 13, "an empty picture is at 9 dB"


@pytest.mark.training
def test_overhead_tokens_learn_from_the_view_above(tmp_path, balls):
    config = yaml.safe_load(reconstructor_config(tmp_path, balls, 600, render_from=590).read_text())
    config["model"]["overhead_tokens"] = [2, 2]
    with pytest.raises(UserError, match="belong together"):
        run("reconstructor", write_config(tmp_path / "blind.yaml", **config), tmp_path / "run", device="cpu")
    config["training"] |= {"overhead": f"{balls}/overhead", "at_once": 2}
    run("reconstructor", write_config(tmp_path / "overhead.yaml", **config), tmp_path / "run", device="cpu")
    model = load_reconstructor(tmp_path / "run/reconstructor")
    inputs, above = HeadFolder(balls / "canonical"), HeadFolder(balls / "overhead")
    for head in inputs.heads:
        views, truth = inputs.load(head), above.load(head, depth=True)
        with torch.no_grad():
            predicted = model(views.images, views.cameras)
        crown = predicted.activated()[-(2 * 2 * 4**2) :]
        drawn = render(crown, truth.cameras)
        front = 0, slice(None), 20, 16  # the half of the ball that has a colour lies below
        assert drawn.alpha[front] > 0.5
        assert (drawn.mean_depth[front] - truth.depth[0, 20, 16]).abs() < 0.15
        color = (drawn.image - 1) / drawn.alpha + 1  # without the white between the Gaussians
        assert (color[front] - truth.images[front]).abs().max() < 0.2


def test_depth_is_compared_at_the_middle_of_a_cell_on_its_nearest_surface():
    """Two walls that run along the view, one before the other: right is where the middle ray meets them."""

    def distances(camera, y):
        """(H, W) along the rays of one camera to the wall through (0, y, 0)."""
        origins, directions = camera.rays()
        wall = torch.tensor([0.5, -1.0, 0.3])
        return ((torch.tensor([0.0, y, 0.0]) - origins) @ wall / (directions @ wall))[0]

    def seen(camera):
        """The near wall on the left, the far one beside it from an odd column on, nothing at the right."""
        x = torch.arange(camera.width) / camera.width
        return torch.where(
            x < 0.43, distances(camera, -0.2), torch.where(x < 0.8, distances(camera, 0.4), torch.inf)
        )

    camera, config = canonical_rig(160)[[0]], GSLRMConfig(image_size=160, patch_size=8, grid=4)
    depth = (seen(camera) * camera.depth_along_rays()[0]).nan_to_num(posinf=0.0)[None]
    alpha = (depth > 0).float()[:, None]
    truth = Views(torch.zeros(1, 3, 160, 160), alpha, depth, camera)
    cells = seen(camera.resized(80)).flatten()
    there = cells.isfinite().nonzero()[:, 0]
    count = len(there)
    predicted = GaussianBatch(
        means=torch.zeros(count, 3),
        quats=torch.zeros(count, 4),
        log_scales=torch.zeros(count, 3),
        opacity_logits=torch.full((count,), 4.0),
        sh0=torch.zeros(count, 3),
        pixel=there,
        distance=cells[there],
        learned=0,
        head=torch.zeros(count, dtype=torch.long),
        heads=1,
    )
    assert geometry_losses(predicted, truth, config)[0] < 1e-3
    off = replace(predicted, distance=predicted.distance - 0.01)
    assert abs(geometry_losses(off, truth, config)[0] - 0.125) < 0.01  # (0.01 / 0.02)^2 / 2


@pytest.mark.training
def test_heads_in_memory_train_as_those_on_disk(tmp_path, balls):
    """With the same heads from the start; tests/test_live.py has those that come later."""
    live = ReconstructorTraining(f"{balls}/canonical", f"{balls}/orbit", live=True, render_size=32)
    tasks = [
        ReconstructorTask(GSLRMConfig(**RECONSTRUCTOR), training, torch.device("cpu"))
        for training in (live, replace(live, live=False))
    ]
    tasks[0].model.load_state_dict(tasks[1].model.state_dict())
    until = time.monotonic() + 60
    while len(tasks[0].heads) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    losses = [task.backward(0, 2, draws(0, 0)) for task in tasks]
    assert losses[0].keys() == {"depth", "alpha", "image"}
    for name, loss in losses[1].items():
        assert abs(losses[0][name] - loss) < 0.01 * loss, name


def test_several_heads_at_once_have_the_losses_of_each(balls):
    training = ReconstructorTraining(f"{balls}/canonical", f"{balls}/orbit", alone=0.4, render_size=32)
    torch.manual_seed(0)
    task = ReconstructorTask(GSLRMConfig(**RECONSTRUCTOR), training, torch.device("cpu"))
    losses, gradients = [], []
    for at_once in (1, 4):
        task.training = replace(training, at_once=at_once)
        seen = [len(task._sample(draws(0, seed), True).images) for seed in range(9)]
        assert 1 in seen and 6 in seen
        losses.append(task.backward(0, 6, draws(0, 1)))
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None]))
        task.model.zero_grad()
    assert abs(losses[0]["image"] - losses[1]["image"]) < 1e-4 * losses[0]["image"]
    for name, loss in losses[0].items():  # the balls are of unequal size, and cells count as one now
        assert abs(losses[1][name] - loss) < 0.2 * loss, name
    assert F.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.training
def test_reconstructor_sees_imagined_views_with_the_true_front(tmp_path, balls, monkeypatch):
    torch.manual_seed(0)
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "views")
    seen = []
    forward = GSLRM.forward
    monkeypatch.setattr(GSLRM, "forward", lambda self, *given: seen.append(given[0]) or forward(self, *given))
    config = reconstructor_config(tmp_path, balls, 2, generator=str(tmp_path / "views"), imagined=1.0)
    run("reconstructor", config, tmp_path / "run", device="cpu")
    trained = seen[:4]  # two steps of two heads; pictures follow
    white = torch.tensor([images[0, :, 0, 0].min() for images in trained])
    assert white.eq(1).all(), "the front view is the true one, on white"
    assert all((images[3, :, 0, 0] < 1).any() for images in trained), "the others are what noise looks like"


@pytest.mark.training
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, balls):
    whole = reconstructor_config(tmp_path, balls, 6)
    run("reconstructor", whole, tmp_path / "whole", device="cpu")
    run("reconstructor", reconstructor_config(tmp_path, balls, 3), tmp_path / "parts", device="cpu")
    run("reconstructor", whole, tmp_path / "parts", device="cpu")
    states = [torch.load(tmp_path / d / "state.pt", weights_only=True) for d in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == 6
    for part in ("model", "average"):
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name]), name


@pytest.mark.training
def test_a_run_that_cannot_go_on_says_so(tmp_path, balls):
    run("reconstructor", reconstructor_config(tmp_path, balls, 1), tmp_path / "run", device="cpu")
    other = write_config(
        tmp_path / "other.yaml",
        model=RECONSTRUCTOR | {"width": 96},
        training={"canonical": f"{balls}/canonical", "orbit": f"{balls}/orbit"},
        loop={"batch": 1, "max_steps": 2},
    )
    with pytest.raises(UserError, match=r"state\.pt is damaged, or another training's"):
        run("reconstructor", other, tmp_path / "run", device="cpu")
    state = tmp_path / "run/state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"state\.pt is damaged"):
        run("reconstructor", reconstructor_config(tmp_path, balls, 2), tmp_path / "run", device="cpu")


@pytest.mark.training
def test_autoencoder_then_views(tmp_path, balls):
    loop = {"batch": 4, "lr": 3e-3, "warmup": 5, "ema": 0.9, "max_steps": 60}
    first = write_config(
        tmp_path / "autoencoder.yaml",
        model=VIEWS | {"matte": True},
        training={"data": [f"{balls}/canonical", f"{balls}/orbit"], "crop": 32},
        loop=loop,
    )
    run("autoencoder", first, tmp_path / "autoencoder", device="cpu")
    generator = load_views(tmp_path / "autoencoder/views")
    views = HeadFolder(balls / "canonical").load("head_001000")
    images = views.images
    latents = generator.autoencoder.encode(images)
    assert 0.3 < latents.std() < 3, "the exported scale makes the latents' variance about one"
    assert (generator.autoencoder.decode(latents)[:, :3] - images).abs().mean() < 0.15
    _, logits = generator.autoencoder.decode_layers(latents)
    assert ((logits > 0) == (views.alpha > 0.5)).float().mean() > 0.9, "the matte covers the ball"

    second = write_config(
        tmp_path / "views.yaml",
        training={"data": f"{balls}/canonical", "autoencoder": str(tmp_path / "autoencoder/views")},
        loop=loop | {"batch": 2, "max_steps": 20},
    )
    run("views", second, tmp_path / "views", device="cpu")
    trained = load_views(tmp_path / "views/views")
    assert trained.generate(images[0]).shape == (6, 4, 32, 32), "the matte comes after the colours"
    for name, tensor in generator.autoencoder.state_dict().items():
        assert torch.equal(tensor, trained.autoencoder.state_dict()[name]), (
            "the autoencoder is not trained again"
        )
    assert not torch.equal(generator.prompts, trained.prompts)
    first, *_, last = (tmp_path / "views/log.txt").read_text().splitlines()
    assert loss_of(last) < loss_of(first)


def test_a_critic_learns_what_is_true_and_points_there():
    torch.manual_seed(0)
    critic = Critic(channels=4, given=2, views=5, width=16)
    true, given, view = torch.randn(10, 4, 8, 8), torch.zeros(10, 2, 8, 8), torch.arange(5).repeat(2)
    imagined = (0.3 * true).requires_grad_(True)  # an average: all of it is there, but weaker
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        critic_loss(critic, true, imagined, given, view).backward()
        optimizer.step()
    assert imagined.grad is None, "the critic's lesson is not the generator's"
    optimizer.zero_grad()
    deception_loss(critic, true, imagined, given, view).backward()
    assert all(p.grad is None for p in critic.parameters()), "nor the other way round"
    assert imagined.grad is not None
    towards = -(imagined.grad * (true - imagined.detach())).sum()
    assert towards > 0.3 * imagined.grad.norm() * (true - imagined.detach()).norm()


def test_a_contest_pulls_towards_the_truth_and_past_the_critic_by_its_share():
    torch.manual_seed(0)
    critic = Critic(channels=4, given=2, views=5, width=16)
    true, given, view = torch.randn(5, 4, 8, 8), torch.zeros(5, 2, 8, 8), torch.arange(5)
    for p in critic.blocks.parameters():
        torch.nn.init.normal_(p, std=0.1)
    imagined = torch.zeros_like(true).requires_grad_(True)
    contest(critic, true, imagined, given, view, strength=0.5)
    assert imagined.grad is not None
    towards = 2 * -true / true.numel()
    past = imagined.grad - towards
    torch.testing.assert_close(past.norm(), 0.5 * towards.norm())
    assert all(p.grad is not None for p in critic.parameters()), "the critic learns beside it"
    contest(critic, true, torch.zeros_like(true), given, view, strength=0.5)  # the critic's lesson alone


@pytest.mark.training
def test_views_learn_past_an_adversary(tmp_path, balls):
    torch.manual_seed(0)
    clean = VIEWS | {"scheduler": VIEWS["scheduler"] | {"prediction_type": "sample"}}
    save_model(ViewGenerator(ViewGeneratorConfig(**clean)), tmp_path / "start")
    first = load_views(tmp_path / "start")
    for steps, learnt in ((2, False), (5, True)):
        config = write_config(
            tmp_path / "views.yaml",
            training={
                "data": f"{balls}/canonical",
                "autoencoder": str(tmp_path / "start"),
                "adversary": 0.7,
                "adversary_first": 2,
            },
            loop={
                "batch": 2,
                "lr": 3e-3,
                "rates": {"critic": 4.0},
                "warmup": 1,
                "max_steps": steps,
                "ema": 0,
            },
        )
        run("views", config, tmp_path / "run", device="cpu")  # the second time it goes on
        trained = load_views(tmp_path / "run/views")
        assert trained.config.steps == 1
        assert learnt != torch.equal(first.unet.conv_in.weight, trained.unet.conv_in.weight)


@pytest.fixture
def drafter(tmp_path, balls):
    """Folders of untrained models: a view generator of one step with drafts, and its reconstructor."""
    torch.manual_seed(0)
    drafting = VIEWS | {
        "drafts": True,
        "matte": True,
        "steps": 1,
        "unet": VIEWS["unet"] | {"out_channels": 5},
        "scheduler": VIEWS["scheduler"] | {"prediction_type": "sample"},
    }
    save_model(ViewGenerator(ViewGeneratorConfig(**drafting)), tmp_path / "drafting/views")
    reconstructor = GSLRM(GSLRMConfig(**RECONSTRUCTOR))
    reconstructor.init_weights()
    save_model(reconstructor, tmp_path / "drafting/reconstructor")
    return tmp_path / "drafting"


def test_a_photographed_portrait_has_the_views_of_the_true_one(balls, drafter):
    training = ViewsTraining(f"{balls}/canonical", f"{drafter}/views", f"{drafter}/reconstructor", variants=1)
    tasks = [ViewsTask(replace(training, photographed=share), CPU) for share in (0.0, 1.0)]
    plain, photo = (task._encoded(("head", 0), lambda task=task: task._head(0)) for task in tasks)
    assert torch.equal(plain[0][1:], photo[0][1:]), "the others are what they were"
    assert not torch.equal(plain[0][0], photo[0][0]) and not torch.equal(plain[1], photo[1])


def test_heads_stand_before_one_of_the_backgrounds_in_all_views(tmp_path, balls, drafter):
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "views")
    greys = (1.0, 0.0, 0.5)
    training = ViewsTraining(f"{balls}/canonical", f"{tmp_path}/views", backgrounds=greys, variants=20)
    heads = [ViewsTask(training, CPU)._head(index) for index in range(20)]
    corners = torch.stack([head[:, :3, :2, :2] for head in heads]).flatten(1)
    assert (corners - corners[:, :1]).abs().max() < 1e-3, "the same in all views"
    assert (corners[:, :1] - torch.tensor(greys)).abs().amin(dim=1).max() < 1e-3
    assert (corners[:, :1] - torch.tensor(greys)).abs().amin(dim=0).max() < 1e-3, "each of them"
    with pytest.raises(UserError, match="white alone"):
        drafting = replace(training, autoencoder=f"{drafter}/views", reconstructor=f"{drafter}/reconstructor")
        ViewsTask(drafting, CPU)


@pytest.mark.training
def test_a_decoder_learns_from_what_is_imagined_and_nothing_else_changes(tmp_path, balls, drafter):
    training = {
        "data": f"{balls}/canonical",
        "generator": f"{drafter}/views",
        "reconstructor": f"{drafter}/reconstructor",
        "variants": 1,
        "crop": 16,
        "adversary": 0.1,
        "adversary_first": 2,
        "width": 16,
    }
    first = load_views(drafter / "views").state_dict()
    for steps, learnt in ((2, False), (160, True)):
        loop = {"batch": 4, "lr": 3e-3, "warmup": 1, "max_steps": steps, "ema": 0.5}
        config = write_config(tmp_path / "decoder.yaml", training=training, loop=loop)
        run("decoder", config, tmp_path / "run", device="cpu")  # the second time it goes on
        trained = load_views(tmp_path / "run/views").state_dict()
        changed = {name for name, tensor in first.items() if not torch.equal(tensor, trained[name])}
        assert bool(changed) == learnt
        decodes = ("autoencoder.kl.decoder.", "autoencoder.kl.post_quant_conv.")
        assert all(name.startswith(decodes) for name in changed)
    first_line, *_, last_line = (tmp_path / "run/log.txt").read_text().splitlines()
    assert loss_of(last_line, "error") < 0.7 * loss_of(first_line, "error")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of one photo, whose portrait is a disc, and one without a face."""
    squares = torch.linspace(-1, 1, 32).square()
    disc = (squares + squares[:, None] < 0.5).float()[None]

    def prepare(path, size, segmenter):
        if path.stem != "face":
            raise UserError(f"No face found in {path.name}.")
        return Portrait(1 - disc * torch.tensor([0.2, 0.5, 0.8])[:, None, None], disc, 1)

    monkeypatch.setattr("facelift.train.unposed.prepare_portrait", prepare)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("face.png", "wall.png", "notes.txt"):
        (folder / name).touch()
    return folder


def test_photos_without_a_face_are_left_out(photos, capsys):
    wild = WildFolder(photos, 32)
    assert len(wild) == 1 and "wall.png" in capsys.readouterr().err
    assert torch.equal(wild.load(1), wild.load(0).flip(-1))
    (photos / "face.png").unlink()
    with pytest.raises(UserError, match="face"):
        WildFolder(photos, 32)


@pytest.mark.training
def test_a_generator_learns_to_give_photos_back(tmp_path, balls, photos):
    """Trained on nothing but photos, it learns their front views; the other views are nobody's truth."""
    scheduler = VIEWS["scheduler"] | {"prediction_type": "sample"}
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS | {"scheduler": scheduler})), tmp_path / "start")
    training = {
        "data": f"{balls}/canonical",
        "autoencoder": str(tmp_path / "start"),
        "drop_condition": 0.0,
        "levels": 1,
        "wild_share": 1.0,
    }
    loop = {"batch": 2, "lr": 3e-3, "warmup": 1, "ema": 0.5, "max_steps": 60}
    config = write_config(tmp_path / "views.yaml", training=training, loop=loop)
    run("views", config, tmp_path / "run", device="cpu", wild=photos)
    first_line, *_, last_line = (tmp_path / "run/log.txt").read_text().splitlines()
    assert loss_of(last_line) < 0.5 * loss_of(first_line)
    task = ViewsTask(ViewsTraining(**training, wild=str(photos)), torch.device("cpu"))
    latents, _, known = task._batch(draws(0, 0), 3)
    assert known.tolist() == [[1, 0, 0, 0, 0, 0]] * 3 and latents[:, 1:].eq(0).all()


@pytest.mark.training
def test_a_reconstructor_learns_to_give_photos_back(tmp_path, balls, drafter, photos):
    how = {"generator": f"{drafter}/views", "start": f"{drafter}/reconstructor", "wild_share": 1.0}
    config = reconstructor_config(tmp_path, balls, 40, **how)
    run("reconstructor", config, tmp_path / "run", device="cpu", wild=photos)
    first_line, *_, last_line = (tmp_path / "run/log.txt").read_text().splitlines()
    assert loss_of(last_line, "photo") < 0.7 * loss_of(first_line, "photo")


def test_photos_teach_only_what_can_learn_from_them(tmp_path, balls, drafter, photos):
    with pytest.raises(UserError, match="views and reconstructor"):
        run("decoder", tmp_path / "any.yaml", tmp_path / "run", wild=photos)
    with pytest.raises(UserError, match="generator"):
        run("reconstructor", reconstructor_config(tmp_path, balls, 1), tmp_path / "run", wild=photos)
    training = {"data": f"{balls}/canonical", "autoencoder": f"{drafter}/views", "adversary": 0.5}
    training["reconstructor"] = f"{drafter}/reconstructor"
    with pytest.raises(UserError, match="adversary"):
        run("views", write_config(tmp_path / "v.yaml", training=training), tmp_path / "run", wild=photos)


@pytest.mark.training
def test_a_segmenter_learns_to_tell_balls_from_backgrounds(tmp_path, balls):
    training = {"data": f"{balls}/canonical", "size": 32, "company": 0.0}
    loop = {"batch": 8, "lr": 1e-2, "warmup": 2, "max_steps": 60, "ema": 0.8}
    config = write_config(tmp_path / "p.yaml", model={"widths": [16, 32]}, training=training, loop=loop)
    run("portrait", config, tmp_path / "run", device="cpu")
    segmenter = load_segmenter(tmp_path / "run")
    scenes = Scenes(HeadFolder(balls / "canonical"), PortraitTraining(**training))
    wrong, before = [], []
    for i in range(20):
        scene, again = scenes.photo(draws(7, i)), scenes.photo(draws(7, i)).photo
        photo, truth = scene.photo, scene.alpha
        assert torch.equal(photo, again), "a seed draws the same photo"
        wrong.append(((segmenter.odds(photo[:3], photo[3]) > 0) != (truth[0] > 0.5)).float().mean())
        before.append(((photo[3] > 0) != (truth[0] > 0.5)).float().mean())
    assert sum(wrong) < 0.7 * sum(before), "better than where a person would be"


@pytest.mark.training
def test_a_segmenter_learns_landmarks_and_keeps_its_matte(tmp_path, balls):
    """The balls' landmarks lie at four places, one to each side, as a mirror would have them."""
    points = torch.tensor([16.0, 9.0]).repeat(68, 1)
    points[8] = torch.tensor([16.0, 23.0])  # a chin
    points[[36, 37, 38, 39, 40, 41]] = torch.tensor([9.0, 16.0])
    points[[42, 43, 44, 45, 46, 47]] = torch.tensor([23.0, 16.0])
    for head in (balls / "canonical").iterdir():
        views = [[[x, y, 1] for x, y in points.tolist()]] * 6
        (head / "landmarks.json").write_text(json.dumps({"views": views}))
    training = {"data": f"{balls}/canonical", "size": 32, "company": 0.0}
    loop = {"batch": 8, "lr": 1e-2, "warmup": 2, "max_steps": 40, "ema": 0.8}
    model = {"widths": [16, 32]}
    config = write_config(tmp_path / "matte.yaml", model=model, training=training, loop=loop)
    run("portrait", config, tmp_path / "matte", device="cpu")
    training |= {"start": str(tmp_path / "matte/portrait"), "points": 0.3, "turned": 0.0}
    model["landmarks"], loop["max_steps"] = True, 150
    config = write_config(tmp_path / "both.yaml", model=model, training=training, loop=loop)
    run("portrait", config, tmp_path / "both", device="cpu")
    before, segmenter = (load_segmenter(tmp_path / name) for name in ("matte", "both"))
    scenes = Scenes(HeadFolder(balls / "canonical"), PortraitTraining(**training))
    apart, still, wrong = [], [], {before: 0.0, segmenter: 0.0}
    for i in range(20):
        scene = scenes.photo(draws(7, i), points=True)
        rgb, odds = scene.photo.split([3, 1])
        with torch.no_grad():
            sight = segmenter(as_input(rgb[None], odds[None]))
        apart.append((sight.points[0] - scene.points)[[0, 8, 36, 45]].norm(dim=-1).mean())
        still.append((points - scene.points)[[0, 8, 36, 45]].norm(dim=-1).mean())
        for each in wrong:
            wrong[each] += ((each.odds(rgb, odds[0]) > 0) != (scene.alpha[0] > 0.5)).float().mean()
    assert sum(apart) < 0.9 * sum(still), "it sees how photos are moved"
    assert wrong[segmenter] < 1.3 * wrong[before]

    training["start"], model["landmarks"] = str(tmp_path / "both/portrait"), False
    config = write_config(tmp_path / "misfit.yaml", model=model, training=training, loop=loop)
    with pytest.raises(UserError, match="does not fit the `model`"):
        run("portrait", config, tmp_path / "misfit", device="cpu")


def test_landmarks_move_with_their_pixels(tmp_path):
    """A dot on one landmark, seen again in photos: scaled, shifted, turned and mirrored."""
    write_ball(tmp_path / "head_001000", canonical_rig(64), 0.7, (0.2, 0.2, 0.2))
    head = tmp_path / "head_001000"
    rgba = np.array(Image.open(head / "cam_000.png"))
    rgba[18:21, 40:43] = 255  # about (41.5, 19.5)
    Image.fromarray(rgba).save(head / "cam_000.png")
    marks = [[41.5, 19.5, 1] if i in (36, 45) else [32.0, 32.0, 1] for i in range(68)]
    (head / "landmarks.json").write_text(json.dumps({"views": [marks] * 6}))
    plain = {"turned": 0.0, "company": 0.0, "shadow": 0.0, "cut": 0.0}
    scenes = Scenes(HeadFolder(tmp_path), PortraitTraining(str(tmp_path), size=64, **plain))
    sides = set()
    for i in range(12):
        scene = scenes.photo(draws(5, i), points=True)
        x, y = scene.points[36]
        sides.add(bool(x > 32))
        bright = scene.photo[:3].mean(0) * (scene.alpha[0] > 0.9)
        row, column = divmod(int(bright.argmax()), 64)
        assert abs(column + 0.5 - x) < 2 and abs(row + 0.5 - y) < 2
    assert sides == {True, False}, "some are mirrored"
    framed = scenes.photo(draws(5, 0), moved=False, points=True).points[36]
    torch.testing.assert_close(framed, torch.tensor([41.5, 19.5]))
    (head / "landmarks.json").unlink()
    with pytest.raises(UserError, match="--truth all"):
        scenes.photo(draws(5, 0), points=True)


def test_maps_that_are_as_they_should_be_tell_the_point():
    torch.manual_seed(0)
    points = torch.rand(5, 2) * torch.tensor([28, 12]) + 2  # of 32 x 16 pixels, in 8 x 4 cells
    maps = torch.zeros(5, 4, 8, requires_grad=True)
    optimizer = torch.optim.Adam([maps], 0.3)
    for _ in range(300):
        optimizer.zero_grad()
        maps_loss(maps, points).backward()
        optimizer.step()
    found = Sight(torch.zeros(1), maps[None].detach()).points[0]
    torch.testing.assert_close(found, points, atol=0.1, rtol=0)
    peak = torch.zeros(1, 1, 4, 8)
    peak[0, 0, 1, 5] = 100
    assert Sight(torch.zeros(1), peak).points.tolist() == [[[22.0, 6.0]]]


def test_backgrounds_are_pictures_and_differ():
    images = [random_background(np.random.default_rng(i), 48) for i in range(30)]
    for image in images:
        assert image.shape == (48, 48, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1
    assert np.array_equal(images[0], random_background(np.random.default_rng(0), 48))
    assert min(np.abs(a - b).mean() for a, b in itertools.pairwise(images)) > 0.01


def test_a_decoder_is_for_drafts_in_one_step(tmp_path, balls, drafter):
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "plain")
    training = {
        "data": f"{balls}/canonical",
        "generator": f"{tmp_path}/plain",
        "reconstructor": f"{drafter}/reconstructor",
    }
    with pytest.raises(UserError, match="one step"):
        run("decoder", write_config(tmp_path / "d.yaml", training=training), tmp_path / "run", device="cpu")


@pytest.mark.training
def test_a_reconstructor_learns_by_features_too(tmp_path, balls):
    torch.manual_seed(0)
    features = Features(FeaturesConfig(widths=(16, 16), expressions=("smile",)))
    save_model(features, tmp_path / "features")
    config = reconstructor_config(tmp_path, balls, 60, features=str(tmp_path / "features"), render_from=30)
    run("reconstructor", config, tmp_path / "run", device="cpu")
    log = (tmp_path / "run/log.txt").read_text().splitlines()
    assert "perceptual" not in log[0] and "perceptual" in log[-1]
    training = ReconstructorTraining(**yaml.safe_load(config.read_text())["training"])
    first, last = (
        ReconstructorTask(GSLRMConfig(**RECONSTRUCTOR), replace(training, start=start, render_from=0), CPU)
        for start in (None, str(tmp_path / "run/reconstructor"))
    )
    losses = [task.backward(0, 4, draws(3, 0))["perceptual"] for task in (first, last)]
    assert losses[1] < 0.8 * losses[0]


def test_levels_are_those_of_a_sampling_or_all(tmp_path, balls):
    leading = VIEWS["scheduler"] | {"timestep_spacing": "leading", "steps_offset": 1}  # as FaceLift's own
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "trailing")
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS | {"scheduler": leading})), tmp_path / "leading")

    def trained(name, levels):
        training = ViewsTraining(f"{balls}/canonical", str(tmp_path / name), levels=levels)
        return ViewsTask(training, torch.device("cpu")).timesteps.tolist()

    assert trained("leading", None) == trained("trailing", None) == list(range(1000))
    assert trained("trailing", 2) == [999, 499]


def test_an_adversary_needs_a_model_of_clean_samples(tmp_path, balls):
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "start")
    training = {"data": f"{balls}/canonical", "autoencoder": str(tmp_path / "start"), "adversary": 0.7}
    with pytest.raises(UserError, match="clean sample"):
        run("views", write_config(tmp_path / "views.yaml", training=training), tmp_path / "run", device="cpu")


def test_a_mirrored_head_is_seen_from_the_other_side():
    """Seen by the six cameras, a ball's mirror image is what the mirrored views show."""
    ball = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    rig = canonical_rig(32)

    def drawn(points):
        pixels = torch.full((6, 3, 32, 32), 1.0)
        seen = torch.einsum("vij,pj->vpi", rig.w2c[:, :3, :3], points) + rig.w2c[:, None, :3, 3]
        places = (
            seen[..., :2] / seen[..., 2:] * rig.intrinsics[:, None, :2] + rig.intrinsics[:, None, 2:]
        ).long()
        for view in range(6):
            pixels[view, :, places[view, :, 1], places[view, :, 0]] = 0.0
        return pixels

    points = 0.3 * ball / ball.norm(dim=1, keepdim=True)
    mirrors = [random_mirror(torch.Generator().manual_seed(seed)) for seed in range(4)]
    images = drawn(points)
    mirrored = drawn(points * torch.tensor([-1.0, 1.0, 1.0]))
    made = [mirror(images) for mirror in mirrors]
    assert any(torch.equal(m, images) for m in made)
    others = [m for m in made if not torch.equal(m, images)]
    assert others and all((m - mirrored).abs().mean() < 0.01 for m in others)


def loss_of(line: str, name: str = "loss") -> float:
    return float(line.split(f"{name} ")[1].split()[0])


@pytest.mark.training
def test_time_box_ends_a_run(tmp_path, balls):
    config = reconstructor_config(tmp_path, balls, 1_000_000)
    run("reconstructor", config, tmp_path / "run", max_minutes=0.02, device="cpu")
    assert (tmp_path / "run/reconstructor/model.safetensors").exists()
    assert list((tmp_path / "run/pictures").glob("*.png"))


@pytest.mark.parametrize(
    ("stage", "text", "said"),
    [
        ("hair", "{}", "no stage"),
        ("views", "training: [", "not a configuration"),
        ("views", "training: {data: nowhere}", "not a configuration"),
        ("views", "loop: {speed: 3}\ntraining: {}", "speed"),
        ("reconstructor", "model: {}\ntraining: {canonical: nowhere, orbit: nowhere}", "facelift synth"),
    ],
)
def test_bad_configurations_are_one_sentence(tmp_path, stage, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        run(stage, path, tmp_path / "run")


def test_missing_configuration(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        run("views", tmp_path / "none.yaml", tmp_path / "run")


def test_orbit_of_balls_is_the_ball(tmp_path):
    """The helper itself: what it writes is where the cameras say."""
    write_ball(tmp_path / "head_001000", orbit_rig(4, 64), 0.6, (0.9, 0.2, 0.2))
    views = HeadFolder(tmp_path).load("head_001000")
    area = views.alpha[:, 0].sum(dim=(1, 2))
    focal = views.cameras.intrinsics[0, 0]
    expected = torch.pi * focal**2 * 0.6**2 / (2.7**2 - 0.6**2)
    assert ((area / expected - 1).abs() < 0.02).all()
