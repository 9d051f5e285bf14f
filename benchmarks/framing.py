"""How exactly faces are framed: held-out heads before backgrounds drawn by chance.

    python benchmarks/framing.py HEADS [--photos 100] [--model DIR]

HEADS is a folder of held-out heads, canonical rig: they fill the square that `prepare_portrait` looks for.
Each is found twice, by the detector's box alone and by landmarks as well. Prints, as Markdown, how far size
and place of the square are off, as the median and the ninth of ten.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from facelift.data.reader import HeadFolder
from facelift.portrait.align import locate_square
from facelift.portrait.find import find_faces
from facelift.train.portrait_samples import Chances, PortraitSampler
from facelift.train.task import generator_for
from facelift.weights import find_model, load_portrait_network

SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("heads", type=Path)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--model", help="a model's name or folder; the packaged one if not given")
    args = parser.parse_args()
    portrait_network = load_portrait_network(find_model(args.model))
    if portrait_network is None:
        raise SystemExit("That model has no network that finds landmarks.")
    chances = Chances(half_profile=0, portrait=0, white=0, bystander=0, covered=0)
    sampler = PortraitSampler(HeadFolder(args.heads, held_out=True), SIDE, chances)
    missed: dict[str, list[tuple[float, float]]] = {"the box alone": [], "and landmarks": []}
    found = 0
    for i in range(args.photos):
        photo = sampler.photo(generator_for(3, i), moved=False).photo[:3].movedim(0, -1).numpy()
        image = np.ascontiguousarray((photo * 255).round().astype(np.uint8))
        faces = find_faces(image)
        found += bool(faces)
        for way, network in zip(missed, (None, portrait_network), strict=True):
            if faces:
                scale, dx, dy = locate_square(image, faces[0], SIDE, network)
                middle = (scale * SIDE / 2 + d - SIDE / 2 for d in (dx, dy))
                missed[way].append((abs(math.log(scale)), math.hypot(*middle) / SIDE))
    print(f"| {found} faces of {args.photos} | size | place, of the side |\n|---|---|---|")
    for way, each in missed.items():
        (size, place), (worst_size, worst_place) = np.percentile(each, [50, 90], axis=0)
        print(f"| {way} | {size:.1%}, {worst_size:.1%} | {place:.2%}, {worst_place:.2%} |")


if __name__ == "__main__":
    main()
