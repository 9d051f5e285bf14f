"""Several portraits at once are what they are one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import CLEAN, RECONSTRUCTOR, VIEWS
from tiny import SIZE, digest, lift, portrait, tiny_parts
from torch import nn

from facelift import FaceLift
from facelift.cameras import canonical_rig
from facelift.devices import portraits_at_once
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.weights import Settings

CUDA, GIB = torch.device("cuda"), 2**30


@pytest.fixture(scope="module")
def model():
    return FaceLift(*tiny_parts(), "cpu", Settings(dtype={"cpu": "float32"}))


def images(count, seed=0):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_heads_of_a_list_are_those_of_its_photos(model):
    """Three photos in a batch of two and one of one: the views to rounding, and what the fit starts from."""
    photos = [portrait(seed) for seed in range(3)]
    together = model(photos, seed=5, prepared=True, refinement=0, batch_size=2)
    for photo, head in zip(photos, together, strict=True):
        alone = model(photo, seed=5, prepared=True, refinement=0)
        assert torch.equal(head.portrait, alone.portrait) and head.faces == alone.faces
        torch.testing.assert_close(head.views, alone.views, atol=1e-5, rtol=0)
        for name, tensor in alone.gaussians.tensors().items():
            torch.testing.assert_close(head.gaussians.tensors()[name], tensor, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0].views, together[1].views, atol=1e-2), "they are of two people"


def test_a_cpu_takes_them_one_by_one_to_the_bit(model):
    photos = [portrait(seed) for seed in range(2)]
    heads = model(photos, seed=1, prepared=True, refinement=3)
    assert digest(heads[1]) == digest(model(photos[1], seed=1, prepared=True, refinement=3))
    assert model([]) == []


def test_portraits_of_several_sizes_are_batches_of_their_own():
    views, reconstructor = tiny_parts()
    views.config = replace(views.config, any_size=True)
    heads = FaceLift(views, reconstructor, "cpu")(
        [np.pad(portrait(), ((16, 16), (16, 16), (0, 0)), constant_values=255), portrait(), portrait(1)],
        prepared=True,
        refinement=0,
        batch_size=8,
    )
    assert [head.portrait.shape[-1] for head in heads] == [96, 64, 64]


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++"])
@pytest.mark.parametrize("sliced", [False, True])
def test_views_of_a_batch_with_guidance(scheduler, sliced):
    """With noise between the steps as well: each portrait has the noise that it has alone."""
    torch.manual_seed(0)
    schedule = VIEWS["scheduler"] | {"rescale_betas_zero_snr": False}  # which allows noise between the steps
    generator = ViewGenerator(ViewGeneratorConfig(**VIEWS | {"scheduler": schedule})).eval()
    sampling = {"seed": 3, "guidance": 2.0, "eta": 1.0 if scheduler == "ddim" else None, "steps": 3}
    sampling |= {"scheduler": scheduler, "sliced": sliced}
    batch = images(3)
    got = generator.generate(batch, **sampling)
    assert got.shape == (3, 6, 3, SIZE, SIZE)
    expected = torch.stack([generator.generate(image, **sampling) for image in batch])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_warped_views_of_a_batch_must_be_as_many():
    generator = ViewGenerator(ViewGeneratorConfig(**CLEAN | {"warped_views": True, "unet": VIEWS["unet"]}))
    with pytest.raises(UserError, match=r"\(2, 6, 3, 32, 32\)"):
        generator.generate(images(2), warped=images(6))


@pytest.mark.parametrize("skip_background", [True, False])
def test_gaussians_of_a_batch(skip_background):
    """Heads of unequal numbers of tokens, and of equal ones, which need no mask."""
    torch.manual_seed(0)
    model = GSLRM(GSLRMConfig(**RECONSTRUCTOR | {"skip_background": skip_background})).eval()
    model.init_weights()
    views, rig = images(12).unflatten(0, (2, 6)), canonical_rig(SIZE)
    views[1, :, :, :16] = 1.0
    for got, one in zip(model.reconstruct_batch(views, rig), views, strict=True):
        expected = model.reconstruct(one, rig)
        assert len(got) == len(expected) > 0
        for name, tensor in expected.tensors().items():
            torch.testing.assert_close(got.tensors()[name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("free", "memory", "most"), [(24, "fast", 26), (24, "sliced", 26), (24, "offload", 23), (2, "fast", 1)]
)
def test_a_batch_is_what_fits_the_memory(monkeypatch, free, memory, most):
    """At 512 x 512 in float16 each portrait takes 0.9 GiB; 1.5 stay free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: GIB // 2)
    part = nn.Linear(1, int(2.5 * GIB / 2), bias=False, device="meta", dtype=torch.float16)
    models, pixels = [nn.Sequential(part)], 6 * 512**2
    assert portraits_at_once(memory, CUDA, models, pixels, torch.float16) == most
    assert portraits_at_once(memory, torch.device("cpu"), models, pixels, torch.float16) == 1


@pytest.mark.parametrize("batch_size", [0, 1.5])
def test_a_batch_size_that_is_none(model, batch_size):
    with pytest.raises(UserError, match="batch size"):
        lift(model, batch_size=batch_size)
