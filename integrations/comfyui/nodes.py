"""The nodes. Each is a few lines around `FaceLift`, `render` and `Head.save`.

Images in ComfyUI are (B, H, W, 3) floats in [0, 1], masks (B, H, W). The attributes and `INPUT_TYPES` are
what ComfyUI asks of a node.
"""

from __future__ import annotations

import logging
from typing import Any, get_args

import torch
from PIL import ImageColor
from torch import Tensor

from facelift import FaceLift, Head
from facelift.camera_paths import camera_path
from facelift.choices import CameraPath, DType, Matting, Memory
from facelift.errors import UserError
from facelift.export import suffixes
from facelift.formats.frames import to_frame
from facelift.render import render

from . import host

CATEGORY = "FaceLift"
MODEL, HEAD = "FACELIFT_MODEL", "FACELIFT_HEAD"
MESH_GLB = "glb (mesh)"
STAGES = 5  # of `FaceLift.__call__`
LARGEST_SEED = 2**53 - 1  # that a browser counts exactly

log = logging.getLogger("FaceLift")


class LoadModel:
    """The models, in memory as long as the workflow uses them."""

    CATEGORY, FUNCTION = CATEGORY, "load"
    DESCRIPTION = "Loads a FaceLift model; mini comes with FaceLift and runs on any computer."
    RETURN_TYPES, RETURN_NAMES = (MODEL,), ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Of `load`."""
        tip = "mini, FaceLift's released weights (non-commercial, 9.3 GB), or a folder in models/facelift"
        return {
            "required": {
                "model": (list(host.models()), {"tooltip": tip}),
                "device": (["auto", "cpu", "cuda", "mps"], {"tooltip": "auto is ComfyUI's own device"}),
                "dtype": (list(get_args(DType)), {"advanced": True}),
                "memory": (list(get_args(Memory)), {"advanced": True}),
            }
        }

    def load(self, model: str, device: str, dtype: DType, memory: Memory) -> tuple[FaceLift]:
        """Read the weights."""
        chosen = host.models().get(model)
        if chosen is None:
            raise UserError(f"There is no model {model!r}: put its folder into ComfyUI's models/facelift.")
        return (FaceLift.from_pretrained(chosen, host.device(device), dtype=dtype, memory=memory),)


class PhotoToHead:
    """One head for each photo of a batch."""

    CATEGORY, FUNCTION = CATEGORY, "lift"
    DESCRIPTION = "A photo of a face becomes a complete 3D head of Gaussians."
    RETURN_TYPES, RETURN_NAMES = (HEAD, "IMAGE", "IMAGE"), ("head", "portrait", "views")
    OUTPUT_IS_LIST = (True, True, True)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Of `lift`."""
        seed = {"default": 0, "min": 0, "max": LARGEST_SEED, "control_after_generate": True}
        fit = {"default": -1, "min": -1, "max": 1000, "tooltip": "-1 is what the model was made for"}
        done = "the photo is a portrait already: square, framed, on white or with a mask"
        tip = "white where the person is; an all black mask counts as none"
        return {
            "required": {
                "model": (MODEL,),
                "photo": ("IMAGE",),
                "seed": ("INT", seed),
                "matting": (list(get_args(Matting)), {"tooltip": "how the background is removed"}),
                "refinement_steps": ("INT", fit),
                "prepared": ("BOOLEAN", {"default": False, "tooltip": done}),
            },
            "optional": {"mask": ("MASK", {"tooltip": tip})},
        }

    def lift(
        self,
        model: FaceLift,
        photo: Tensor,
        seed: int,
        matting: Matting,
        refinement_steps: int,
        prepared: bool = False,
        mask: Tensor | None = None,
    ) -> tuple[list[Head], list[Tensor], list[Tensor]]:
        """Lists of heads, of portraits (1, S, S, 3) and of the six views (6, S, S, 3)."""
        photos = photos_with_alpha(photo, mask)
        progress = host.StageProgress(STAGES * len(photos))
        heads = []
        for number, one in enumerate(photos, 1):
            try:
                head = model(
                    one,
                    seed=seed,
                    matting=matting,
                    prepared=prepared,
                    refinement=None if refinement_steps < 0 else refinement_steps,
                    timings=progress,
                    progress=progress.steps,
                )
            except UserError as error:
                raise UserError(f"Photo {number} of {len(photos)}: {error}") from error
            for warning in head.warnings:
                log.warning("Photo %d of %d: %s", number, len(photos), warning)
            heads.append(head)
        return heads, [image(head.portrait[None]) for head in heads], [image(head.views) for head in heads]


class RenderHead:
    """A still, or a turn around the head."""

    CATEGORY, FUNCTION = CATEGORY, "draw"
    DESCRIPTION = "Draws a head from anywhere: one picture, or the frames of one turn around it."
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "mask")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Of `draw`."""
        side = {"default": 512, "min": 16, "max": 4096}
        azimuth = {"default": 0.0, "min": -360.0, "max": 360.0, "tooltip": "grows to the subject's right"}
        distance = {"default": 2.7, "min": 1.0, "max": 10.0, "step": 0.05, "tooltip": "a head is 1.15 high"}
        frames = {
            "default": 1,
            "min": 1,
            "max": 1000,
            "tooltip": "1 is a still; more go once around the head",
        }
        return {
            "required": {
                "head": (HEAD,),
                "azimuth": ("FLOAT", azimuth),
                "elevation": ("FLOAT", {"default": 0.0, "min": -90.0, "max": 90.0}),
                "distance": ("FLOAT", distance),
                "frames": ("INT", frames),
                "width": ("INT", side),
                "height": ("INT", side),
                "background": ("STRING", {"default": "white", "tooltip": "a name, or #rrggbb"}),
            }
        }

    def draw(
        self,
        head: Head,
        azimuth: float,
        elevation: float,
        distance: float,
        frames: int,
        width: int,
        height: int,
        background: str,
    ) -> tuple[Tensor, Tensor]:
        """(frames, height, width, 3), and (frames, height, width), 1 where the head is."""
        kind: CameraPath = "still" if frames == 1 else "turntable"
        cameras = camera_path(kind, frames, (width, height), azimuth, elevation, distance)
        color = torch.tensor(rgb(background)).to(head.gaussians.means)
        images = torch.empty(frames, height, width, 3)
        masks = torch.empty(frames, height, width)
        progress = host.StageProgress(frames)
        for number in range(frames):
            with progress("frame"):
                drawing = render(head.gaussians, cameras[number], color)
                images[number], masks[number] = image(drawing.image)[0], drawing.alpha[0, 0].cpu()
        return images, masks


class SaveHead:
    """A file of a head in ComfyUI's output folder."""

    CATEGORY, FUNCTION = CATEGORY, "save"
    DESCRIPTION = "Writes a head as splats, as a page to send or as a mesh into ComfyUI's output folder."
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("model_file",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Of `save`."""
        return {
            "required": {
                "head": (HEAD,),
                "filename_prefix": ("STRING", {"default": "3d/head"}),
                "format": ([suffix[1:] for suffix in suffixes()] + [MESH_GLB],),
            }
        }

    def save(self, head: Head, filename_prefix: str, format: str) -> dict[str, Any]:
        """Its result is the path below the output folder, as Preview 3D takes it."""
        mesh = format == MESH_GLB
        path, below = host.output_path(filename_prefix, ".glb" if mesh else f".{format}")
        if mesh:
            head.mesh().save(path)
        else:
            head.save(path)
        subfolder = "" if str(below.parent) == "." else str(below.parent)
        saved = {"filename": below.name, "subfolder": subfolder, "type": "output"}
        return {"ui": {"3d": [saved]}, "result": (str(below),)}


class HeadToSplat:
    """The head for ComfyUI's own splat nodes."""

    CATEGORY, FUNCTION = CATEGORY, "convert"
    DESCRIPTION = "The head as a splat of ComfyUI's own kind, for its nodes under 3d/splat."
    RETURN_TYPES, RETURN_NAMES = ("SPLAT",), ("splat",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Of `convert`."""
        return {"required": {"head": (HEAD,)}}

    def convert(self, head: Head) -> tuple[Any]:
        """Of 3D Gaussian Splatting's axes, as ComfyUI keeps them; linear scales, opacities in [0, 1]."""
        try:
            from comfy_api.latest import Types

            splat = Types.SPLAT
        except (ImportError, AttributeError):
            raise UserError("This ComfyUI has no splat nodes yet: update it, or use Save Head.") from None
        gaussians = to_frame(head.gaussians.to("cpu"), "RDF")
        quats = torch.nn.functional.normalize(gaussians.quats, dim=-1)
        sh = gaussians.sh0[:, None]
        if gaussians.shN is not None:
            sh = torch.cat([sh, gaussians.shN], 1)
        fields = gaussians.means, gaussians.scales, quats, gaussians.opacities[:, None], sh
        return (splat(*(field.detach()[None] for field in fields)),)


def photos_with_alpha(photos: Tensor, masks: Tensor | None) -> list[Tensor]:
    """Each photo of a batch as FaceLift takes it, (3 or 4, H, W); the fourth is the mask.

    Raises:
        UserError: the masks are neither one nor as many as the photos.
    """
    colors = (
        photos.detach().cpu().float().clamp(0, 1).movedim(-1, 1)
    )  # scaling may lead a little out of [0, 1]
    if masks is None:
        return list(colors)
    masks = masks.detach().cpu().float().clamp(0, 1).reshape(-1, 1, *masks.shape[-2:])
    if len(masks) not in (1, len(colors)):
        raise UserError(f"There are {len(masks)} masks for {len(colors)} photos: give one, or one each.")
    masks = torch.nn.functional.interpolate(masks, colors.shape[-2:], mode="bilinear").expand(
        len(colors), -1, -1, -1
    )
    return [torch.cat([c[:3], m]) if m.any() else c for c, m in zip(colors, masks, strict=True)]


def image(tensor: Tensor) -> Tensor:
    """(N, 3, H, W) as ComfyUI's images."""
    return tensor.detach().cpu().float().clamp(0, 1).movedim(1, -1).contiguous()


def rgb(color: str) -> list[float]:
    """Red, green and blue in [0, 1] of a colour's name.

    Raises:
        UserError: it is none.
    """
    try:
        return [value / 255 for value in ImageColor.getrgb(color.strip())[:3]]
    except ValueError:
        raise UserError(f"{color!r} is no colour: give a name as white, or #rrggbb.") from None


NODES = {
    "FaceLiftLoadModel": (LoadModel, "Load FaceLift Model"),
    "FaceLiftPhotoToHead": (PhotoToHead, "Photo to Head"),
    "FaceLiftRenderHead": (RenderHead, "Render Head"),
    "FaceLiftSaveHead": (SaveHead, "Save Head"),
    "FaceLiftHeadToSplat": (HeadToSplat, "Head to Splat"),
}
NODE_CLASS_MAPPINGS = {name: node for name, (node, _) in NODES.items()}
NODE_DISPLAY_NAME_MAPPINGS = {name: shown for name, (_, shown) in NODES.items()}
