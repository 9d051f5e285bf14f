"""A head seen from where you like: pictures, opacity and depth from cameras of your own.

python examples/02_render_from_anywhere.py outputs/01/head.ply --azimuth 30 --elevation 20

These are tensors, for programs; `facelift render` writes stills and videos, transparent ones as well.
"""

import argparse
from pathlib import Path

import torch

from facelift.cameras import orbit
from facelift.formats.png import tile, write_png
from facelift.formats.splats import read_splats
from facelift.render import render

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("head", type=Path, help="a file of Gaussians, of this project or another")
parser.add_argument("--azimuth", type=float, default=30.0, help="degrees towards the subject's right")
parser.add_argument("--elevation", type=float, default=20.0, help="degrees above the horizon")
parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
parser.add_argument("--out", type=Path, default=Path("outputs/02.png"))
options = parser.parse_args()

gaussians = read_splats(options.head)
cameras = orbit([options.azimuth], [options.elevation], size=options.size)
# Or cameras from elsewhere: Cameras(w2c, intrinsics, width, height), OpenCV axes, fx fy cx cy in pixels.
drawing = render(gaussians, cameras, background=1.0)

depth = drawing.mean_depth[0]  # z-depth in world units, 0 where nothing is
seen = drawing.alpha[0] > 0.5
near, far = depth[seen].min(), depth[seen].max()
shade = torch.where(seen, 1 - (depth - near) / (far - near), 0.0).clamp(0, 1)
pictures = [drawing.image[0].clamp(0, 1), drawing.alpha[0].expand(3, -1, -1), shade.expand(3, -1, -1)]
options.out.parent.mkdir(parents=True, exist_ok=True)
write_png(options.out, tile(torch.stack(pictures), columns=3))
print(f"colour, opacity and depth ({near:.2f} to {far:.2f}) in {options.out}")
