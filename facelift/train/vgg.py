"""VGG-19 (Simonyan and Zisserman, ICLR 2015), whose features the paper's perceptual loss compares.

GS-LRM takes the five layers of Chen and Koltun, "Photographic Image Synthesis with Cascaded Refinement
Networks" (ICCV 2017). Here the weights are those that torchvision and timm share, under the BSD licence, and
features are compared at unit length (`facelift.train.features.perceptual_loss`): the weights of Chen and
Koltun's layers belong to a network of another scale.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift import hub
from facelift.errors import UserError
from facelift.formats.tensors import read_safetensors

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
"""Their places in torchvision's `features`; a pooling lies where one is left out."""

COMPARED = (2, 7, 12, 21, 30)
"""conv1_2, conv2_2, conv3_2, conv4_2 and conv5_2."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FILE = "model.safetensors"


class VGG19(nn.Module):
    """Pictures (N, 3, H, W) in [0, 1] become the features of five layers, the finest first.

    Args:
        weights: `features.0.weight`, `features.0.bias` and so on, as torchvision names them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])
        layers = {}
        for place in (p for p in CONVOLUTIONS if p <= COMPARED[-1]):
            weight, bias = (weights[f"features.{place}.{name}"].float() for name in ("weight", "bias"))
            layers[str(place)] = layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            layer.weight.data, layer.bias.data = weight, bias  # type: ignore[union-attr]
        self.features = nn.ModuleDict(layers)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H / 2^i, W / 2^i) for i from 0 to 4."""
        x, features, before = (images - self.mean) / self.std, [], -2
        for name, layer in self.features.items():
            place = int(name)
            if place == before + 3:
                x = F.max_pool2d(x, 2)
            x, before = F.relu(layer(x)), place
            if place in COMPARED:
                features.append(x)
        return features


def load_vgg19(name: str) -> VGG19:
    """VGG-19 from a safetensors file, a folder that has one, or the Hugging Face hub, `timm/vgg19.tv_in1k`.

    Raises:
        UserError: it is not there, cannot be fetched, or is no VGG-19.
    """
    path = Path(name)
    if not path.exists() and hub.is_repository(name):
        path = hub.download(name, None, [FILE], lambda folder: (folder / FILE).is_file())
    path = path / FILE if path.is_dir() else path
    try:
        return VGG19(read_safetensors(path))
    except KeyError as error:
        raise UserError(
            f"{path} is no VGG-19, it has no {error}: name timm/vgg19.tv_in1k or a copy."
        ) from None
