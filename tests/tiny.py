"""A whole model so small that a head takes a tenth of a second, and what is needed to compare heads."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs import views_config
from facelift import FaceLift, Head
from facelift.portrait.network import PortraitNetwork, PortraitNetworkConfig
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig

SIZE = 32
VIEWS = views_config(
    SIZE,
    channels=[8, 16],
    cross_attention_dim=8,
    groups=4,
    warped_views=True,
    matte=True,
    patch_pca=True,
    steps=2,
    guidance=1.5,
    eta=0.5,
    scheduler={"prediction_type": "sample", "clip_sample": False, "timestep_spacing": "trailing"},
)
RECONSTRUCTOR = {
    "image_size": SIZE,
    "patch_size": 8,
    "width": 32,
    "layers": 2,
    "head_dim": 16,
    "grid": 4,
    "residual_color": True,
    "footprint_scale": True,
    "skip_background": True,
}


def tiny_parts() -> tuple[ViewGenerator, GSLRM]:
    """Both stages, with the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        views = ViewGenerator(ViewGeneratorConfig(**VIEWS))
        torch.nn.init.normal_(views.unet.conv_out.weight, std=0.1)  # else the views are the warped ones
        reconstructor = GSLRM(GSLRMConfig(**RECONSTRUCTOR))
        reconstructor.init_weights()
    return views.requires_grad_(False), reconstructor.requires_grad_(False)


def tiny_folder(folder: Path) -> Path:
    """The same as a model folder, with a network for portraits, a model card and a licence."""
    size = PortraitNetworkConfig(widths=(16, 16, 16), width=32, layers=1, head_dim=16)
    documents = {"README.md": b"# tiny\n", "LICENSE": b"Free.\n"}
    FaceLift(
        *tiny_parts(), "cpu", portrait_network=PortraitNetwork(size), documents=documents
    ).save_pretrained(folder)
    return folder


def portrait(seed: int = 0) -> np.ndarray:
    """(64, 64, 3) uint8: an oval with a pattern, on white."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    pattern = np.stack([0.5 + 0.3 * np.sin((3 + seed + i) * x + 2 * y) for i in range(3)], axis=-1)
    inside = (x / 0.5) ** 2 + (y / 0.7) ** 2 < 1
    return np.rint(np.where(inside[..., None], pattern, 1.0) * 255).astype(np.uint8)


def lift(model: FaceLift, seed: int = 0, **options: Any) -> Head:
    """The head of a portrait."""
    return model(portrait(seed), seed=seed, prepared=True, **{"refinement": 3} | options)


def digest(head: Head) -> str:
    """Of every bit of a head."""
    tensors = [head.portrait, head.views, *head.gaussians.tensors().values()]
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.numpy().tobytes())
    return hashed.hexdigest()


if __name__ == "__main__":  # FOLDER THREADS DTYPE...: the heads that a fresh process makes
    torch.set_num_threads(int(sys.argv[2]))
    for dtype in sys.argv[3:]:
        print(digest(lift(FaceLift.from_pretrained(sys.argv[1], device="cpu", dtype=dtype))))
