"""Training on folders as the generator writes them: real loops, small models, a few seconds each."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from descent import losses_of
from heads import write_ball, write_balls, write_config
from small import CLEAN, CPU, RECONSTRUCTOR, VIEWS, reconstructor_config
from torch.nn import functional as F

from facelift.cameras import canonical_rig, orbit_rig
from facelift.data.backgrounds import random_background
from facelift.data.reader import HeadFolder, Views
from facelift.data.split import HELD_OUT_SEEDS
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GaussianBatch, GSLRMConfig
from facelift.train import run
from facelift.train.augment import random_mirror
from facelift.train.geometry import geometry_losses
from facelift.train.optimizers import Muon, orthogonalized
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.task import generator_for
from facelift.train.unposed import UnposedPhotos
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.weights import load_views, save_model

pytestmark = pytest.mark.usefixtures("float32")


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
    streaming = ReconstructorTraining(f"{balls}/canonical", f"{balls}/orbit", streaming=True, render_size=32)
    tasks = [
        ReconstructorTask(GSLRMConfig(**RECONSTRUCTOR), training, torch.device("cpu"))
        for training in (streaming, replace(streaming, streaming=False))
    ]
    tasks[0].model.load_state_dict(tasks[1].model.state_dict())
    until = time.monotonic() + 60
    while len(tasks[0].heads.names) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    losses = [losses_of(task) for task in tasks]
    assert losses[0].keys() == {"depth", "alpha", "image", "total"}
    for name, loss in losses[1].items():
        assert abs(losses[0][name] - loss) < 0.01 * loss, name


def test_several_heads_at_once_have_the_losses_of_each(balls):
    training = ReconstructorTraining(
        f"{balls}/canonical", f"{balls}/orbit", front_only_share=0.4, render_size=32
    )
    torch.manual_seed(0)
    task = ReconstructorTask(GSLRMConfig(**RECONSTRUCTOR), training, torch.device("cpu"))
    losses, gradients = [], []
    for at_once in (1, 4):
        task.training = replace(training, micro_batch=at_once)
        seen = [len(sample.images) for _, sample in task.samples(0, 9, generator_for(0, 0))]
        assert 1 in seen and 6 in seen
        losses.append(losses_of(task, batch=6, seed=1))
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None]))
        task.model.zero_grad()
    assert abs(losses[0]["image"] - losses[1]["image"]) < 1e-4 * losses[0]["image"]
    for name, loss in losses[0].items():  # the balls are of unequal size, and cells count as one now
        assert abs(losses[1][name] - loss) < 0.2 * loss, name
    assert F.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.training
def test_reconstructor_sees_generated_views_with_the_true_front(tmp_path, balls, monkeypatch):
    torch.manual_seed(0)
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "views")
    seen = []
    forward = GSLRM.forward
    monkeypatch.setattr(GSLRM, "forward", lambda self, *given: seen.append(given[0]) or forward(self, *given))
    config = reconstructor_config(tmp_path, balls, 2, generator=str(tmp_path / "views"), generated_share=1.0)
    run("reconstructor", config, tmp_path / "run", device="cpu")
    trained = seen[:8]  # four steps of two heads, of which two are measured alone; pictures follow
    white = torch.tensor([images[0, :, 0, 0].min() for images in trained])
    assert white.eq(1).all(), "the front view is the true one, on white"
    assert all((images[3, :, 0, 0] < 1).any() for images in trained), "the others are what noise looks like"


@pytest.mark.training
def test_a_run_that_cannot_go_on_says_so(tmp_path, balls):
    run("reconstructor", reconstructor_config(tmp_path, balls, 1), tmp_path / "run", device="cpu")
    other = write_config(
        tmp_path / "other.yaml",
        model=RECONSTRUCTOR | {"width": 96},
        training={"canonical": f"{balls}/canonical", "orbit": f"{balls}/orbit"},
        loop={"batch": 1, "max_steps": 2},
    )
    with pytest.raises(UserError, match=r"state\.pt is damaged, .* or another training's"):
        run("reconstructor", other, tmp_path / "run", device="cpu")
    state = tmp_path / "run/state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"state\.pt is damaged"):
        run("reconstructor", reconstructor_config(tmp_path, balls, 2), tmp_path / "run", device="cpu")


@pytest.mark.training
def test_views_learn_past_an_adversary(tmp_path, balls):
    torch.manual_seed(0)
    save_model(ViewGenerator(ViewGeneratorConfig(**CLEAN)), tmp_path / "start")
    first = load_views(tmp_path / "start")
    for steps, learnt in ((2, False), (5, True)):
        config = write_config(
            tmp_path / "views.yaml",
            training={
                "data": f"{balls}/canonical",
                "autoencoder": str(tmp_path / "start"),
                "adversarial_weight": 0.7,
                "critic_warmup": 2,
            },
            loop={
                "batch": 2,
                "lr": 3e-3,
                "lr_factors": {"critic": 4.0},
                "warmup": 1,
                "max_steps": steps,
                "ema": 0,
            },
        )
        run("views", config, tmp_path / "run", device="cpu")  # the second time it goes on
        trained = load_views(tmp_path / "run/views")
        assert trained.config.steps == 1
        assert learnt != torch.equal(first.unet.conv_in.weight, trained.unet.conv_in.weight)


def test_a_photographed_portrait_has_the_views_of_the_true_one(balls, warping):
    training = ViewsTraining(
        f"{balls}/canonical", f"{warping}/views", f"{warping}/reconstructor", augmentations=1
    )
    tasks = [ViewsTask(replace(training, degraded_share=share), CPU) for share in (0.0, 1.0)]
    plain, photo = (task.encoder.encode(task.heads.load(0)) for task in tasks)
    assert torch.equal(plain.latents[1:], photo.latents[1:]), "the others are what they were"
    assert not torch.equal(plain.latents[0], photo.latents[0])
    assert not torch.equal(plain.condition, photo.condition)


def test_photos_without_a_face_are_left_out(photos, capsys):
    folder = UnposedPhotos(photos, 32)
    assert len(folder) == 1 and "wall.png" in capsys.readouterr().err
    assert torch.equal(folder.load(1), folder.load(0).flip(-1))
    (photos / "face.png").unlink()
    with pytest.raises(UserError, match="face"):
        UnposedPhotos(photos, 32)


def test_backgrounds_are_pictures_and_differ():
    images = [random_background(np.random.default_rng(i), 48) for i in range(30)]
    for image in images:
        assert image.shape == (48, 48, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1
    assert np.array_equal(images[0], random_background(np.random.default_rng(0), 48))
    assert min(np.abs(a - b).mean() for a, b in itertools.pairwise(images)) > 0.01


def test_a_decoder_is_for_warped_views_in_one_step(tmp_path, balls, warping):
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "plain")
    training = {
        "data": f"{balls}/canonical",
        "generator": f"{tmp_path}/plain",
        "reconstructor": f"{warping}/reconstructor",
    }
    with pytest.raises(UserError, match="one step"):
        run("decoder", write_config(tmp_path / "d.yaml", training=training), tmp_path / "run", device="cpu")


def test_levels_are_those_of_a_sampling_or_all(tmp_path, balls):
    leading = VIEWS["scheduler"] | {"timestep_spacing": "leading", "steps_offset": 1}  # as FaceLift's own
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "trailing")
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS | {"scheduler": leading})), tmp_path / "leading")

    def trained(name, levels):
        training = ViewsTraining(f"{balls}/canonical", str(tmp_path / name), noise_levels=levels)
        return ViewsTask(training, torch.device("cpu")).timesteps.tolist()

    assert trained("leading", None) == trained("trailing", None) == list(range(1000))
    assert trained("trailing", 2) == [999, 499]


def test_an_adversary_needs_a_model_of_clean_samples(tmp_path, balls):
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS)), tmp_path / "start")
    training = {
        "data": f"{balls}/canonical",
        "autoencoder": str(tmp_path / "start"),
        "adversarial_weight": 0.7,
    }
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


@pytest.mark.parametrize(
    ("stage", "text", "said"),
    [
        ("hair", "{}", "no stage"),
        ("views", "training: [", "not YAML"),
        ("views", "", "not a training configuration"),
        ("views", "training: 3", "not a training configuration"),
        ("views", "training: {data: nowhere}", "neither `autoencoder` nor `init_from`"),
        ("features", "loop: {speed: 3}\ntraining: {data: nowhere}", "loop: unknown speed"),
        ("features", "loop: {lr: 1e-3}\ntraining: {data: nowhere}", r"loop\.lr: '1e-3' is not a number"),
        (
            "features",
            "loop: {batch: 2.5}\ntraining: {data: nowhere}",
            r"loop\.batch: 2\.5 is not a whole number",
        ),
        ("features", "loop: {betas: [0.9, x]}\ntraining: {data: nowhere}", r"loop\.betas\[1\]: 'x' is not"),
        (
            "reconstructor",
            "model: {crown: [99, 1]}\ntraining: {canonical: nowhere, orbit: nowhere}",
            "overhead_tok",
        ),
        ("features", "model: {widths: [3]}\ntraining: {data: nowhere}", "model: widths are two or more"),
        ("decoder", "model: {}\ntraining: {data: nowhere, generator: a, reconstructor: b}", "unknown model"),
        ("reconstructor", "model: {}\ntraining: {canonical: nowhere, orbit: nowhere}", "facelift synth"),
    ],
)
def test_bad_configurations_are_one_sentence(tmp_path, stage, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as raised:
        run(stage, path, tmp_path / "run")
    assert stage == "hair" or "nowhere has" in str(raised.value) or str(path) in str(raised.value)


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
