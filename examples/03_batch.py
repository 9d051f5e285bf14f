"""A folder of photos becomes a folder of heads; the models are loaded once, and a bad photo stops nothing.

python examples/03_batch.py photos --out outputs/03
"""

import argparse
from pathlib import Path

from facelift import FaceLift
from facelift.errors import UserError

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photos", type=Path, help="a folder")
parser.add_argument("--out", type=Path, default=Path("outputs/03"))
parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

model = FaceLift.from_pretrained(device=options.device)
done = 0
files = sorted(path for path in options.photos.iterdir() if path.is_file())
for photo in files:
    target = options.out / f"{photo.name}.ply"
    if target.exists():  # written aside and renamed: what is there is whole
        done += 1
        continue
    try:
        model(photo).save(target)
    except UserError as error:  # no face, not a photo, …: one sentence that says what to do
        print(f"{photo.name}: {error}")
    else:
        done += 1
        print(f"{photo.name} -> {target}")
print(f"{done} of {len(files)} photos are heads now")
