"""Models small enough to be trained in a test, and the configurations of such trainings."""

from pathlib import Path

import torch
from heads import write_config

from configs import views_config
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.weights import save_model

CPU = torch.device("cpu")
RECONSTRUCTOR = {
    "image_size": 32,
    "patch_size": 8,
    "width": 64,
    "layers": 2,
    "head_dim": 32,
    "grid": 4,
    "residual_color": True,
    "footprint_scale": True,
    "skip_background": True,
}
VIEWS = views_config(
    32,
    channels=[32, 32],
    cross_attention_dim=16,
    groups=32,
    scheduler={
        "prediction_type": "v_prediction",
        "clip_sample": False,
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
    steps=4,
    guidance=1.0,
    eta=0.0,
)
CLEAN = VIEWS | {"scheduler": VIEWS["scheduler"] | {"prediction_type": "sample"}}
"""A view generator that predicts the clean sample."""

WARPING = CLEAN | {
    "warped_views": True,
    "matte": True,
    "steps": 1,
    "unet": VIEWS["unet"] | {"out_channels": 5},
}
"""One that starts from warped views, in one step."""


def save_views(folder: Path, **changes) -> Path:
    """An untrained view generator, always the same one."""
    torch.manual_seed(0)
    save_model(ViewGenerator(ViewGeneratorConfig(**VIEWS | changes)), folder)
    return folder


def save_reconstructor(folder: Path) -> Path:
    """An untrained reconstructor, always the same one."""
    torch.manual_seed(0)
    model = GSLRM(GSLRMConfig(**RECONSTRUCTOR))
    model.init_weights()
    save_model(model, folder)
    return folder


def reconstructor_config(folder: Path, balls: Path, steps: int, **training) -> Path:
    """The configuration of a reconstructor's training on `balls`."""
    folders = {"canonical": f"{balls}/canonical", "orbit": f"{balls}/orbit"}
    loop = {"batch": 2, "lr": 3e-3, "muon_lr": 3e-3, "warmup": 5, "ema": 0.9, "cooldown": 0.0}
    return write_config(
        folder / f"reconstructor-{steps}.yaml",
        model=RECONSTRUCTOR,
        training=folders | {"render_size": 32} | training,
        loop=loop | {"max_steps": steps},
    )
