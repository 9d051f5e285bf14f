"""How much of a photo's detail its head keeps: python benchmarks/detail.py PHOTO... [--fit NAME=VALUE]

For each photo, at the portrait's size: PSNR of the front render against the portrait, over the picture and
inside the matte; the strength of edges from the front and from aside, in units of the portrait's at the same
places of the surface; specks, pixels unlike all their neighbours, of ten thousand, less the portrait's own;
how many Gaussians there are, how large a PLY of them; CPU seconds of the stages. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from pipeline import BothTimings
from torch import Tensor
from torch.nn import functional as F

from facelift import FaceLift
from facelift.cameras import Cameras, canonical_rig, orbit
from facelift.gaussians import Gaussians
from facelift.portrait import Portrait
from facelift.render import render

AZIMUTHS = (-45.0, -30.0, 30.0, 45.0)
RIM = 8  # pixels from outlines that are not looked at
SPECK = 0.2  # difference to all eight neighbours
SAME = 0.03  # world units between two views of one place of the surface


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--fit", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    model = FaceLift.from_pretrained(device="cpu")
    config = model.settings.refinement.changed(args.fit)
    names = ["PSNR", "inside", "edges", *(f"at {a:+.0f}°" for a in AZIMUTHS)]
    names += ["specks", *(f"at {a:+.0f}°" for a in AZIMUTHS), "Gaussians", "PLY"]
    rows = []
    for photo in args.photos:
        portrait, clock = model.prepare(photo), BothTimings()
        head = model(portrait, refinement=config, timings=clock)
        rows.append([photo.stem, *measures(head.gaussians, portrait)])
        if len(rows) == 1:
            names += [f"{stage}, s" for stage in clock.cpu]
            print(f"| photo | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        rows[-1] += [f"{seconds:.2f}" for seconds in clock.cpu.values()]
        print(f"| {' | '.join(rows[-1])} |", flush=True)


def measures(gaussians: Gaussians, portrait: Portrait) -> list[str]:
    """All but the times."""
    front = canonical_rig(portrait.image.shape[-1])[[0]]
    shown = render(gaussians, front)
    image, inside = shown.image[0].clamp(0, 1), portrait.alpha[0] > 0.5
    error = (image - portrait.image).square().mean(0)
    psnrs = [f"{-10 * math.log10(float(e.mean())):.1f}" for e in (error, error[inside])]
    sharpness, specks = [], []
    solid = -F.max_pool2d(-(portrait.alpha > 0.95).float(), 2 * RIM + 1, 1, RIM)
    known = torch.cat([edges(portrait.image), is_speck(portrait.image), solid, shown.mean_depth[0]])
    for azimuth in (0.0, *AZIMUTHS):
        camera = orbit([azimuth], [0.0], front.width)
        drawn = render(gaussians, camera)
        places, depth = seen_from(drawn.mean_depth[0, 0], camera, front)
        edge, speck, covered, before = F.grid_sample(known[None], places[None], align_corners=False)[0]
        alike = (covered > 0.5) & ((depth - before).abs() < SAME) & (drawn.alpha[0, 0] > 0.95)
        view = drawn.image[0].clamp(0, 1)
        sharpness.append(f"{float(edges(view)[0][alike].mean() / edge[alike].mean()):.2f}")
        specks.append(f"{1e4 * float(is_speck(view)[0][alike].mean() - speck[alike].mean()):.1f}")
    megabytes = f"{56 * len(gaussians) / 1e6:.1f} MB"
    return [*psnrs, *sharpness, *specks, str(len(gaussians)), megabytes]


def seen_from(depth: Tensor, camera: Cameras, other: Cameras) -> tuple[Tensor, Tensor]:
    """Where another camera sees what each pixel shows, (H, W, 2) in [-1, 1], and in what depth (H, W)."""
    origins, directions = (rays[0] for rays in camera.rays())
    points = origins + directions * (depth / camera.depth_along_rays()[0])[..., None]
    pixels, depths = other.project(points)
    return pixels[0] / other.width * 2 - 1, depths[0]


def edges(image: Tensor) -> Tensor:
    """(1, H, W) length of the gradient of the brightness, by Sobel's filter."""
    sobel = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])[None, None] / 8
    grey = F.pad(image.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    return torch.cat([F.conv2d(grey, sobel), F.conv2d(grey, sobel.mT)]).norm(dim=0)


def is_speck(image: Tensor) -> Tensor:
    """(1, H, W), 1 where a pixel differs from each of its neighbours by more than `SPECK`."""
    around = F.pad(image[:, None], (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
    differs = (around[:, 0] - image[..., None]).abs().amax(dim=0)
    return (differs[..., [0, 1, 2, 3, 5, 6, 7, 8]].amin(dim=-1) > SPECK).float()[None]


if __name__ == "__main__":
    main()
