"""Deep features kept between steps: the same numbers where nothing changed, and less work."""

import pytest
import torch
from small import VIEWS

from facelift.errors import UserError
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.views.feature_cache import FeatureCache

LABELLED = VIEWS["unet"] | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 6}


@pytest.fixture(scope="module")
def generator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ViewGenerator(ViewGeneratorConfig(**VIEWS | {"unet": LABELLED})).eval().requires_grad_(False)


def inputs(seed=0):
    numbers = torch.Generator().manual_seed(seed)
    sample, prompts, labels = (
        torch.randn(shape, generator=numbers) for shape in ((6, 8, 8, 8), (6, 1, 16), (6, 6))
    )
    return sample, torch.full((6,), 300), prompts, labels


def plain(unet, sample, timestep, prompts, labels):
    return unet(sample, timestep, encoder_hidden_states=prompts, class_labels=labels).sample


def test_what_did_not_change_need_not_be_computed(generator):
    """With the same input the short way gives what the whole one gave, so it is the right short way."""
    cache = FeatureCache(generator.unet, 2)
    whole, short = (cache(*inputs()).sample for _ in range(2))
    assert torch.equal(whole, plain(generator.unet, *inputs()))
    torch.testing.assert_close(short, whole, atol=1e-6, rtol=0)


def test_the_short_way_heeds_its_own_input(generator):
    cache = FeatureCache(generator.unet, 3)
    cache(*inputs())
    short = cache(*inputs(1)).sample
    assert not torch.allclose(short, plain(generator.unet, *inputs()), atol=1e-3)
    assert not torch.allclose(short, plain(generator.unet, *inputs(1)), atol=1e-3)
    cache(*inputs(1))
    assert torch.equal(cache(*inputs(1)).sample, plain(generator.unet, *inputs(1))), "the fourth is whole"


def test_halves_of_the_guidance_keep_their_own_features(monkeypatch):
    generator = ViewGenerator(ViewGeneratorConfig(**VIEWS | {"guidance": 2.0, "steps": 5})).eval()
    passes = []
    generator.unet.mid_block.register_forward_hook(lambda *_: passes.append(1))
    portrait = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    sliced = generator.generate(portrait, sliced=True, cache_interval=3)
    assert len(passes) == 2 * 2, "the first and the fourth of five steps, both halves"
    at_once = generator.generate(portrait, sliced=False, cache_interval=3)
    torch.testing.assert_close(at_once, sliced, atol=1e-4, rtol=0)
    whole = generator.generate(portrait, cache_interval=1)
    assert torch.equal(whole, generator.generate(portrait))
    assert not torch.allclose(whole, sliced, atol=1e-3)


def test_an_interval_that_cannot_be_is_refused(generator):
    with pytest.raises(UserError, match="cache interval"):
        generator.generate(torch.rand(3, 32, 32), cache_interval=0)
