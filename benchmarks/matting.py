"""How well people are cut out of photos: held-out heads before backgrounds drawn by chance.

    python benchmarks/matting.py HEADS [--photos 100] [--model DIR] [--picture FILE]

HEADS is a folder of held-out heads, canonical rig, so that the matte is known. Each photo goes through
`remove_background` twice, with the model's network and without; the face is where the portrait has it.
Prints, as Markdown, what share of all pixels is wrong on average (the sum of differences of alpha), the
overlap of what is kept with what should be (intersection over union at 0.5), in how many photos that is below
0.9, and the time of a photo.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from facelift.data.reader import HeadFolder
from facelift.formats.png import write_png
from facelift.portrait.align import FACE_CENTRE, FACE_SIDE
from facelift.portrait.find import Face
from facelift.portrait.matte import remove_background
from facelift.train.portrait import PortraitSampler, PortraitTraining
from facelift.train.task import generator_for
from facelift.weights import find_model, load_portrait_network

SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("heads", type=Path)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--model", help="a model's name or folder; the packaged one if not given")
    parser.add_argument("--picture", type=Path, help="a PNG of some photos and what is kept of them")
    args = parser.parse_args()
    network = load_portrait_network(find_model(args.model))
    if network is None:
        raise SystemExit("That model has no network to compare.")
    sampler = PortraitSampler(
        HeadFolder(args.heads, held_out=True), PortraitTraining(str(args.heads), size=512)
    )
    side = 512 * FACE_SIDE / 2
    x, y = (512 * c for c in FACE_CENTRE)
    face = Face(x - side, y - side, x + side, y + side)
    scores: dict[str, list[tuple[float, float, float]]] = {"with the network": [], "colours alone": []}
    rows = []
    for i in range(args.photos):
        scene = sampler.photo(generator_for(2, i), moved=False)
        photo, truth = scene.photo, scene.alpha
        rgb = np.ascontiguousarray(photo[:3].movedim(0, -1).numpy())
        columns = [photo[:3]]
        for name, advice in (("with the network", network), ("colours alone", None)):
            start = time.perf_counter()
            alpha = remove_background(rgb, face, network=advice)
            seconds = time.perf_counter() - start
            kept, there = alpha > 0.5, truth[0].numpy() > 0.5
            overlap = (kept & there).sum() / (kept | there).sum()
            scores[name].append((np.abs(alpha - truth[0].numpy()).mean(), overlap, seconds))
            columns.append(1 + torch.from_numpy(alpha) * (photo[:3] - 1))
        if i < SHOWN:
            rows.append(torch.cat(columns, dim=2)[:, ::2, ::2])
    print(f"| {args.photos} photos | wrong pixels | overlap | below 0.9 | a photo |\n|---|---|---|---|---|")
    for name, each in scores.items():
        wrong, overlaps, seconds = np.array(each).T
        cells = f"{wrong.mean():.2%} | {overlaps.mean():.3f} | {(overlaps < 0.9).mean():.0%}"
        print(f"| {name} | {cells} | {np.median(seconds):.2f} s |")
    if args.picture:
        write_png(args.picture, torch.cat(rows, dim=1))


if __name__ == "__main__":
    main()
