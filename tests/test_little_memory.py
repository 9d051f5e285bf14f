"""Weights in eight bits, and what is said when memory is not enough."""

from dataclasses import replace

import pytest
import torch
from tiny import SIZE, tiny_parts
from torch import nn

from facelift import FaceLift, out_of_memory
from facelift.devices import inference_copy
from facelift.errors import UserError
from facelift.out_of_memory import Load, check_memory, out_of_memory_explained
from facelift.quantization import hold_in_eight_bits

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
# FaceLift's own size: CLIP, autoencoder, U-Net, GS-LRM.
PAPER = Load(
    CPU,
    "sliced",
    torch.float32,
    [632_000_000, 84_000_000, 870_000_000, 304_000_000],
    870_000_000,
    False,
    6 * 512**2,
)
GIB = 2**30


# --- eight bits


def test_a_weight_in_eight_bits_is_off_by_half_a_step_at_most():
    layer = nn.Conv2d(3, 5, 3).requires_grad_(False)
    layer.weight[2] *= 100  # every output channel has a step of its own
    layer.weight[4] = 0
    true = layer.weight.clone()
    hold_in_eight_bits(layer, torch.float32)
    step = true.flatten(1).abs().amax(1) / 127
    assert ((layer.weight - true).flatten(1).abs() <= 0.51 * step[:, None]).all()
    assert layer.parametrizations.weight.original0.dtype == torch.int8
    assert not (layer.weight[4] != 0).any()


def test_a_model_in_eight_bits_gives_nearly_the_same_views_in_a_quarter_of_the_memory():
    views, reconstructor = tiny_parts()
    whole = FaceLift(views, reconstructor, "cpu", dtype="float32")
    small = FaceLift(views, reconstructor, "cpu", dtype="int8")
    weights = [
        sum(p.nbytes for p in model.views.unet.parameters() if p.ndim > 1 and p[0].numel() > 1)
        for model in (whole, small)
    ]
    assert weights[1] == weights[0] / 4
    portrait = torch.rand(2 * SIZE, 2 * SIZE, 3, generator=torch.Generator().manual_seed(0)).numpy()
    a, b = (model(portrait, prepared=True, refinement=0).views for model in (whole, small))
    assert 0 < (a - b).abs().mean() < 0.03
    assert views.unet.conv_in.weight.dtype == torch.float32, "what was given stays as it is"


def test_a_model_in_eight_bits_is_saved_as_it_was_loaded(tmp_path):
    views, reconstructor = tiny_parts()
    FaceLift(views, reconstructor, "cpu", dtype="int8").save_pretrained(tmp_path)
    again = FaceLift.from_pretrained(tmp_path, device="cpu", dtype="float32")
    for name, tensor in views.unet.state_dict().items():
        assert torch.equal(tensor, again.views.unet.state_dict()[name])


def test_a_part_may_stay_as_it_is_stored():
    views, _ = tiny_parts()
    half = inference_copy(views.half(), torch.float32, "unet")
    assert half.unet.conv_in.weight.dtype == torch.float16
    assert half.autoencoder.kl.encoder.conv_in.weight.dtype == torch.float32


# --- not enough memory


@pytest.fixture
def free(monkeypatch):
    def say(gib):
        monkeypatch.setattr(
            out_of_memory, "free_bytes", lambda device: gib if gib is None else int(gib * GIB)
        )

    return say


def test_what_is_needed_is_about_what_the_plan_says():
    """The plan of docs/released.md: float32 sliced 8.18 GiB, float16 fast 7.27 with 1.5 in reserve."""
    assert PAPER.bytes / GIB == pytest.approx(8.18, rel=0.1)
    gpu = replace(PAPER, device=CUDA, memory="fast", dtype=torch.float16)
    assert (gpu.bytes / GIB - 1.5) == pytest.approx(7.27, rel=0.1)


@pytest.mark.parametrize(
    ("load", "gib", "advice"),
    [
        (PAPER, 6, "--dtype bfloat16"),
        (replace(PAPER, dtype=torch.bfloat16), 3.8, "--dtype int8"),
        (replace(PAPER, dtype=torch.bfloat16, eight_bits=True), 2, "close other programs"),
        (replace(PAPER, device=CUDA, memory="fast"), 11, "--memory sliced"),
        (replace(PAPER, device=CUDA, memory="sliced"), 7, "--memory offload"),
        (replace(PAPER, device=CUDA, memory="offload"), 4, "--dtype float16"),
        (replace(PAPER, device=CUDA, memory="sliced", portraits=4), 20, "batch_size 1"),
        (replace(PAPER, device=CUDA, memory="offload", dtype=torch.float16), 2, "--device cpu"),
    ],
)
def test_the_advice_is_the_first_setting_that_fits(free, load, gib, advice):
    free(gib)
    assert advice in load.advice()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_an_allocation_that_failed_becomes_a_sentence(free, error):
    free(6)
    with (
        pytest.raises(
            UserError, match=r"not enough memory on cpu: take --dtype bfloat16, .* about 4\.\d GiB"
        ),
        out_of_memory_explained(PAPER),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_explained(PAPER):
        raise RuntimeError("shapes do not fit")


def test_a_cpu_without_the_memory_refuses_before_the_work(free):
    free(6)
    with pytest.raises(UserError, match=r"needs about 8\.\d GiB of memory, and 6\.0 GiB are free"):
        check_memory(PAPER)
    for enough in (PAPER, replace(PAPER, device=CUDA), replace(PAPER, parts=[1000], unet=1000)):
        free(9 if enough is PAPER else 0)
        check_memory(enough)
    free(None)
    check_memory(PAPER)


def test_a_head_that_does_not_fit_says_what_would(monkeypatch):
    model = FaceLift(*tiny_parts(), "cpu")

    def too_much(*args, **kwargs):
        return torch.empty(1 << 60)

    monkeypatch.setattr(model.reconstructor, "reconstruct_batch", too_much)
    with pytest.raises(UserError, match="not enough memory on cpu: close other programs"):
        model(torch.rand(2 * SIZE, 2 * SIZE, 3).numpy(), prepared=True)


def test_linux_says_what_is_free(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   2048 kB\nSwapFree:   1024 kB\n")
    monkeypatch.setattr(out_of_memory, "MEMORY_FILE", tmp_path / "meminfo")
    assert out_of_memory.free_bytes(CPU) == 3 * 2**20
    monkeypatch.setattr(out_of_memory, "MEMORY_FILE", tmp_path / "none")
    assert out_of_memory.free_bytes(CPU) is None
