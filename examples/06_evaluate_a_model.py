"""How good is a model? PSNR and its kin on heads that it never saw, with intervals over people.

HEADS is a set of held-out people (seeds below 1000), for instance from
facelift synth data/test --assets DIR --heads 20 --seed 0 --rig all --views 12

python examples/06_evaluate_a_model.py data/test --people 2
"""

import argparse
from pathlib import Path

from facelift import FaceLift
from facelift.evaluate import evaluate, to_markdown

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("heads", type=Path)
parser.add_argument("--model", help="a folder, or owner/model on the hub; the packaged one if not given")
parser.add_argument("--people", type=int, help="how many; all if not given")
parser.add_argument("--train", type=Path, help="training heads, for the baselines")
parser.add_argument("--out", type=Path, default=Path("outputs/06"))
options = parser.parse_args()

model = FaceLift.from_pretrained(options.model)
name = options.model or "mini"
report = evaluate(model, options.heads, options.out, options.train, people=options.people, name=name)
print(to_markdown(report))
print(f"more in {options.out / 'report.html'}; facelift compare A B puts two such folders side by side")
