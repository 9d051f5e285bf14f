"""A head from views that you already have, of a scan or a camera rig, in place of generated ones.

The folder holds RGBA pictures and opencv_cameras.json, as docs/heads.md and docs/conventions.md describe.

python examples/04_fit_to_your_own_views.py data/mine/canonical/head_020000 --out outputs/04.ply
"""

import argparse
from pathlib import Path

from facelift import FaceLift
from facelift.data.reader import HeadFolder
from facelift.formats.ply import write_ply
from facelift.refine import RefineConfig, refine
from facelift.render import render

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("head", type=Path, help="folder of one head")
parser.add_argument("--steps", type=int, default=200, help="of the fit; each renders two views")
parser.add_argument("--out", type=Path, default=Path("outputs/04.ply"))
options = parser.parse_args()

model = FaceLift.from_pretrained(device="cpu")
views = HeadFolder(options.head.parent).load(options.head.name).resized(model.size)

with model.autocast():  # any posed views will do; FaceLift's six are what the packaged model knows
    start = model.reconstructor.reconstruct(views.images, views.cameras)
config = RefineConfig(steps=options.steps)
fitted = refine(start, views.images, views.cameras, config, coverage=views.alpha)

for name, gaussians in {"GS-LRM alone": start, "with the fit": fitted}.items():
    error = (render(gaussians, views.cameras).image - views.images).square().mean()
    print(f"{name}: {-10 * error.log10():.2f} dB on the views themselves")
options.out.parent.mkdir(parents=True, exist_ok=True)
write_ply(options.out, fitted)
