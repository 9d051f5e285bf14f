"""The view generator: FaceLift's U-Net from stock parts, and sampling that a seed decides."""

import json
import math

import pytest
import torch
from diffusers.models.attention_processor import Attention
from released import GOLDEN, expected_views, weights_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from configs import views_config
from facelift.errors import UserError
from facelift.transformer import Block
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.views.autoencoder import MATTE_SHARPNESS, Autoencoder
from facelift.views.unet import FrontViewAttention, build_unet


def tiny(warped_views=False, **sampling):
    scheduler = {
        "prediction_type": "sample" if warped_views else "v_prediction",
        "clip_sample": False,
        "timestep_spacing": "trailing",
    }
    sampling = {"steps": 2, "guidance": 1.0, "eta": 0.0} | sampling
    config = views_config(
        32, [32, 32], 16, groups=32, scheduler=scheduler, warped_views=warped_views, **sampling
    )
    torch.manual_seed(0)
    return ViewGenerator(ViewGeneratorConfig(**config)).eval()


@torch.no_grad()
def test_the_unet_is_facelifts_own():
    """Its 444 tensors and what FaceLift's own code makes of two guided halves of six views."""
    unet = build_unet(json.loads((GOLDEN / "released.json").read_text())["files"]["unet/config.json"]).eval()
    unet.load_state_dict(weights_of("unet"))
    golden = {k.removeprefix("unet."): v for k, v in expected_views().items() if k.startswith("unet.")}
    got = unet(
        golden["sample"],
        golden["timestep"],
        golden["encoder_hidden_states"],
        class_labels=golden["class_labels"],
    ).sample
    torch.testing.assert_close(got, golden["output"], atol=1e-4, rtol=1e-4)


def test_front_view_attention_is_softmax_over_front_and_own_tokens():
    """Against the formula, written out for every view and head."""
    torch.manual_seed(0)
    attention = Attention(query_dim=8, heads=2, dim_head=4).double()
    x = torch.randn(6, 5, 8, dtype=torch.float64)  # two samples of three views
    got = FrontViewAttention(views=3)(attention, x)
    for sample in range(2):
        for view in range(3):
            own, front = x[3 * sample + view], x[3 * sample]
            seen = torch.cat([front, own])
            heads = []
            for h in range(2):
                part = slice(4 * h, 4 * h + 4)
                q, k, v = (
                    (tokens @ layer.weight.T)[:, part]
                    for tokens, layer in (
                        (own, attention.to_q),
                        (seen, attention.to_k),
                        (seen, attention.to_v),
                    )
                )
                heads.append((q @ k.T / math.sqrt(4)).softmax(-1) @ v)
            expected = torch.cat(heads, -1) @ attention.to_out[0].weight.T + attention.to_out[0].bias
            torch.testing.assert_close(got[3 * sample + view], expected)


def test_a_seed_decides_the_views():
    model, portrait = tiny(), torch.rand(3, 32, 32)
    first, again, other = (model.generate(portrait, seed) for seed in (3, 3, 4))
    assert first.shape == (6, 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_view_is_conditioned_on_its_warped_view(monkeypatch):
    model, warped = tiny(warped_views=True), torch.rand(6, 3, 32, 32)
    seen = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda *a: seen.append(a[2]) or predict(*a))
    model.generate(warped[0], steps=1, guidance=1.0, warped=warped)
    latents = model.autoencoder.encode(warped)
    torch.testing.assert_close(seen[0][0], latents)
    model.unet.conv_out.bias.data = torch.tensor([0.0, 0.0, 0.0, 0.0, 50.0])
    copied = model.generate(warped[0], guidance=1.0, warped=warped)
    expected = model.autoencoder.decode(latents).clamp(0, 1)
    torch.testing.assert_close(copied, expected, atol=1e-4, rtol=0)  # a condition may be kept as it is
    with pytest.raises(UserError, match="Warped views"):
        model.generate(warped[0])
    with pytest.raises(UserError, match="Warped views"):
        tiny().generate(warped[0], warped=warped)


def test_guidance_of_one_is_the_conditional_prediction_in_one_pass(monkeypatch):
    model, portrait = tiny(), torch.rand(3, 32, 32)
    passes = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda *a: passes.append(a[2].abs().sum() > 0) or predict(*a))
    model.generate(portrait, steps=2, guidance=1.0)
    assert passes == [True, True]
    passes.clear()
    model.generate(portrait, steps=2, guidance=2.0)
    assert passes == [True, False, True, False]  # the unconditional half sees zeros


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++"])
def test_schedulers_recover_a_sample_that_the_unet_knows(monkeypatch, scheduler):
    """A U-Net that always predicts the v of one fixed sample must lead there, whatever the noise."""
    model, portrait = tiny(), torch.rand(3, 32, 32)
    schedule = model.scheduler
    known = torch.randn(1, 6, 4, 8, 8)

    def oracle(noisy, timesteps, condition, *_):
        alpha = schedule.alphas_cumprod[timesteps].sqrt()
        sigma = (1 - schedule.alphas_cumprod[timesteps]).sqrt()
        noise = (noisy - alpha * known) / sigma
        return alpha * noise - sigma * known

    monkeypatch.setattr(model, "predict", oracle)
    expected = model.autoencoder.decode(known[0]).clamp(0, 1)
    torch.testing.assert_close(
        model.generate(portrait, steps=5, scheduler=scheduler), expected, atol=2e-3, rtol=0
    )


def test_dpm_solver_takes_twenty_steps_and_no_noise():
    model, portrait = tiny(eta=1.0), torch.rand(3, 32, 32)
    seen = []
    model.generate(portrait, scheduler="dpm++", progress=lambda steps: seen.extend(steps) or steps)
    assert len(seen) == 20
    with pytest.raises(UserError, match="eta"):
        model.generate(portrait, scheduler="dpm++", eta=0.5)


def test_slices_are_only_about_memory(monkeypatch):
    model, portrait = tiny(), torch.rand(3, 32, 32)
    halves, slices = (model.generate(portrait, guidance=2.0, sliced=sliced) for sliced in (False, True))
    torch.testing.assert_close(halves, slices, atol=1e-3, rtol=0)
    sizes = []
    predict, decode = model.predict, model.autoencoder.decode
    monkeypatch.setattr(model, "predict", lambda noisy, *a: sizes.append(len(noisy)) or predict(noisy, *a))
    monkeypatch.setattr(model.autoencoder, "decode", lambda x: sizes.append(len(x)) or decode(x))
    model.generate(portrait, steps=1, guidance=2.0, sliced=False)
    model.generate(portrait, steps=1, guidance=2.0, sliced=True)
    assert sizes == [2, 6, 1, 1, *[1] * 6]


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_iter(result) if isinstance(x, torch.Tensor)]
        self.numel = max(self.numel, *sizes, 0)
        return result


@torch.no_grad()
def test_attention_never_writes_its_weights_out():
    """Neither (views x tokens)^2 numbers nor, in the U-Net, the front view's keys for all views at once."""
    tokens, width = 1024, 16
    attention = Attention(query_dim=width, heads=1, dim_head=width)
    with Largest() as seen:
        FrontViewAttention(views=6)(attention, torch.randn(6, tokens, width))
    assert seen.numel == 6 * tokens * width, "the views themselves"
    block = Block(width, head_dim=16)
    for query_only, padding_mask in ((0, None), (tokens, torch.arange(5 * tokens)[None] < 4 * tokens)):
        with Largest() as seen:
            block(torch.randn(1, 6 * tokens, width), query_only, padding_mask)
        assert seen.numel == 6 * tokens * 4 * width, "the hidden layer"


def test_autoencoder_folds_pixels_into_channels():
    config = tiny().config
    model = Autoencoder(config.autoencoder, pixel_unshuffle=2, scaling_factor=2.0).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        latents = model.encode(images)
        assert latents.shape == (2, 4, 8, 8)
        assert model.downsampling == 4
        torch.testing.assert_close(latents, 2 * model.posterior(images)[0])
        assert model.decode(latents).shape == images.shape


def test_a_matte_puts_an_outline_where_a_person_is_as_likely_as_not(monkeypatch):
    model = Autoencoder(tiny().config.autoencoder, pixel_unshuffle=2, matte=True)
    color, chance = torch.rand(1, 3, 32, 32), torch.linspace(0.02, 0.98, 32).expand(1, 1, 32, 32)
    layers = torch.cat([color * 2 - 1, chance.logit()], dim=1)
    folded = nn.functional.pixel_unshuffle(layers, 2)
    monkeypatch.setattr(model.kl, "decode", lambda latents: type("Out", (), {"sample": folded}))
    decoded, logits = model.decode_layers(torch.zeros(1))
    torch.testing.assert_close((decoded, logits), (color, chance.logit()))
    odds = (chance / (1 - chance)) ** MATTE_SHARPNESS
    matte = odds / (1 + odds)
    expected = torch.cat([1 + matte * (color - 1), matte], dim=1)
    torch.testing.assert_close(model.decode(torch.zeros(1)), expected)


def test_fold_is_undone_exactly(monkeypatch):
    model = Autoencoder(tiny().config.autoencoder, pixel_unshuffle=2)
    images = torch.rand(1, 3, 32, 32)
    folded = nn.functional.pixel_unshuffle(images * 2 - 1, 2)
    monkeypatch.setattr(model.kl, "decode", lambda latents: type("Out", (), {"sample": folded}))
    torch.testing.assert_close(model.decode(torch.zeros(1)), images)
