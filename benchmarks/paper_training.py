"""What a training of the paper's size takes, computed from the shapes: memory on a GPU, operations, hours.

    python benchmarks/paper_training.py

Nothing is trained: tensors have shapes and no numbers. Hours are those of matrix products and convolutions at
UTILISATION of a card's peak, whatever the rendering and the reading of data take beside them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from full_size import GIB, ROOT, Peak
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.train.config import LoopConfig, read_yaml, structured
from facelift.train.lora import TARGETS, WHOLE
from facelift.train.reconstructor import ReconstructorTraining
from facelift.train.vgg import COMPARED, CONVOLUTIONS, VGG19
from facelift.train.views import ViewsTraining
from facelift.views import ViewGenerator, ViewGeneratorConfig

CARDS = {"A100": 312e12, "H100": 790e12, "RTX 4090": 165e12}
"""Dense bfloat16 operations a second: NVIDIA's figures, but for the H100's, which we measured."""

UTILISATION = 0.4
TRAINED_BYTES = {"AdamW": 20, "8-bit AdamW": 14}
"""For each weight: itself, its gradient, two moments, its average; float32 but for moments in 8 bits."""


CPU_ATTENTION = {  # which FlopCounterMode does not know
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(gradient, query, key, value)
    ),
}


def counting() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)


@contextmanager
def bfloat16() -> Iterator[None]:
    """Autocast as on CUDA, whose norms give float32, also in what is computed again for a gradient."""

    def floated(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def computed(x: Tensor, *args: object, **kwargs: object) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return norm(x.float(), *args, **kwargs)

        return computed

    norms = (mock.patch.object(F, name, floated(getattr(F, name))) for name in ("group_norm", "layer_norm"))
    with next(norms), next(norms), torch.autocast("cpu", torch.bfloat16):
        yield


def measured(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, float]:
    """GiB of activations and their gradients at the peak, and operations, forward and backward.

    Gradients of weights are there before, as in all passes of a step but the first.
    """
    gc.collect()
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
    with counting() as counter, Peak(model) as peak, bfloat16():
        peak.known |= {p.grad.untyped_storage()._cdata: 0 for p in model.parameters() if p.grad is not None}
        loss().backward()
    for parameter in model.parameters():
        parameter.grad = None
    return peak.most / GIB, float(counter.get_total_flops())


def parts(name: str, model: type, training: type) -> tuple:
    path = ROOT / f"configs/paper/{name}.yaml"
    read = read_yaml(path)
    kinds = {"model": model, "training": training, "loop": LoopConfig}
    return tuple(structured(kind, read[part], path, part) for part, kind in kinds.items())


def views() -> None:
    config, _, loop = parts("views", ViewGeneratorConfig, ViewsTraining)
    model = ViewGenerator(config)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    print("views:", {name: f"{numbers / 1e6:.0f} M" for name, numbers in count.items()})
    frozen = (4 * count["autoencoder"] + 2 * count["image_embedding"]) / GIB

    def loss(batch: int) -> Tensor:
        latents, label = torch.empty(batch, 6, 4, 64, 64), torch.empty(batch, 6, 2048)
        return model.predict(latents, torch.empty(batch), latents[:, :1], label).float().mean()

    operations = 0.0
    for lora, saves in ((False, False), (False, True), (True, False), (True, True)):
        trained, held = count["unet"], frozen
        model.requires_grad_(False)
        model.unet.requires_grad_(not lora)
        if lora:
            trained = lora_parameters(model)
            held += 2 * count["unet"] / GIB
        if saves:
            model.unet.enable_gradient_checkpointing()
        else:
            model.unet.disable_gradient_checkpointing()
        one, flops = measured(model.unet, partial(loss, 1))
        two, _ = measured(model.unet, partial(loss, 2))
        operations = operations or flops
        fixed = {name: held + size * trained / GIB for name, size in TRAINED_BYTES.items()}
        print(
            f"  {'LoRA' if lora else 'whole'}, {'checkpointing' if saves else 'plain'}: "
            + ", ".join(f"{name} {size:.1f} GiB" for name, size in fixed.items())
            + f" + {2 * one - two:.1f} GiB + {two - one:.1f} GiB a sample; {flops / 1e12:.1f} TFLOP a sample"
        )
    encoding = measured_forward(lambda: model.autoencoder.encode(torch.empty(6, 3, 512, 512)))
    hours("views", operations + encoding, loop)


def lora_parameters(model: ViewGenerator, rank: int = 16) -> int:
    """Have layers ask for gradients whose inputs LoRA's additions have as well; how many it trains."""
    trained = 0
    for name, module in model.unet.named_modules():
        if name == WHOLE or name.endswith(tuple(f".{target}" for target in TARGETS)):
            module.requires_grad_(True)
            rows, columns = module.weight.shape[:2]
            trained += module.weight.numel() if name == WHOLE else rank * (rows + columns)
    return trained


def measured_forward(work: Callable[[], object]) -> float:
    with counting() as counter, torch.no_grad(), bfloat16():
        work()
    return float(counter.get_total_flops())


def reconstructor(name: str) -> None:
    config, training, loop = parts(name, GSLRMConfig, ReconstructorTraining)
    model = GSLRM(config)
    numbers = sum(p.numel() for p in model.parameters())
    size, seen = config.image_size, training.any_inputs
    patches = torch.empty(1, seen * (size // config.patch_size) ** 2, 9 * config.patch_size**2)

    def loss(saves: bool) -> Tensor:  # `GSLRM.forward` without what depends on the pixels
        x = torch.cat([model.learned_tokens[None], model.patch_embed(patches)], dim=1)
        x = model.norm_in(x)
        for block in model.blocks:
            x = checkpoint(block, x, use_reentrant=False) if saves else block(x)
        return model.pixel_head(model.pixel_norm(x.float())).mean()

    print(f"{name}: {numbers / 1e6:.0f} M, {seen} views at {size}")
    operations = 0.0
    for saves in (False, True):
        activations, flops = measured(model, partial(loss, saves))
        operations = operations or flops
        fixed = TRAINED_BYTES["AdamW"] * numbers / GIB
        print(
            f"  {'checkpointing' if saves else 'plain'}: {fixed:.1f} GiB + {activations:.1f} GiB a head, "
            f"{flops / 1e12:.1f} TFLOP a head"
        )
    vgg = full_vgg19()
    drawn = torch.empty(training.rendered_others, 3, training.render_size, training.render_size)
    drawn.requires_grad_(True)
    activations, flops = measured(vgg, lambda: torch.stack([f.float().mean() for f in vgg(drawn)]).sum())
    print(f"  VGG-19: {activations:.1f} GiB and {1.5 * flops / 1e12:.1f} TFLOP a head")
    hours(name, operations + 1.5 * flops, loop)  # the truth's features have no gradient


def full_vgg19() -> VGG19:
    widths = dict(zip(CONVOLUTIONS, [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8, strict=True))
    weights, channels = {}, 3
    for place, width in widths.items():
        if place <= COMPARED[-1]:
            weights[f"features.{place}.weight"] = torch.empty(width, channels, 3, 3)
            weights[f"features.{place}.bias"] = torch.empty(width)
            channels = width
    return VGG19(weights)


def hours(name: str, operations: float, loop: LoopConfig) -> None:
    total = operations * loop.batch * loop.max_steps
    times = {card: total / (UTILISATION * peak) / 3600 for card, peak in CARDS.items()}
    text = ", ".join(f"{card} {time:.0f} h" for card, time in times.items())
    print(f"  {loop.max_steps} steps of {loop.batch}: {total / 1e18:.0f} EFLOP; on one card: {text}")


def main() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        views()
        for name in ("reconstructor_256", "reconstructor_512", "reconstructor"):
            reconstructor(name)


if __name__ == "__main__":
    main()
