"""Precision and memory by device, and the time a CPU will need."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facelift import devices, estimate
from facelift.cameras import canonical_rig
from facelift.devices import choose_dtype, choose_memory, inference_copy, on_device
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GSLRMConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


def test_precision_is_the_models_choice_unless_asked(monkeypatch):
    by_device = {"cpu": "float32", "cuda": "bfloat16"}
    assert choose_dtype("auto", CPU, by_device) == torch.float32
    assert choose_dtype("float16", CPU, by_device) == torch.float16
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda has=has: has)
        assert choose_dtype("auto", CPU, {"cpu": "bfloat16"}) == dtype, "imitating bfloat16 takes longer"
        assert choose_dtype("bfloat16", CPU, {}) == torch.bfloat16, "but who asks for it gets it"
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported, **_: supported)
        assert choose_dtype("auto", CUDA, by_device) == dtype
    with pytest.raises(UserError, match="float8"):
        choose_dtype("float8", CPU, by_device)


def test_a_variable_says_whether_the_cpu_has_bfloat16(monkeypatch):
    """So that the tests run on one machine as they do on others."""
    monkeypatch.delenv("FACELIFT_CPU_BFLOAT16", raising=False)
    assert devices.cpu_has_bfloat16() == devices._multiplies_bfloat16()
    for value, dtype in (("0", torch.float32), ("1", torch.bfloat16), ("0", torch.float32)):
        monkeypatch.setenv("FACELIFT_CPU_BFLOAT16", value)
        assert choose_dtype("auto", CPU, {"cpu": "bfloat16"}) == dtype
        with devices.autocast(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    monkeypatch.setenv("FACELIFT_CPU_BFLOAT16", "yes")
    with pytest.raises(UserError, match="0 or 1, not 'yes'"):
        devices.cpu_has_bfloat16()


@torch.no_grad()
def test_held_weights_change_nothing_under_autocast():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
        held = inference_copy(model, torch.bfloat16)
        got = held(x)
    assert torch.equal(got, expected)
    assert [m.weight.dtype for m in (held[0], held[1], held[3])] == [
        torch.bfloat16,
        torch.float32,
        torch.bfloat16,
    ]


def test_heads_of_the_reconstructor_stay_exact():
    model = inference_copy(GSLRM(GSLRMConfig(image_size=16, width=64, layers=1, head_dim=32)), torch.float16)
    assert model.patch_embed.weight.dtype == model.blocks[0].mlp[0].weight.dtype == torch.float16
    assert model.pixel_head.weight.dtype == model.learned_head.weight.dtype == torch.float32


@pytest.mark.parametrize(("free", "level"), [(24, "fast"), (11, "fast"), (7.6, "sliced"), (5, "offload")])
def test_memory_is_the_fastest_that_fits(monkeypatch, free, level):
    """The paper's models in float16, 3.5 GiB of weights, at 512 x 512."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GIB, 80 * GIB))
    weights = nn.Linear(1, int(3.5 * GIB / 2), bias=False, device="meta", dtype=torch.float16)
    assert choose_memory("auto", CUDA, [weights], 6 * 512**2, torch.float16) == level
    assert choose_memory("auto", CPU, [weights], 6 * 512**2, torch.float16) == "sliced"
    assert choose_memory("offload", CUDA, [weights], 6 * 512**2, torch.float16) == "offload"


def test_a_module_visits_a_device_and_returns():
    """The meta device stands in for a GPU; a stage that fails is brought home, too."""
    model = nn.Linear(2, 2, device="meta")
    with pytest.raises(RuntimeError), on_device(model, torch.device("meta")):
        raise RuntimeError
    moves = []
    module = nn.Linear(2, 2)
    module.to = moves.append
    with on_device(module, torch.device("meta")):
        assert moves == [torch.device("meta")]
    assert moves == [torch.device("meta"), CPU]


def test_the_estimate_scales_a_timed_part_to_the_whole(monkeypatch):
    """On a clock that ticks once for each operation, the estimate is the number of operations."""
    from facelift import FaceLift

    model = FaceLift.from_pretrained(device="cpu", dtype="float32")
    assert model.estimate(10, 1.0, "ddim") is None, "small models are not worth it"
    monkeypatch.setattr(estimate, "LARGE", 0)
    image, warped = torch.ones(3, 256, 256), torch.ones(6, 3, 256, 256)
    with FlopCounterMode(display=False) as counter:
        monkeypatch.setattr(estimate.time, "perf_counter", counter.get_total_flops)
        one, two, guided = (model.estimate(*x, "ddim") for x in ((2, 1.0), (4, 1.0), (2, 2.0)))
    true = estimate.operations(lambda: model.views.generate(image, steps=2, warped=warped))
    true += estimate.operations(lambda: model.reconstructor(warped, canonical_rig(256)))
    assert one == pytest.approx(true, rel=0.15)
    assert two == guided and one < two < 2 * one, "guidance doubles the passes, and what follows is once"


def test_operations_are_counted():
    a, b = torch.zeros(3, 4, device="meta"), torch.zeros(4, 5, device="meta")
    assert estimate.operations(lambda: a @ b) == 2 * 3 * 4 * 5


def test_levels_are_in_the_order_of_what_they_take():
    assert devices.ACTIVATION_BYTES["fast"] > devices.ACTIVATION_BYTES["sliced"]


def test_on_apples_gpu_gaussians_are_placed_and_drawn_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    apple = devices.choose_device("mps")
    assert apple == torch.device("mps")
    assert devices.geometry_device(apple) == torch.device("cpu")
    assert devices.geometry_device(torch.device("cpu")) == torch.device("cpu")
