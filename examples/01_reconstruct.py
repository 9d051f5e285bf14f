"""A photo becomes a head: Gaussians for any splat viewer, a turntable video, and the six views in between.

python examples/01_reconstruct.py examples/portrait.jpg --out outputs/01
"""

import argparse
from pathlib import Path

from facelift import FaceLift
from facelift.formats.png import tile, write_png

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("--out", type=Path, default=Path("outputs/01"))
parser.add_argument("--seed", type=int, default=0, help="another seed generates another back of the head")
parser.add_argument("--frames", type=int, default=150, help="of the turntable")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

model = FaceLift.from_pretrained()  # the packaged model; or a folder, or owner/model on the hub
head = model(options.photo, seed=options.seed)

write_png(options.out / "views.png", tile(head.views, columns=6))  # what the first stage generates
head.save(options.out / "head.ply")
head.turntable(options.out / "head.mp4", frames=options.frames)
print(f"{len(head.gaussians):,} Gaussians in {options.out / 'head.ply'}")
