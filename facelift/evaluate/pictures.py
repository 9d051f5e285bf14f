"""The picture grid: the truth, what the model says, and the difference, of a few heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.evaluate.metrics import Prediction, Target
from facelift.formats.png import tile

CELL = 160  # pixels
VIEWS = 5  # of each row, beside the portrait
MARGIN = 110  # pixels for the rows' names


def grid_of(targets: Mapping[str, Target], predicted: Mapping[str, Prediction]) -> Tensor:
    """(3, H, W) of one head: the true views, and beneath them each prediction and its difference.

    The difference is |prediction - truth| of each channel, taken off white: white where they agree.
    """
    rows: list[tuple[str, Tensor]] = []
    for protocols in (("views",), ("reconstruction", "single-image")):
        if protocols[0] not in targets:
            continue
        target = targets[protocols[0]]
        count = len(target.truth.images)
        shown = torch.arange(min(VIEWS, count)) * count // min(VIEWS, count)
        truth = target.truth.images[shown]
        rows.append(("truth", torch.cat([target.portrait[None], truth])))
        for protocol in protocols:
            images = predicted[protocol].images[shown]
            front = torch.ones_like(target.portrait)
            if protocol == "single-image":
                front = predicted["front"].images[0]
            rows.append((protocol, torch.cat([front[None], images])))
            rows.append(("difference", torch.cat([torch.ones_like(front)[None], 1 - (images - truth).abs()])))
    return torch.cat([_row(name, images) for name, images in rows], dim=1)


def grid_of_predictions(target: Target, predicted: Mapping[str, Prediction]) -> Tensor:
    """(3, H, W): the portrait and some true views, and beneath them each method's and their differences."""
    count = len(target.truth.images)
    shown = torch.arange(min(VIEWS, count)) * count // min(VIEWS, count)
    truth = target.truth.images[shown]
    portrait = F.interpolate(target.portrait[None], size=truth.shape[-1], mode="bilinear", antialias=True)
    rows, blank = [_row("truth", torch.cat([portrait, truth]))], torch.ones_like(portrait)
    for method, prediction in predicted.items():
        images = prediction.images[shown]
        rows.append(_row(method, torch.cat([blank, images])))
        rows.append(_row("difference", torch.cat([blank, 1 - (images - truth).abs()])))
    return torch.cat(rows, dim=1)


def stacked(grids: Sequence[Tensor]) -> Tensor:
    """Grids one beneath the other, filled up with white on the right."""
    width = max(grid.shape[2] for grid in grids)
    return torch.cat([F.pad(grid, (0, width - grid.shape[2]), value=1.0) for grid in grids], dim=1)


def _row(name: str, images: Tensor) -> Tensor:
    small = F.interpolate(images, size=CELL, mode="bilinear", antialias=True).clamp(0, 1)
    label = np.full((CELL, MARGIN, 3), 255, np.uint8)
    cv2.putText(label, name, (6, CELL // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    text = torch.from_numpy(label).movedim(-1, 0).float() / 255
    blank = small.new_ones(VIEWS + 1 - len(small), *small.shape[1:])
    return torch.cat([text, tile(torch.cat([small, blank]), VIEWS + 1)], dim=2)
