"""What earlier versions called the fields of models and configurations, and what these are called now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VIEW_GENERATOR = {"drafts": "warped_views", "fold": "pixel_unshuffle", "components": "patch_pca"}
RECONSTRUCTOR = {
    "crown": "overhead_tokens",
    "detail": "refinement_unet",
    "margin": "bottom_padding",
    "aspect": "max_aspect_ratio",
    "floor": "min_z",
}
REFINEMENT = {
    "imagined_weight": "generated_weight",
    "imagined_lr_factor": "generated_lr_factor",
    "imagined_smoothness_factor": "generated_smoothness_factor",
    "recolor_imagined": "recolor_generated",
}
LOOP = {"rates": "lr_factors"}
TRAINING = {
    "wild": "unposed_photos",
    "wild_share": "unposed_share",
    "live": "streaming",
    "imagined": "generated_share",
    "alone": "front_only_share",
    "start": "init_from",
    "at_once": "micro_batch",
    "render_from": "render_start_step",
    "geometry": "geometry_weight",
    "color": "color_weight",
    "image": "image_weight",
    "perceptual": "perceptual_weight",
    "drop_condition": "condition_dropout",
    "photographed": "degraded_share",
    "variants": "augmentations",
    "levels": "noise_levels",
    "adversary": "adversarial_weight",
    "adversary_first": "critic_warmup",
    "crop": "crop_size",
    "crops": "crops_per_head",
    "width": "critic_width",
    "kl": "kl_weight",
    "edges": "gradient_weight",
    "heads": "centre_crop_share",
    "points": "landmark_weight",
    "segmentation": "segmentation_weight",
    "identity": "identity_weight",
    "expression": "expression_weight",
}


def renamed(values: Mapping[str, Any], old_names: Mapping[str, str]) -> dict[str, Any]:
    """Names of version 0.1: what its models and configurations call fields, and what these are called now."""
    return {old_names.get(name, name): value for name, value in values.items()}
