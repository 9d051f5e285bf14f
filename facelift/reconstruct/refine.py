"""Making the head show the photo: a few steps of gradient descent through the rasteriser.

GS-LRM blends six views of which only the first is a photo; where imagined ones disagree with it, the face
blurs. Shape and place of the Gaussians stay; their colours and opacities move until the front view is the
portrait, held to what the other views say by starting there and by rendering them as well.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import Gaussians
from facelift.render import render

COLOR_RATE, OPACITY_RATE = 0.04, 0.1
EPS = 0.05  # about the gradient of a Gaussian in plain sight: what is hardly seen hardly moves
OTHERS = 0.1  # weight of an imagined view beside the photo's
WHITE = 0.98  # what is brighter is background


def refine(gaussians: Gaussians, views: Tensor, cameras: Cameras, steps: int = 40) -> Gaussians:
    """Fit colours and opacities to the views, the first above all.

    Args:
        gaussians: the head to improve.
        views: (V, 3, H, W) RGB in [0, 1] on white; the first is the portrait.
        cameras: of the views.
        steps: of Adam; each renders the first view and, in turn, one of the others.
    """
    empty = (views.amin(dim=1, keepdim=True) > WHITE).float()
    with torch.enable_grad():
        sh0 = gaussians.sh0.clone().requires_grad_()
        logits = gaussians.opacities.clamp(1e-4, 1 - 1e-4).logit().requires_grad_()
        rates = [{"params": sh0, "lr": COLOR_RATE}, {"params": logits, "lr": OPACITY_RATE}]
        optimizer = torch.optim.Adam(rates, eps=EPS)
        for step in range(steps):
            shown = [0, 1 + step % (len(views) - 1)]
            fitted = replace(gaussians, sh0=sh0, opacities=logits.sigmoid())
            drawn = render(fitted, cameras[shown])
            spilled = drawn.alpha * empty[shown]  # what hangs over the outline must vanish, not turn white
            error = ((drawn.image - views[shown]).square() + spilled.square()).sum(dim=(1, 2, 3))
            optimizer.zero_grad()
            (error[0] + OTHERS * error[1]).backward()
            optimizer.step()
    return replace(gaussians, sh0=sh0.detach(), opacities=logits.detach().sigmoid())
