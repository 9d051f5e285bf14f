"""The training loop in small: a reconstructor from nothing, on ten heads, in minutes.

With --assets (MakeHuman's data folder) it draws the heads first; without, DATA holds heads already.

python examples/05_train_on_ten_heads.py data/ten --assets DIR --minutes 5
"""

import argparse
from pathlib import Path

import torch

from facelift.reconstruct import GSLRMConfig
from facelift.synth.dataset import synthesize
from facelift.train.config import LoopConfig
from facelift.train.loop import train
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("--assets", type=Path)
parser.add_argument("--out", type=Path, default=Path("runs/ten"))
parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
parser.add_argument("--minutes", type=float, default=5.0)
parser.add_argument("--steps", type=int, default=1_000_000, help="an earlier end")
options = parser.parse_args()

if options.assets:
    synthesize(options.data, options.assets, 10, options.size, 1000, "all", 8, truth="depth")
model = GSLRMConfig(image_size=options.size, patch_size=8, width=128, layers=4, head_dim=64)
canonical, orbit = (str(options.data / rig) for rig in ("canonical", "orbit"))
training = ReconstructorTraining(canonical, orbit, render_start_step=100)
loop = LoopConfig(batch=2, lr=1e-3, warmup=20, ema=0.99, max_steps=options.steps)
torch.manual_seed(loop.seed)
train(ReconstructorTask(model, training, torch.device("cpu")), loop, options.out, options.minutes)
print(f"look at {options.out / 'pictures'}: truth above, renders beneath")
