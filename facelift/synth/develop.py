"""From light to the sRGB of a picture, as `shaders.FRAGMENT` does it: a tone curve with a shoulder."""

from __future__ import annotations

import numpy as np

from facelift.synth.scene import Floats


def develop(light: Floats) -> Floats:
    """Linear RGB from 0, exposed, to sRGB in [0, 1]; bright colours keep their hue where they would clip."""
    c = np.where(light > 0.6, 1 - 0.4 * np.exp((0.6 - light) / 0.4), light)
    return np.where(c > 0.0031308, 1.055 * np.maximum(c, 0.0031308) ** (1 / 2.4) - 0.055, 12.92 * c)
