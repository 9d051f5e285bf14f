"""Measures where the face detector sees the face in the front views of synthetic heads.

    python benchmarks/calibrate_face_box.py FOLDER

FOLDER is what `facelift.synth` renders with the canonical rig, at any size. What this prints stands
in `facelift/portrait/align.py`: portraits framed so look like the heads that the models were trained on.
"""

import sys
from pathlib import Path

import numpy as np

from facelift.portrait.alpha import composite_rgba_on_white
from facelift.portrait.find import find_faces
from facelift.portrait.load import load_photo


def main(folder: Path) -> None:
    boxes, missed = [], 0
    for path in sorted(folder.glob("head_*/cam_000.png")):
        view = composite_rgba_on_white(load_photo(path))
        faces = find_faces(view)
        if faces:
            boxes.append(np.array([faces[0].side, *faces[0].centre]) / view.shape[1])
        else:
            missed += 1
    if not boxes:
        raise SystemExit(f"No face was found in {folder}/head_*/cam_000.png.")
    low, median, high = np.percentile(boxes, [25, 50, 75], axis=0)
    print(f"{len(boxes)} faces, none found in {missed}; median (and quartiles), as shares of the image")
    for i, name in enumerate(("side", "centre x", "centre y")):
        print(f"{name:9} {median[i]:.4f}  ({low[i]:.4f}, {high[i]:.4f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
