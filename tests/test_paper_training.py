"""Training at the paper's size, on tiny copies: its objective against plain formulas of the two papers."""

import math
from dataclasses import replace

import pytest
import torch
from descent import assert_learns
from diffusers import AutoencoderKL, UNet2DConditionModel
from paper import reconstructor_config, views_config, write_heads, write_unclip, write_vgg19
from PIL import Image
from safetensors.torch import load_file
from small import CPU
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.reconstruct import GSLRMConfig
from facelift.render import render
from facelift.train.config import LoopConfig, read_yaml, structured
from facelift.train.loader import draws
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.start import starting_reconstructor, starting_views
from facelift.train.state import TrainingState
from facelift.train.task import generator_for
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig
from facelift.weights import CHECKPOINT, PIPELINE

pytestmark = pytest.mark.usefixtures("float32")
STEPS = 20


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return write_unclip(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads"), 64)


def parts(path, model):
    read = read_yaml(path)
    kinds = {"model": model, "training": ViewsTraining, "loop": LoopConfig}
    if model is GSLRMConfig:
        kinds["training"] = ReconstructorTraining
    return [structured(kind, read[name], path, name) for name, kind in kinds.items()]


def trained_losses(task, loop, path):
    """The losses of the first steps: of the objective, as the loop would weigh them."""
    state, losses = TrainingState(task, loop, path), []
    task.model.train()
    sampled = task.losses

    def noted(step, batch, rng):
        losses.append(0.0)
        for loss in sampled(step, batch, rng):
            losses[-1] += float(loss.total.detach()) * loss.samples / batch
            yield loss

    task.losses = noted
    for _ in range(STEPS):
        state.advance(1.0)
    return losses


class FrontAttention:
    """DESIGN: queries from the view itself; keys and values are the front view's tokens, then its own."""

    def __call__(self, attn, hidden_states, *_, **__):
        front = hidden_states.unflatten(0, (-1, 6))[:, :1].expand(-1, 6, -1, -1).flatten(0, 1)
        seen = torch.cat([front, hidden_states], dim=1)
        query, key, value = (
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, seen), (attn.to_v, seen))
        )
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        return attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2))


class PlainViews:
    """FaceLift section 3.2 by formulas, with diffusers' and transformers' own classes on the same files."""

    def __init__(self, pipeline, prompts, dropout):
        self.prompts, self.dropout = prompts, dropout
        self.unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
        old = self.unet.conv_in
        self.unet.conv_in = torch.nn.Conv2d(8, old.out_channels, 3, padding=1)
        self.unet.conv_in.weight.data = torch.cat([old.weight, torch.zeros_like(old.weight)], dim=1)
        self.unet.conv_in.bias = old.bias
        for name, module in self.unet.named_modules():
            if name.endswith("attn1"):
                module.set_processor(FrontAttention())
        self.vae = AutoencoderKL.from_pretrained(pipeline / "vae")
        self.clip = CLIPVisionModelWithProjection.from_pretrained(pipeline / "image_encoder")
        self.processor = CLIPImageProcessor.from_pretrained(pipeline / "feature_extractor")
        normalizer = load_file(pipeline / "image_normalizer/diffusion_pytorch_model.safetensors")
        self.mean, self.std = normalizer["mean"], normalizer["std"]
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = (1 - betas).cumprod(0)

    @torch.no_grad()
    def latents(self, images):
        return self.vae.encode(images * 2 - 1).latent_dist.mode() * 0.18215

    @torch.no_grad()
    def label(self, portrait, noise):
        """The noised embedding at level 0, and that level's sinusoidal embedding: cosines, then sines."""
        image = Image.fromarray((portrait.movedim(0, -1) * 255).round().byte().numpy())
        pixels = self.processor(image, return_tensors="pt").pixel_values
        embedding = (self.clip(pixels).image_embeds - self.mean) / self.std
        kept = math.cos((1 / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        kept /= math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        noisy = kept**0.5 * embedding + (1 - kept) ** 0.5 * noise
        half = self.mean.shape[1] // 2
        level = torch.cat([torch.ones(6, half), torch.zeros(6, half)], dim=1)
        return torch.cat([noisy * self.std + self.mean, level], dim=1)

    def loss(self, folder, draw):
        """SNR-weighted squared error of v for one sample, all of which follows from its random numbers."""
        head = folder.load(folder.heads[draw.choose(len(folder))])
        shade = [1.0, 0.5, 0.0][int(torch.randint(3, (), generator=draw.rng()))]
        images = (head.images - 1 + head.alpha + shade * (1 - head.alpha)).clamp(0, 1)
        images = (images * 255).round() / 255
        latents, rng = self.latents(images), draw.rng(1)
        t = int(torch.randint(1000, (1,), generator=rng))
        noise = torch.randn(latents.shape, generator=rng)
        dropped = bool(torch.rand(1, generator=rng) < self.dropout)
        label = self.label(images[0], torch.randn(6, self.mean.shape[1], generator=rng))
        condition = latents[:1].expand_as(latents)
        if dropped:
            label, condition = 0 * label, 0 * condition
        alpha = self.alphas[t]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        given = torch.cat([noisy, condition], dim=1)
        predicted = self.unet(given, t, self.prompts, class_labels=label).sample
        snr = alpha / (1 - alpha)
        return min(snr, 5.0) / (snr + 1) * (predicted - velocity).square().mean(), dropped


def plain_losses(loss_of, parameters, loop):
    """AdamW on the mean over a batch, the gradient clipped to a norm of 1."""
    optimizer = torch.optim.AdamW(parameters, loop.lr, loop.betas, weight_decay=loop.weight_decay)
    losses = []
    for step in range(STEPS):
        seed = generator_for(loop.seed, step).initial_seed()
        total = torch.stack([loss_of(draw) for draw in draws(step, loop.batch, seed)]).mean()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(total.detach()))
    return losses


def test_the_view_generator_takes_the_papers_first_steps(tmp_path, pipeline, heads):
    path = views_config(tmp_path, pipeline, heads, batch=1)
    model, training, loop = parts(path, ViewGeneratorConfig)
    assert (training.condition_dropout, training.snr_gamma, loop.lr, loop.max_steps) == (
        0.05,
        5,
        1e-4,
        20_000,
    )
    training = replace(training, condition_dropout=0.2)  # of twenty samples 5% may be none
    task = ViewsTask(training, CPU, model)
    plain = PlainViews(pipeline, task.generator.prompts.detach().clone(), 0.2)
    folder, dropped = HeadFolder(training.data), []

    def loss_of(draw):
        loss, without = plain.loss(folder, draw)
        dropped.append(without)
        return loss

    expected = plain_losses(loss_of, [*plain.unet.parameters()], loop)
    found = trained_losses(task, loop, tmp_path / "state.pt")
    # AdamW's first steps have one length however small a gradient is, rounding errors alone included.
    assert found[:2] == pytest.approx(expected[:2], rel=5e-4) and found == pytest.approx(expected, rel=0.03)
    assert 0 < sum(dropped) < STEPS, "some are without condition"
    widened = task.generator.unet.conv_in.weight[:, 4:]
    assert widened.abs().max() > 0, "the condition's channels began at zero and learn"
    assert all(p is not task.generator.prompts for p in task.model.parameters()), "prompts stay as they are"


def test_the_reconstructor_takes_the_papers_first_steps(tmp_path):
    vgg19 = write_vgg19(tmp_path / "vgg.safetensors")
    heads = write_heads(tmp_path / "heads", 32)
    path = reconstructor_config(tmp_path, "reconstructor_256", heads, vgg19)
    model, training, loop = parts(path, GSLRMConfig)
    training = structured(
        ReconstructorTraining, vars(training) | {"perceptual_start_step": 5}, path, "training"
    )
    torch.manual_seed(0)
    task = ReconstructorTask(model, training, CPU)
    plain = ReconstructorTask(model, training, CPU).model
    plain.load_state_dict(task.model.state_dict())
    folder, weights, beyond = HeadFolder(training.orbit), load_file(vgg19), []

    def vgg(images):
        """conv1_2, conv2_2, conv3_2, conv4_2 and conv5_2 after ReLU, each place's vector at length one."""
        x = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
            [0.229, 0.224, 0.225]
        )[:, None, None]
        for block in ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30)):
            for k, place in enumerate(block):
                x = F.relu(
                    F.conv2d(
                        x, weights[f"features.{place}.weight"], weights[f"features.{place}.bias"], padding=1
                    )
                )
                if k == 1:
                    yield x / x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
            x = F.max_pool2d(x, 2)

    def loss_of(draw):
        head = folder.heads[draw.choose(len(folder))]
        chosen = torch.randperm(10, generator=draw.rng())[:8].tolist()
        truth = folder.load(head, chosen)
        predicted = plain(truth.images[:4], truth.cameras[:4])
        gaussians = predicted.activated()
        free, placed = gaussians.means[:2], gaussians.means[2:]
        beyond.append(float((placed.abs() > 1).float().mean()))
        gaussians = replace(gaussians, means=torch.cat([free, placed.clamp(-1, 1)]))
        drawn = render(gaussians, truth.cameras).image
        loss = (drawn - truth.images).square().mean()
        if draw.step >= 5:
            for a, b in zip(vgg(drawn), vgg(truth.images), strict=True):
                loss = loss + 0.5 * (a - b).square().sum(1).mean()
        return loss

    expected = plain_losses(loss_of, [*plain.parameters()], loop)
    found = trained_losses(task, loop, tmp_path / "state.pt")
    assert found[:8] == pytest.approx(expected[:8], rel=1e-3) and found == pytest.approx(expected, rel=0.03)
    assert sum(beyond) > 0, "some are moved into the box"
    assert min(found[5:]) > max(found[:5]), "the features come after the warm-up"


@pytest.mark.parametrize("stage", ["reconstructor_512", "reconstructor"])
def test_later_stages_of_the_reconstructor_learn(tmp_path, stage):
    heads = write_heads(tmp_path / "heads", 32)
    path = reconstructor_config(tmp_path, stage, heads, write_vgg19(tmp_path / "vgg.safetensors"))
    model, training, loop = parts(path, GSLRMConfig)
    training = replace(training, init_from=None)
    assert (loop.max_steps, loop.lr) == (20_000, 1e-4)
    task = ReconstructorTask(model, training, CPU)
    _, sample = next(task.samples(0, 1, generator_for(0, 0)))
    inputs = 6 if stage == "reconstructor" else 4
    assert len(sample.images) == inputs and len(sample.targets.images) == 8
    assert torch.equal(sample.images, sample.targets.images[:inputs]), "the inputs are supervised as well"
    assert_learns(task, batch=1)


def test_a_training_goes_on_from_the_released_checkpoint(pipeline, monkeypatch):
    released = pipeline.parents[1]
    assert released / PIPELINE == pipeline and (released / CHECKPOINT).exists()
    config = GSLRMConfig(**{"image_size": 32, "width": 64, "layers": 3, "head_dim": 16})
    assert starting_reconstructor(str(released), config).patch_embed.weight.shape[0] == 64
    asked = []

    def download(name, revision, files, complete):
        asked.append((name, complete(released), complete(released / "nowhere")))
        assert {"unet/config.json", f"{PIPELINE}/unet/config.json"} <= set(files)
        return released

    monkeypatch.setattr("facelift.hub.download", download)
    assert starting_views("someone/unclip", None).unet.config.in_channels == 8
    assert asked == [("someone/unclip", True, False)]
    with pytest.raises(UserError, match="There are no weights to start from at nowhere"):
        starting_views("nowhere", None)
