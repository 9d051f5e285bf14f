"""How well the portrait's network sees: synthetic heads against the truth, portraits against other networks.

    python benchmarks/portrait.py --model runs/portrait/portrait --data HEADS --portraits DIR

HEADS are held-out heads with all truth, framed as portraits before backgrounds drawn by chance: the mean
error of depth over the person and of the relief of the face (depth around its median, within the hull of the
landmarks), world units; the median error of normals, degrees; of landmarks, pixels of 256; the share of wrong
pixels. DIR are labelled portraits: the overlap (intersection over union) of matte and hair with the labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.data.attributes import attributes_of
from facelift.data.portraits import PortraitFolder
from facelift.data.reader import HeadFolder
from facelift.formats.png import write_png
from facelift.portrait.network import PortraitNetwork, PortraitNetworkConfig, PortraitPrediction, stack_inputs
from facelift.portrait.square import canonical_face
from facelift.train.portrait_samples import (
    HAIR,
    Chances,
    PortraitSample,
    PortraitSampler,
    frame_portrait,
    sample_of,
)
from facelift.train.task import generator_for
from facelift.weights import load_weights


def main() -> None:
    """Print a table for the heads and one for the portraits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the network")
    parser.add_argument("--data", type=Path, help="folder of heads with all truth")
    parser.add_argument("--portraits", type=Path, help="folder of labelled portraits")
    parser.add_argument("--white", action="store_true", help="heads on white, not before backgrounds")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of what it sees")
    args = parser.parse_args()
    network = load_weights(PortraitNetwork, PortraitNetworkConfig, args.model)
    rows: list[Tensor] = []
    if args.data:
        rows += measure_heads(network, HeadFolder(args.data, held_out=True), args.white)
    if args.portraits:
        rows += measure_portraits(network, PortraitFolder(args.portraits))
    if args.sheet:
        write_png(args.sheet, torch.cat(rows, dim=1))


def measure_heads(network: PortraitNetwork, folder: HeadFolder, white: bool) -> list[Tensor]:
    """Print the errors on heads, and give pictures of some."""
    chances = Chances(half_profile=0, white=float(white), covered=0, bystander=0.2)
    sampler = PortraitSampler(folder, 256, chances, attributes=lambda head: attributes_of(folder, head))
    errors: dict[str, list[float]] = {}
    pictures = []
    for i in range(len(folder)):
        sample = sampler.photo(generator_for(5, i), moved=False)
        found = look(network, sample)
        for name, value in errors_of(found, sample).items():
            errors.setdefault(name, []).append(value)
        if i < 8:
            pictures.append(picture(found, sample))
    print(f"{len(folder)} heads:")
    for name, values in errors.items():
        mean, median, worst = np.nanmean(values), np.nanmedian(values), np.nanmax(values)
        print(f"  {name:20} mean {mean:.4f}  median {median:.4f}  worst {worst:.4f}")
    return pictures


def errors_of(found: PortraitPrediction, sample: PortraitSample) -> dict[str, float]:
    """How far what was found is from what is true."""
    alpha, depth = sample.alpha[0], sample.depth[0]
    solid = depth.isfinite() & (alpha > 0.9)
    hull = np.zeros(depth.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(sample.points.numpy().astype(np.int32)), 1)
    face = solid & torch.from_numpy(hull).bool()
    off = found.depth[0, 0] - depth
    relief = off[face] - off[face].median()
    angles = (found.normals[0] * sample.normals).sum(0).clamp(-1, 1).acos().rad2deg()
    parts = sample.parts < 255
    wrong = {
        f"wrong {name}": float(int(logits[0].argmax()) != sample.attributes[name])
        for name, logits in found.attributes.items()
    }
    return {
        "depth": float(off[solid].abs().mean()),
        "relief of the face": float(relief.abs().mean()),
        "normals of the face": float(angles[face].median()),
        "normals": float(angles[solid].median()),
        "landmarks": float((found.points[0] - sample.points).norm(dim=-1).mean()),
        "wrong pixels": float((found.logits[0, 0].sigmoid() - alpha).abs().mean()),
        "parts": float((found.parts[0].argmax(0) != sample.parts)[parts].float().mean()),
    } | wrong


def measure_portraits(network: PortraitNetwork, folder: PortraitFolder) -> list[Tensor]:
    """Print the overlaps on portraits, and give pictures of all."""
    mattes, hairs, pictures = [], [], []
    for i in range(len(folder)):
        scene = frame_portrait(folder.load(i), network.framing, 256)
        sample = sample_of(scene.behind, scene, canonical_face(256))
        found = look(network, sample)
        known = sample.alpha[0].isfinite()
        mattes.append(overlap(found.logits[0, 0] > 0, sample.alpha[0] > 0.5, known))
        hairs.append(overlap(found.parts[0].softmax(0)[HAIR] > 0.5, sample.hair > 0.5, known))
        pictures.append(picture(found, sample))
    print(f"{len(folder)} portraits: overlap of mattes, from the worst on:")
    print("  " + " ".join(f"{value:.3f}" for value in sorted(mattes)))
    print(
        f"  0.985 or more in {sum(value >= 0.985 for value in mattes)}; hair: median {np.median(hairs):.3f}"
    )
    return pictures


def look(network: PortraitNetwork, sample: PortraitSample) -> PortraitPrediction:
    """What the network sees in a photo."""
    rgb, prior = sample.photo[None].split([3, 1], dim=1)
    with torch.no_grad():
        return network(stack_inputs(rgb, prior))


def overlap(a: Tensor, b: Tensor, known: Tensor) -> float:
    """Intersection over union."""
    a, b = a & known, b & known
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def picture(found: PortraitPrediction, sample: PortraitSample) -> Tensor:
    """(3, 256, 5 * 256): the photo, what is kept, depth, normals, parts."""
    rgb, alpha = sample.photo[:3], found.logits[0].sigmoid()
    normals = (found.normals[0] * torch.tensor([1.0, -1.0, -1.0])[:, None, None] + 1) / 2
    depth = (0.5 - found.depth[0]).clamp(0, 1).expand(3, -1, -1)
    parts = (found.parts[0].argmax(0) / len(found.parts[0])).expand(3, -1, -1)
    return torch.cat([rgb, 1 + alpha * (rgb - 1), depth * alpha, normals * alpha, parts], dim=2)


if __name__ == "__main__":
    main()
