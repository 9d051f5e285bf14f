"""A small folder in FaceLift's released layout, with weights that anybody can draw again.

`golden/released.json` has its small files and the names and shapes of its tensors; the numbers follow from
the tensors' names. `golden/released_views.safetensors` is what FaceLift's own code made of them, see
`golden/make_released.py`.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facelift.weights import CHECKPOINT, PIPELINE

GOLDEN = Path(__file__).parent / "golden"


def drawn(name: str, shape: list[int]) -> Tensor:
    """Uniform numbers of the usual spread: matrices by their inputs, norms about one, biases about zero.

    `RandomState` gives the same stream in every version of NumPy.
    """
    numbers = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape) * 2 - 1
    if name.endswith("norm.weight") or (len(shape) == 1 and name.endswith("weight")) or name == "std":
        values = 1 + 0.2 * numbers
    elif len(shape) < 2:
        values = 0.1 * numbers
    else:
        values = numbers * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def weights_of(part: str) -> dict[str, Tensor]:
    """All tensors of one part of the view generator, such as `unet`."""
    shapes = json.loads((GOLDEN / "released.json").read_text())["shapes"]
    (found,) = (tensors for name, tensors in shapes.items() if name.startswith(f"{part}/"))
    return {name: drawn(name, shape) for name, shape in found.items()}


def write_released(folder: Path) -> Path:
    """The whole released folder, both stages."""
    record = json.loads((GOLDEN / "released.json").read_text())
    for name, content in record["files"].items():
        path = folder / PIPELINE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    for name in record["shapes"]:
        save_file(weights_of(name.split("/")[0]), folder / PIPELINE / name, {"format": "pt"})
    tensors = load_file(GOLDEN / "gslrm_tiny.safetensors")
    state = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    state["loss_calculator.perceptual_loss_module.vgg.conv1.weight"] = torch.ones(2, 2)
    (folder / CHECKPOINT).parent.mkdir(parents=True)
    torch.save({"model": state, "optimizer": None, "fwdbwd_pass_step": 21125}, folder / CHECKPOINT)
    return folder


def expected_views() -> dict[str, Tensor]:
    """FaceLift's own inputs and outputs; pictures are kept in 16 bits."""
    tensors = load_file(GOLDEN / "released_views.safetensors")
    return {
        name: value.to(torch.float32) / 65535 if value.dtype == torch.uint16 else value
        for name, value in tensors.items()
    }
