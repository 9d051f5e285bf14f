"""Heads from real portraits, seen from all sides.

    python benchmarks/portraits.py DIR [--sheet SHEET.jpg] [--model MODEL]

DIR has photos of one person each. Prints a Markdown table: dlib's distance between the portrait and renders
within 30 degrees to either side, the median; on how many sides a face is found 45 degrees aside; PSNR of the
front render; and the share of undecided pixels, neither the head nor the background, in the other five
canonical views. SHEET shows each photo as it was cut out, and the head at every eighth of a turn.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facelift import FaceLift
from facelift.cameras import canonical_rig, orbit
from facelift.evaluate.benchmarks.faces import as_pixels
from facelift.evaluate.identity import dlib_embedding, find_face, framed_face
from facelift.render import render

ASIDE = (-30.0, -22.5, -15.0, -7.5, 7.5, 15.0, 22.5, 30.0)
SHEET = (45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
RIM = 3  # pixels from an outline within which coverage may be anything
SIZE = 256


def main() -> None:
    """Print the table and write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    model, embed = FaceLift.from_pretrained(args.model, device="cpu"), dlib_embedding()
    photos = sorted(path for path in args.folder.iterdir() if path.suffix in (".jpg", ".png"))
    photos = [path for path in photos if "." not in path.stem]  # labels lie beside them
    print("| photo | identity | faces at 45° | front, dB | undecided |\n|---|---|---|---|---|")
    rows, numbers = [], []
    for photo in photos:
        portrait = model.prepare(photo)
        head = model(portrait)
        small = F.interpolate(portrait.image[None], SIZE, mode="area")[0]
        person = embed(as_pixels(small), framed_face(SIZE))
        views = render(head.gaussians, orbit(ASIDE, [0.0] * len(ASIDE), SIZE)).image
        distances = []
        for view in map(as_pixels, views):
            distances.append(np.linalg.norm(embed(view, find_face(view) or framed_face(SIZE)) - person))
        aside = render(head.gaussians, orbit((-45.0, 45.0), [0.0] * 2, SIZE)).image
        found = sum(find_face(as_pixels(view)) is not None for view in aside)
        front = render(head.gaussians, canonical_rig(portrait.image.shape[-1])[[0]]).image[0]
        psnr = -10 * math.log10(float((front - portrait.image).square().mean()))
        others = render(head.gaussians, canonical_rig(SIZE)[1:])
        numbers.append([float(np.median(distances)), found, psnr, undecided(others.alpha)])
        print(
            f"| {photo.stem} | {numbers[-1][0]:.3f} | {found} | {psnr:.1f} | {numbers[-1][3]:.2%} |",
            flush=True,
        )
        turn = render(head.gaussians, orbit(SHEET, [0.0] * len(SHEET), SIZE)).image.clamp(0, 1)
        rows.append(torch.cat([small, *turn], dim=2))
    identity, found, psnr, share = np.array(numbers).T
    both = int((found == 2).sum())
    medians = f"{np.median(identity):.3f} | both in {both} | {np.median(psnr):.1f} | {np.median(share):.2%}"
    print(f"| median | {medians} |")
    if args.sheet:
        cv2.imwrite(str(args.sheet), as_pixels(torch.cat(rows, dim=1))[..., ::-1])


def undecided(alpha: Tensor) -> float:
    """The share of the head's pixels, in views (V, 1, H, W), that are half transparent away from outlines."""
    inside = (alpha > 0.5).float()
    side = 2 * RIM + 1
    grown, shrunk = F.max_pool2d(inside, side, 1, RIM), 1 - F.max_pool2d(1 - inside, side, 1, RIM)
    soft = (alpha > 0.1) & (alpha < 0.9) & (grown == shrunk)
    return float(soft.sum() / inside.sum())


if __name__ == "__main__":
    main()
