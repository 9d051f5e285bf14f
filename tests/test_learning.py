"""Each training learns: its losses are least where all is right, and fall as their gradients promise.

Nothing here hangs on where a training ends, which is another place on every processor.
"""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from descent import LATE, assert_learns, losses_of
from heads import write_balls, write_config
from PIL import Image
from small import CLEAN, CPU, RECONSTRUCTOR, VIEWS, reconstructor_config, save_views
from torch.nn import functional as F

from facelift.data.reader import HeadFolder, Views
from facelift.data.split import HELD_OUT_SEEDS
from facelift.errors import UserError
from facelift.gaussians import SH_C0
from facelift.reconstruct import GSLRMConfig
from facelift.train import run
from facelift.train.autoencoder import AutoencoderTask, AutoencoderTraining
from facelift.train.critic import Critic, adversarial_losses, critic_loss, generator_loss
from facelift.train.decoder import DecoderTask, DecoderTraining
from facelift.train.features import Features, FeaturesConfig
from facelift.train.geometry import overhead_color_loss
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.task import generator_for
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig
from facelift.weights import load_reconstructor, load_views, save_model

pytestmark = pytest.mark.usefixtures("float32")


def reconstructing(balls, model=(), **training):
    torch.manual_seed(0)
    folders = {"canonical": f"{balls}/canonical", "orbit": f"{balls}/orbit", "render_size": 32}
    config = GSLRMConfig(**RECONSTRUCTOR | dict(model))
    return ReconstructorTask(config, ReconstructorTraining(**folders | training), CPU)


@pytest.fixture
def features(tmp_path):
    torch.manual_seed(0)
    save_model(Features(FeaturesConfig(widths=(16, 16), expressions=("smile",))), tmp_path / "features")
    return str(tmp_path / "features")


def test_a_reconstructor_learns_depth_and_opacity_directly(balls):
    task = reconstructing(balls, render_start_step=LATE + 1)
    assert losses_of(task).keys() == {"depth", "alpha", "total"}
    assert_learns(task)


def test_a_reconstructor_learns_through_the_rasteriser_alone(balls):
    assert_learns(reconstructing(balls, geometry_weight=0.0), objective=lambda losses: losses["image"])


def test_a_reconstructor_learns_from_the_front_view_alone(balls):
    task = reconstructing(balls, front_only_share=1.0)
    assert losses_of(task).keys() == {"depth", "alpha", "total"}, "what the front cannot show is not asked"
    assert_learns(task)


def test_a_reconstructor_learns_by_features(balls, features):
    task = reconstructing(
        balls, features=features, render_start_step=5, geometry_weight=0.0, image_weight=0.0
    )
    assert "perceptual" not in losses_of(task, step=4)
    assert_learns(task, objective=lambda losses: losses["perceptual"])


def test_overhead_tokens_learn_from_the_view_above(balls):
    task = reconstructing(
        balls, {"overhead_tokens": (2, 2)}, overhead=f"{balls}/overhead", geometry_weight=1.0
    )
    assert losses_of(task)["color"] > 0
    assert_learns(task)
    with pytest.raises(UserError, match="belong together"):
        reconstructing(balls, {"overhead_tokens": (2, 2)})


def test_colours_of_overhead_tokens_are_right_where_the_view_above_shows_them(balls):
    """The loss asks about their Gaussians alone, and is 0 if each has the colour seen at its place."""
    task = reconstructing(balls, {"overhead_tokens": (2, 2)}, overhead=f"{balls}/overhead")
    inputs, above = HeadFolder(balls / "canonical"), HeadFolder(balls / "overhead")
    head = inputs.heads[0]
    views, seen_above = inputs.load(head), above.load(head)
    truth = Views.concatenate([views, seen_above])
    with torch.no_grad():
        predicted = task.model(views.images, views.cameras)
    colors = torch.zeros_like(predicted.sh0, requires_grad=True)
    overhead_color_loss(replace(predicted, sh0=colors), truth, 1, task.model.config).backward()
    asked = colors.grad.abs().sum(dim=1) > 0
    assert asked.any() and not asked[: -(2 * 2 * 4**2)].any()

    camera = seen_above.cameras
    seen = predicted.means[asked] @ camera.w2c[0, :3, :3].mT + camera.w2c[0, :3, 3]
    places = seen[:, :2] / seen[:, 2:] * camera.intrinsics[0, :2] + camera.intrinsics[0, 2:]
    cells = F.avg_pool2d(seen_above.images, task.model.config.cell)[0]
    x, y = (places / task.model.config.cell).long().mT
    right = colors.detach().clone()
    right[asked] = (cells[:, y, x].mT - 0.5) / SH_C0
    assert overhead_color_loss(replace(predicted, sh0=right), truth, 1, task.model.config) < 1e-5
    assert overhead_color_loss(replace(predicted, sh0=colors), truth, 1, task.model.config) > 0.05


def test_a_reconstructor_learns_to_give_photos_back(balls, warping, photos):
    how = {"generator": f"{warping}/views", "unposed_photos": str(photos), "unposed_share": 1.0}
    task = reconstructing(balls, **how)
    assert losses_of(task).keys() == {"photo", "total"}
    assert_learns(task)


@pytest.mark.training
def test_a_trained_reconstructor_is_exported_and_another_begins_with_it(tmp_path, balls):
    config = reconstructor_config(tmp_path, balls, 2)
    run("reconstructor", config, tmp_path / "run", device="cpu")
    trained = load_reconstructor(tmp_path / "run/reconstructor")
    first, task = (
        reconstructing(balls, init_from=start) for start in (None, f"{tmp_path}/run/reconstructor")
    )
    torch.testing.assert_close(task.model.state_dict(), trained.state_dict())
    moved = [not torch.equal(p, trained.get_parameter(name)) for name, p in first.model.named_parameters()]
    assert sum(moved) > 10
    assert list((tmp_path / "run/pictures").glob("*.png"))


def test_an_autoencoder_and_its_matte_learn(balls):
    torch.manual_seed(0)
    model = ViewGeneratorConfig(**VIEWS | {"matte": True})
    folders = [f"{balls}/canonical", f"{balls}/orbit"]
    assert_learns(AutoencoderTask(model, AutoencoderTraining(folders, crop_size=32), CPU), batch=4)


@pytest.mark.training
def test_an_autoencoder_becomes_a_view_generator_that_is_trained_beside_it(tmp_path, balls):
    loop = {"batch": 4, "lr": 3e-3, "warmup": 1, "ema": 0.9, "max_steps": 3}
    first = write_config(
        tmp_path / "autoencoder.yaml",
        model=VIEWS | {"matte": True},
        training={"data": [f"{balls}/canonical", f"{balls}/orbit"], "crop_size": 32},
        loop=loop,
    )
    run("autoencoder", first, tmp_path / "autoencoder", device="cpu")
    generator = load_views(tmp_path / "autoencoder/views")
    images = HeadFolder(balls / "canonical").load("head_001000").images
    assert 0.3 < generator.autoencoder.encode(images).std() < 3, "the exported scale makes it about one"

    second = write_config(
        tmp_path / "views.yaml",
        training={"data": f"{balls}/canonical", "autoencoder": str(tmp_path / "autoencoder/views")},
        loop=loop | {"batch": 2},
    )
    run("views", second, tmp_path / "views", device="cpu")
    trained = load_views(tmp_path / "views/views")
    assert trained.generate(images[0]).shape == (6, 4, 32, 32), "the matte comes after the colours"
    for name, tensor in generator.autoencoder.state_dict().items():
        assert torch.equal(tensor, trained.autoencoder.state_dict()[name]), "it is not trained again"
    assert not torch.equal(generator.prompts, trained.prompts)


@pytest.mark.parametrize("kind", [VIEWS, CLEAN], ids=["velocity", "sample"])
def test_a_view_generator_learns_to_denoise(tmp_path, balls, kind):
    training = ViewsTraining(f"{balls}/canonical", str(save_views(tmp_path / "views", **kind)))
    assert_learns(ViewsTask(training, CPU))


def test_a_view_generator_learns_to_give_photos_back(tmp_path, balls, photos):
    """Of photos the front view counts; the other views are nobody's truth."""
    folder = str(save_views(tmp_path / "views", **CLEAN))
    training = ViewsTraining(f"{balls}/canonical", folder, condition_dropout=0.0, noise_levels=1)
    task = ViewsTask(replace(training, unposed_photos=str(photos), unposed_share=1.0), CPU)
    batch = task._batch([*task.samples(0, 3, generator_for(0, 0))])
    assert batch.has_truth.tolist() == [[1, 0, 0, 0, 0, 0]] * 3 and batch.latents[:, 1:].eq(0).all()
    assert_learns(task)


@pytest.fixture
def decoding(balls, warping):
    models = {"generator": f"{warping}/views", "reconstructor": f"{warping}/reconstructor"}
    return DecoderTraining(
        f"{balls}/canonical",
        **models,
        augmentations=1,
        crop_size=16,
        adversarial_weight=0.1,
        critic_warmup=2,
        critic_width=16,
    )


def test_a_decoder_and_its_matte_learn_towards_the_truth(decoding):
    task = DecoderTask(replace(decoding, adversarial_weight=0.0), CPU)
    decoder = torch.nn.ModuleList([task.model.decoder, task.model.post_quant_conv])
    assert_learns(task, objective=lambda losses: losses["error"] + losses["matte"], model=decoder)


@pytest.mark.training
def test_a_decoder_is_trained_after_its_critic_and_nothing_else_changes(tmp_path, decoding, warping):
    first = load_views(warping / "views").state_dict()
    for steps, learnt in ((2, False), (4, True)):
        loop = {"batch": 4, "lr": 3e-3, "warmup": 1, "max_steps": steps, "ema": 0.5}
        config = write_config(tmp_path / "decoder.yaml", training=vars(decoding), loop=loop)
        run("decoder", config, tmp_path / "run", device="cpu")  # the second time it goes on
        trained = load_views(tmp_path / "run/views").state_dict()
        changed = {name for name, tensor in first.items() if not torch.equal(tensor, trained[name])}
        assert bool(changed) == learnt
        decodes = ("autoencoder.kl.decoder.", "autoencoder.kl.post_quant_conv.")
        assert all(name.startswith(decodes) for name in changed)


class Plane(torch.nn.Module):
    """A critic whose score is linear in what it is shown."""

    def __init__(self):
        super().__init__()
        self.direction = torch.nn.Parameter(torch.zeros(4, 8, 8))

    def forward(self, shown, given, view):
        return (self.direction * shown).sum(1)


@pytest.fixture
def shown():
    rng = torch.Generator().manual_seed(0)
    true = torch.randn(10, 4, 8, 8, generator=rng)
    return true, torch.zeros(10, 2, 8, 8), torch.arange(5).repeat(2)


def test_a_critic_learns_what_is_true_and_points_there(shown):
    """By one step from nothing it scores the truth higher; along its slope lies what it takes for true."""
    true, given, view = shown
    generated = (0.3 * true).requires_grad_(True)  # an average: all of it is there, but weaker
    true = true + 0.5
    critic = Plane()
    critic_loss(critic, true, generated, given, view).backward()
    assert generated.grad is None, "the critic's lesson is not the generator's"
    with torch.no_grad():
        critic.direction.sub_(critic.direction.grad)
        assert critic(true, given, view).mean() > critic(generated, given, view).mean()
    critic.zero_grad()
    generator_loss(critic, true, generated, given, view).backward()
    assert critic.direction.grad is None, "nor the other way round"
    slope = -generated.grad
    assert (slope * critic.direction > 0).sum() >= (slope != 0).sum() > 0, "every place goes up the score"


def test_the_losses_of_an_adversary_fall_as_their_gradients_promise(shown):
    true, given, view = shown
    torch.manual_seed(0)
    critic = Critic(channels=4, given=2, views=5, width=16)
    for p in critic.blocks.parameters():
        torch.nn.init.normal_(p, std=0.1)
    generated = (0.3 * true).requires_grad_(True)
    loss = generator_loss(critic, true, generated, given, view)
    loss.backward()
    rate = 0.002 * loss.detach() / generated.grad.square().sum()
    moved = generator_loss(critic, true, generated.detach() - rate * generated.grad, given, view)
    assert (loss - moved).item() == pytest.approx(0.002 * loss.item(), rel=0.2)


def test_the_adversarial_gradient_has_its_share_of_the_squared_errors(shown):
    true, given, view = (x[:5] for x in shown)
    torch.manual_seed(0)
    critic = Critic(channels=4, given=2, views=5, width=16)
    for p in critic.blocks.parameters():
        torch.nn.init.normal_(p, std=0.1)
    generated = torch.zeros_like(true).requires_grad_(True)
    first, second = adversarial_losses(critic, true, generated, given, view, weight=0.5, samples=1)
    first.total.backward()
    assert all(p.grad is None for p in critic.parameters())
    towards = 2 * -true / true.numel()
    past = generated.grad - towards
    torch.testing.assert_close(past.norm(), 0.5 * towards.norm())
    second.total.backward()
    assert all(p.grad is not None for p in critic.parameters()), "the critic learns beside it"
    (alone,) = adversarial_losses(critic, true, torch.zeros_like(true), given, view, 0.5, samples=1)
    assert alone.parts["error"] == second.parts["error"]


@pytest.fixture
def marked(balls):
    """The balls' landmarks lie at four places, one to each side, as a mirror would have them."""
    points = torch.tensor([16.0, 9.0]).repeat(68, 1)
    points[8] = torch.tensor([16.0, 23.0])  # a chin
    points[[36, 37, 38, 39, 40, 41]] = torch.tensor([9.0, 16.0])
    points[[42, 43, 44, 45, 46, 47]] = torch.tensor([23.0, 16.0])
    for head in (balls / "canonical").iterdir():
        views = [[[x, y, 1] for x, y in points.tolist()]] * 6
        (head / "landmarks.json").write_text(json.dumps({"views": views}), encoding="utf-8")
    return balls


def test_photos_teach_only_what_can_learn_from_them(tmp_path, balls, warping, photos):
    with pytest.raises(UserError, match="views and reconstructor"):
        run("decoder", tmp_path / "any.yaml", tmp_path / "run", unposed_photos=photos)
    with pytest.raises(UserError, match="generator"):
        run(
            "reconstructor", reconstructor_config(tmp_path, balls, 1), tmp_path / "run", unposed_photos=photos
        )
    training = {"data": f"{balls}/canonical", "autoencoder": f"{warping}/views", "adversarial_weight": 0.5}
    training["reconstructor"] = f"{warping}/reconstructor"
    with pytest.raises(UserError, match="adversary"):
        run(
            "views",
            write_config(tmp_path / "v.yaml", training=training),
            tmp_path / "run",
            unposed_photos=photos,
        )


@pytest.mark.training
def test_every_stage_measures_itself_on_held_out_heads(tmp_path, marked, warping, features):
    """With the losses it is trained by, of the same samples each time, and none of the training's heads."""
    held = write_balls(tmp_path / "held", 2, first_seed=HELD_OUT_SEEDS[3])
    for head in (held / "canonical").iterdir():
        source = (marked / "canonical/head_001000/landmarks.json").read_text(encoding="utf-8")
        (head / "landmarks.json").write_text(source, encoding="utf-8")
    for head in [*(marked / "canonical").iterdir(), *(held / "canonical").iterdir()]:
        (head / "parts").mkdir()
        for path in head.glob("cam_*.png"):
            with Image.open(path) as image:
                image.getchannel("A").point(lambda a: int(a > 127)).save(
                    head / "parts" / path.name.replace("cam", "part")
                )
        (head / "normals").mkdir()
        for path in head.glob("cam_*.png"):  # any: all of them face the camera
            with Image.open(path) as image:
                Image.new("RGB", image.size, (128, 0, 128)).save(
                    head / "normals" / path.name.replace("cam", "normal")
                )
        person = {"targets": {"expression/units/asian/smile": 0.5}, "male": 0.3, "age": 40}
        (head / "person.json").write_text(json.dumps(person), encoding="utf-8")
    data, other = {"data": f"{marked}/canonical"}, {"data": f"{held}/canonical"}
    models = {"generator": f"{warping}/views", "reconstructor": f"{warping}/reconstructor"}
    stages = {
        "autoencoder": (VIEWS, {"data": [data["data"]], "crop_size": 32}, {"data": [other["data"]]}, "psnr"),
        "views": (None, data | {"autoencoder": str(save_views(tmp_path / "views"))}, other, "loss"),
        "decoder": (None, data | models | {"crop_size": 16, "critic_width": 16}, other, "error"),
        "portrait": (
            {"widths": [16, 16, 16], "width": 32, "layers": 1, "head_dim": 16},
            data | {"size": 32},
            other,
            "pixels",
        ),
        "features": ({"widths": [16, 16]}, data, other, "parts"),
        "reconstructor": (
            RECONSTRUCTOR,
            {"canonical": data["data"], "orbit": f"{marked}/orbit", "render_size": 32},
            {"canonical": other["data"], "orbit": f"{held}/orbit"},
            "image",
        ),
    }
    for stage, (model, training, validation, name) in stages.items():
        parts = {} if model is None else {"model": model}
        loop = {"batch": 2, "max_steps": 2, "log_every": 0.0, "validate_every": 0.0, "validation_samples": 2}
        loop |= {"lr": 1e-12, "ema": 0.0}
        config = write_config(
            tmp_path / f"{stage}.yaml", **parts, training=training, validation=validation, loop=loop
        )
        run(stage, config, tmp_path / stage, device="cpu")
        lines = (tmp_path / stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        first, second = (json.loads(line)["validation"] for line in lines)
        assert first[name] == pytest.approx(second[name], rel=1e-4), "it learnt nothing and saw the same"
        assert json.loads(lines[0])["peak_share"] > 0
    config = yaml.safe_load((tmp_path / "features.yaml").read_text(encoding="utf-8"))
    config["validation"] = {"data": config["training"]["data"]}
    with pytest.raises(UserError, match="no held-out heads"):
        run("features", write_config(tmp_path / "none.yaml", **config), tmp_path / "none", device="cpu")
