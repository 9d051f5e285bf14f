"""FaceLift's own size with random weights: how long each stage takes here, and how much memory it would take.

    python benchmarks/full_size.py              # on a GPU if there is one; on a CPU, minutes
    python benchmarks/full_size.py --memory     # the memory plan of docs/released.md; computes nothing

A pass with its deep features kept, and one with weights in eight bits, follow the whole one. Times stand
beside a plain reference: attention as FaceLift's paper writes it, all keys copied and all weights written out
(a GiB at once), and the rasteriser of tests/reference_rasterizer.py.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
import yaml
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from facelift.cameras import canonical_rig
from facelift.devices import choose_dtype, inference_copy
from facelift.quantization import hold_in_eight_bits
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.render import render
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.views.feature_cache import FeatureCache

ROOT = Path(__file__).resolve().parents[1]
SIZE, VIEWS, CELLS, LAYERS = 512, 6, 64, 24
GAUSSIANS = 140_000  # about what is left of a head after FaceLift's filters
GIB = 2**30


def config(part: str) -> dict:
    return yaml.safe_load((ROOT / f"configs/paper/{part}.yaml").read_text())["model"]


# --- time


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, with its matrix of weights: at most a GiB of it at once."""
    rows = max(1, GIB // (4 * key.shape[:-1].numel()))
    parts = (q @ key.mT * key.shape[-1] ** -0.5 for q in query.split(rows, dim=-2))
    return torch.cat([weights.softmax(-1) @ value for weights in parts], dim=-2)


class PlainFrontAttention:
    """FaceLift section 3.2 as it is written: every view is given the front view's tokens and its own."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        views = hidden_states.unflatten(0, (-1, VIEWS))
        seen = torch.cat([views[:, :1].expand_as(views), views], dim=2).flatten(0, 1)
        query, key, value = (
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, seen), (attn.to_v, seen))
        )
        return attn.to_out[0](plain_attention(query, key, value).transpose(1, 2).flatten(2))


def randomly(model: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A model with random weights, made where and in what it is to work."""
    with torch.device("meta"):
        built = inference_copy(model(), dtype).eval().requires_grad_(False)
    built.to_empty(device=device)
    for parameter in built.parameters():
        parameter.normal_(std=0.02) if parameter.ndim > 1 else parameter.fill_(0.5)
    return built


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The fastest of several runs; on a GPU after one to warm up."""
    times = []
    for _ in range(repeats + (device.type == "cuda")):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def gib(model: nn.Module) -> float:
    return sum(p.nbytes for p in model.parameters()) / GIB


def report(what: str, seconds: float, ours: float | None = None) -> None:
    times = "" if ours is None else f"   {seconds / ours:5.1f} x"
    print(f"{what:<44}{seconds:9.3f} s{times}", flush=True)


def time_views(stages: set[str], device: torch.device, dtype: torch.dtype, repeats: int, plain: bool) -> None:
    views = ViewGeneratorConfig(**config("views") | {"image_encoder": None})  # not among what is timed
    model = randomly(lambda: ViewGenerator(views), device, dtype)
    latents = torch.randn(1, VIEWS, 4, CELLS, CELLS, device=device)
    if "unet" in stages:
        arguments = latents, latents.new_zeros(1), latents[:, :1], latents.new_zeros(1, VIEWS, 2048)
        ours = seconds(lambda: model.predict(*arguments), device, repeats)
        report("U-Net, one pass over six views", ours)
        kept = FeatureCache(model.unet, 1000)
        whole = model.predict(*arguments, kept)
        report(
            "    between, features kept", seconds(lambda: model.predict(*arguments, kept), device, 1), ours
        )
        if plain:
            processors = model.unet.attn_processors
            for name, layer in model.unet.named_modules():
                if name.endswith("attn1"):
                    layer.set_processor(PlainFrontAttention())
            report("    plain", seconds(lambda: model.predict(*arguments), device, 1), ours)
            model.unet.set_attn_processor(processors)
        before = gib(model.unet)
        hold_in_eight_bits(model.unet, dtype)
        report("    weights in eight bits", seconds(lambda: model.predict(*arguments), device, 1), ours)
        error = (model.predict(*arguments) - whole).norm() / whole.norm()
        print(f"    off by {error:.1%} of the norm; {before:.2f} GiB become {gib(model.unet):.2f}")
    if "decode" in stages:
        sliced = seconds(lambda: [model.autoencoder.decode(x) for x in latents[0].split(1)], device, repeats)
        report("decode, six views one after the other", sliced)


def time_reconstructor(
    layers: int, device: torch.device, dtype: torch.dtype, repeats: int, plain: bool
) -> None:
    paper = GSLRMConfig(**config("reconstructor") | {"layers": layers})
    model = randomly(lambda: GSLRM(paper), device, dtype)
    images, cameras = torch.rand(VIEWS, 3, SIZE, SIZE, device=device), canonical_rig(SIZE).to(device)
    ours = seconds(lambda: model(images, cameras), device, repeats)
    report(f"GS-LRM, {layers} of its {LAYERS} layers", ours)
    if plain:
        with mock.patch.object(F, "scaled_dot_product_attention", plain_attention):
            report("    plain", seconds(lambda: model(images, cameras), device, 1), ours)


def time_render(device: torch.device, repeats: int, plain: bool) -> None:
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
    import render as small

    cloud, cameras = small.head(GAUSSIANS).to(device), canonical_rig(SIZE).to(device)
    ours = seconds(lambda: render(cloud, cameras), device, repeats + 1)
    report(f"render, {GAUSSIANS} Gaussians, six views", ours)
    if plain:
        alone = seconds(lambda: small.plain(cloud.to("cpu"), canonical_rig(SIZE)[0]), torch.device("cpu"), 1)
        report("    plain, on the CPU, one view six times", VIEWS * alone, ours)


# --- memory, from the shapes alone


class Peak(TorchDispatchMode):
    """Bytes of the tensors that are alive at once; what existed before is not counted."""

    def __init__(self, before: nn.Module) -> None:
        super().__init__()
        self.live = self.most = 0
        self.known = {p.untyped_storage()._cdata: 0 for p in (*before.parameters(), *before.buffers())}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self.known:
                self.known[storage._cdata] = storage.nbytes()
                self.live += storage.nbytes()
                self.most = max(self.most, self.live)
                weakref.finalize(storage, self.free, storage._cdata)
        return result

    def free(self, key: int) -> None:
        self.live -= self.known.pop(key)


class AsOnCuda(TorchFunctionMode):
    """CUDA's autocast computes norms in float32 and leaves them so; that of the CPU does not."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.group_norm, F.layer_norm):
            args = (args[0].float(), *args[1:])
            with torch.autocast("cpu", enabled=False):
                return function(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


@contextmanager
def half_or_not(dtype: torch.dtype):
    if dtype == torch.float32:
        yield
    else:
        with torch.autocast("cpu", dtype), AsOnCuda():
            yield


def memory_plan(dtype: torch.dtype) -> None:
    """Print weights and activations of each part, and what each level of --memory takes at its peak."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        views = inference_copy(ViewGenerator(ViewGeneratorConfig(**config("views"))), dtype).requires_grad_(
            False
        )
        reconstructor = inference_copy(GSLRM(GSLRMConfig(**config("reconstructor"))), dtype).requires_grad_(
            False
        )
        autoencoder, clip = views.autoencoder, views.image_embedding.clip
        images, cameras = torch.empty(VIEWS, 3, SIZE, SIZE), canonical_rig(SIZE)

        def predict(batch: int) -> Callable[[], object]:
            latents = torch.empty(batch, VIEWS, 4, CELLS, CELLS)
            return lambda: views.predict(
                latents, torch.empty(batch), latents[:, :1], torch.empty(batch, VIEWS, 2048)
            )

        stages: dict[str, tuple[nn.Module, Callable[[], object]]] = {
            "CLIP": (clip, lambda: clip(torch.empty(1, 3, 224, 224))),
            "encode": (autoencoder, lambda: autoencoder.encode(images[:1])),
            "U-Net, a half": (views.unet, predict(1)),
            "U-Net, both": (views.unet, predict(2)),
            "decode, a view": (autoencoder, lambda: autoencoder.decode(torch.empty(1, 4, CELLS, CELLS))),
            "decode, all": (autoencoder, lambda: autoencoder.decode(torch.empty(VIEWS, 4, CELLS, CELLS))),
            "GS-LRM": (reconstructor, lambda: reconstructor(images, cameras)),
        }
        print(f"\n{str(dtype).removeprefix('torch.')}: GiB      weights  activations")
        weights, work = {}, {}
        for name, (module, run) in stages.items():
            gc.collect()
            whole = reconstructor if module is reconstructor else views
            with half_or_not(dtype), Peak(whole) as peak:
                run()
            weights[name] = sum(p.numel() * p.element_size() for p in module.parameters()) / GIB
            work[name] = peak.most / GIB
            print(f"  {name:<20}{weights[name]:8.2f}     {work[name]:8.2f}")
        all_weights = sum(weights[n] for n in ("CLIP", "U-Net, a half", "decode, a view", "GS-LRM"))
        sliced = [n for n in stages if n not in ("U-Net, both", "decode, all")]
        print(f"  peak, fast          {all_weights + max(work.values()):8.2f}")
        print(f"  peak, sliced        {all_weights + max(work[n] for n in sliced):8.2f}")
        print(f"  peak, offload       {max(weights[n] + work[n] for n in sliced):8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--stages", nargs="+", default=["unet", "decode", "gslrm", "render"])
    parser.add_argument("--layers", type=int, help="of GS-LRM; 24 on a GPU, 1 on a CPU")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--no-plain", action="store_true", help="without the references")
    parser.add_argument("--memory", action="store_true", help="only compute the memory plan")
    args = parser.parse_args()
    if args.memory:
        for dtype in (torch.float16, torch.float32):
            memory_plan(dtype)
        return

    device = torch.device(args.device)
    dtype = choose_dtype(args.dtype, device, {"cpu": "bfloat16", "cuda": "float16"})
    stages, plain = set(args.stages), not args.no_plain
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    print(f"{name}, {dtype}, random weights")
    with torch.no_grad():
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            if stages & {"unet", "decode"}:
                time_views(stages, device, dtype, args.repeats, plain)
            if "gslrm" in stages:
                layers = args.layers or (LAYERS if device.type == "cuda" else 1)
                time_reconstructor(layers, device, dtype, args.repeats, plain)
        if "render" in stages:
            time_render(device, args.repeats, plain)
    if device.type == "cuda":
        print(f"peak of allocated memory: {torch.cuda.max_memory_allocated() / GIB:.2f} GiB")


if __name__ == "__main__":
    main()
