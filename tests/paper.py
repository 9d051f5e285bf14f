"""Tiny random copies of what the paper's size is trained from, with the configurations of `configs/paper`."""

from pathlib import Path

import torch
import yaml
from heads import write_balls
from released import write_released
from safetensors.torch import load_file, save_file

from facelift.formats.tensors import read_json
from facelift.views.released import read_released_views
from facelift.weights import PIPELINE, write_json

CONFIGS = Path(__file__).parents[1] / "configs/paper"
VGG_WIDTHS = {0: 4, 2: 4, 5: 6, 7: 6, 10: 8, 12: 8, 14: 8, 16: 8, 19: 8, 21: 8, 23: 8, 25: 8, 28: 8, 30: 8}
GSLRM = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_dim": 16}


def write_unclip(folder: Path) -> Path:
    """A diffusers folder as Stable Diffusion 2.1 unCLIP's: the released one, with four channels in."""
    pipeline = write_released(folder) / PIPELINE
    unet = pipeline / "unet"
    names = {"CrossAttnDownBlockMV2D": "CrossAttnDownBlock2D", "CrossAttnUpBlockMV2D": "CrossAttnUpBlock2D"}
    config = read_json(unet / "config.json") | {"in_channels": 4, "mid_block_type": "UNetMidBlock2DCrossAttn"}
    for name in ("down_block_types", "up_block_types"):
        config[name] = [names.get(kind, kind) for kind in config[name]]
    write_json(unet / "config.json", config)
    weights = load_file(unet / "diffusion_pytorch_model.safetensors")
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :4].contiguous()
    save_file(weights, unet / "diffusion_pytorch_model.safetensors")
    return pipeline


def write_vgg19(path: Path) -> Path:
    """A VGG-19 of a few channels, with the names of torchvision's."""
    rng, weights, channels = torch.Generator().manual_seed(0), {}, 3
    for place, width in VGG_WIDTHS.items():
        weights[f"features.{place}.weight"] = 0.3 * torch.randn(width, channels, 3, 3, generator=rng)
        weights[f"features.{place}.bias"] = 0.1 * torch.randn(width, generator=rng)
        channels = width
    save_file(weights, path)
    return path


def views_config(folder: Path, pipeline: Path, heads: Path, **loop) -> Path:
    """`configs/paper/views.yaml` for a tiny model and a few heads."""
    config = yaml.safe_load((CONFIGS / "views.yaml").read_text())
    model, _ = read_released_views(pipeline)
    config["model"] = model.to_dict() | {"unet": model.unet | {"in_channels": 8}}
    config["training"] |= {
        "data": f"{heads}/canonical",
        "init_from": str(pipeline),
        "workers": 0,
        "micro_batch": 1,
    }
    return _written(folder / "views.yaml", config, {"batch": 2, "warmup": 1} | loop)


def reconstructor_config(folder: Path, stage: str, heads: Path, vgg19: Path, **loop) -> Path:
    """One of the three `configs/paper/reconstructor*.yaml` for a tiny model and a few heads."""
    config = yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text())
    config["model"] = GSLRM
    folders = {"canonical": f"{heads}/canonical", "orbit": f"{heads}/orbit", "vgg19": str(vgg19)}
    config["training"] |= folders | {"render_size": 32, "workers": 0, "micro_batch": 1}
    return _written(folder / f"{stage}.yaml", config, {"batch": 2, "warmup": 1} | loop)


def write_heads(folder: Path, size: int) -> Path:
    """Three balls, each from six canonical cameras and ten of an orbit."""
    return write_balls(folder, count=3, size=size, orbit=10)


def _written(path: Path, config: dict, loop: dict) -> Path:
    config.pop("validation")
    config["loop"] |= loop
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
