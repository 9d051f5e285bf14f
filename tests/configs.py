"""The one description of a small view generator; tests choose its size and its channels."""

from typing import Any


def views_config(
    size: int, channels: list[int], cross_attention_dim: int, groups: int, **others: Any
) -> dict[str, Any]:
    """Arguments of a `ViewGeneratorConfig` whose latents have a cell for 4 x 4 pixels.

    Args:
        size: of the images, pixels.
        channels: of the two resolutions, in U-Net and autoencoder.
        cross_attention_dim: of the prompts.
        groups: of the normalisation; they divide the channels.
        others: further arguments.
    """
    blocks = {"block_out_channels": channels, "layers_per_block": 1, "norm_num_groups": groups}
    return {
        "image_size": size,
        "pixel_unshuffle": 2,
        "autoencoder": blocks
        | {
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "latent_channels": 4,
            "mid_block_add_attention": False,
        },
        "unet": blocks
        | {
            "sample_size": size // 4,
            "in_channels": 8,
            "out_channels": 5 if others.get("warped_views") else 4,
            "down_block_types": ["CrossAttnDownBlock2D"] * 2,
            "up_block_types": ["CrossAttnUpBlock2D"] * 2,
            "cross_attention_dim": cross_attention_dim,
            "attention_head_dim": 2,
        },
        **others,
    }
