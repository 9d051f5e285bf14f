"""How released_views.safetensors was made: python tests/golden/make_released.py FACELIFT

FACELIFT is a clone of github.com/weijielyu/FaceLift, and diffusers 0.30.3, transformers 4.44.2 and einops are
installed. Two parts of its environment are replaced: xformers' attention by its definition, and half
precision by single.
"""

import sys
import tempfile
import types
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

sys.path[:0] = [sys.argv[1], *(str(Path(__file__).resolve().parents[k]) for k in (1, 2))]
functional = types.ModuleType("torchvision.transforms.functional")
functional.to_tensor = lambda image: torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255
for name in ("torchvision", "torchvision.transforms"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchvision.transforms.functional"] = functional

assert (diffusers.__version__, transformers.__version__) == ("0.30.3", "4.44.2")

from mvdiffusion.data.generate_fixed_text_embeds import TextEmbeddingGenerator  # noqa: E402
from mvdiffusion.models import transformer_mv2d_image as attention  # noqa: E402
from mvdiffusion.models.unet_mv2d_condition import UNetMV2DConditionModel  # noqa: E402
from mvdiffusion.pipelines.pipeline_mvdiffusion_unclip import StableUnCLIPImg2ImgPipeline  # noqa: E402
from released import GOLDEN, PIPELINE, write_released  # noqa: E402

torch.float16 = torch.float32  # the pipeline casts its image to half, which few CPUs can convolve
SEED, STEPS, SIZE, GUIDANCE = 4, 4, 64, 3.0


def attend(query, key, value, attn_bias=None):
    assert attn_bias is None
    return torch.softmax(query @ key.transpose(1, 2) * query.shape[-1] ** -0.5, -1) @ value


attention.xformers = types.SimpleNamespace(ops=types.SimpleNamespace(memory_efficient_attention=attend))


def portrait():
    """A face of a kind: smooth colours, an edge, and no symmetry."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    inside = ((x - 0.45) / 0.3) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1
    colors = np.stack([0.9 - 0.4 * x, 0.7 - 0.3 * y, 0.4 + 0.3 * np.sin(9 * x + 5 * y)], -1)
    return (np.where(inside[..., None], colors, 1.0) * 255).round().astype(np.uint8)


def main():
    folder = write_released(Path(tempfile.mkdtemp())) / PIPELINE
    unet = UNetMV2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    for module in unet.modules():
        if isinstance(module, attention.CustomAttention):
            module.set_use_memory_efficient_attention_xformers(True)  # as its inference.py does
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(folder, unet=unet)
    prompts = TextEmbeddingGenerator(str(folder), "cpu", torch.float32)._encode_text_prompts(
        [
            f"a rendering image of 3D models, {view} view, color map."
            for view in ("front", "front_right", "right", "back", "left", "front_left")
        ]
    )
    image = portrait()
    out = {"input.image": torch.from_numpy(image), "input.prompt_embeds": prompts}
    generator = torch.Generator().manual_seed(SEED)
    out["draw.embed_noise"] = torch.randn(6, 20, generator=generator)
    out["draw.latents"] = torch.randn(6, 4, SIZE // 8, SIZE // 8, generator=generator)
    for eta in (0, 1):
        views = pipeline(
            [Image.fromarray(image)] * 6,
            None,
            prompt_embeds=prompts,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            eta=float(eta),
            generator=torch.Generator().manual_seed(SEED),
            output_type="pt",
        ).images
        print(eta, views.std(), ((views == 0) | (views == 1)).float().mean())
        out[f"output.eta{eta}"] = (views * 65535).round().to(torch.uint16)
    draw = torch.Generator().manual_seed(0)
    given = {
        "sample": torch.randn(12, 8, 8, 8, generator=draw),
        "timestep": torch.tensor(601),
        "encoder_hidden_states": torch.randn(12, 7, 48, generator=draw),
        "class_labels": torch.randn(12, 40, generator=draw),
    }
    with torch.no_grad():
        out["unet.output"] = unet(**given, return_dict=False)
    print(out["unet.output"].std())
    out |= {f"unet.{name}": value for name, value in given.items()}
    save_file({k: v.contiguous() for k, v in out.items()}, GOLDEN / "released_views.safetensors")


main()
