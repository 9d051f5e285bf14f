"""The Gaussians themselves: their fields, activations, filters and transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facelift.errors import UserError
from facelift.spherical_harmonics import C0 as SH_C0
from facelift.spherical_harmonics import COEFFICIENTS, rotation_of_coefficients


@dataclass(frozen=True)
class Gaussians:
    """N activated 3D Gaussians, under gsplat's names.

    Attributes:
        means: (N, 3) centres, world units.
        quats: (N, 4) rotations, wxyz; need not be normalised.
        scales: (N, 3) standard deviations along the local axes, world units (not logarithms).
        opacities: (N,) in [0, 1] (not logits).
        sh0: (N, 3) spherical-harmonic coefficient of degree 0; colour = 0.5 + SH_C0 * sh0.
        shN: (N, K, 3) coefficients above degree 0, for colour that depends on the direction of view; K is 3,
            8 or 15 for degree 1, 2 or 3. None: the colour is the same from everywhere, as in our own heads.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh0: Tensor
    shN: Tensor | None = None  # noqa: N815 - gsplat's name

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Gaussians:
        return self.map(lambda field: field[index])

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name: all but `shN` always are."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: field for name, field in named if field is not None}

    def map(self, function: Callable[[Tensor], Tensor]) -> Gaussians:
        """Gaussians whose every field is `function` of this one's."""
        return Gaussians(**{name: function(field) for name, field in self.tensors().items()})

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return 0 if self.shN is None else COEFFICIENTS.index(self.shN.shape[1])

    @property
    def colors(self) -> Tensor:
        """(N, 3) RGB of degree 0, clamped below at 0 as every splat viewer does."""
        return (0.5 + SH_C0 * self.sh0).clamp_min(0.0)

    @property
    def drawable(self) -> Tensor:
        """(N,) bool: which of them hold finite numbers, and a rotation that is not of length 0."""
        rows = [field.reshape(len(self), field.shape[1:].numel()) for field in self.tensors().values()]
        numbers = torch.cat(rows, dim=-1)
        return numbers.isfinite().all(dim=-1) & (self.quats != 0).any(dim=-1)

    @torch.no_grad()
    def check(self) -> None:
        """Refuse what cannot be drawn, fitted or written.

        Raises:
            UserError: a field has another shape, is of integers or on another device; a number is not finite;
                a rotation has length 0; a scale or an opacity is out of its range.
        """
        shapes: dict[str, tuple[int, ...]] = {
            "means": (3,),
            "quats": (4,),
            "scales": (3,),
            "opacities": (),
            "sh0": (3,),
        }
        if self.shN is not None:
            if self.shN.ndim != 3 or self.shN.shape[1] not in COEFFICIENTS[1:]:
                raise UserError(
                    f"The shN of Gaussians must be ({len(self)}, K, 3) with K = 3, 8 or 15, not "
                    f"{tuple(self.shN.shape)}."
                )
            shapes["shN"] = (self.shN.shape[1], 3)
        for name, shape in shapes.items():
            field, wanted = getattr(self, name), (len(self), *shape)
            if field.shape != wanted:
                raise UserError(f"The {name} of Gaussians must be {wanted}, not {tuple(field.shape)}.")
            if not field.is_floating_point() or field.device != self.means.device:
                raise UserError(f"The fields of Gaussians must be floats on one device: the {name} are not.")
        if len(self) == 0:
            return
        # Extremes are finite where all is, and are found ten times as fast as what is not.
        numbers = {name: _numbers(getattr(self, name)) for name in shapes}
        extremes = {name: (float(x.min()), float(x.max())) for name, x in numbers.items()}
        suspect = not np.isfinite([*extremes.values()]).all() or bool((numbers["quats"][:, 0] == 0).any())
        if suspect and not self.drawable.all():
            raise UserError(
                f"{int((~self.drawable).sum())} of {len(self)} Gaussians hold NaN, infinity or a rotation of "
                "length 0: leave them out with gaussians[gaussians.drawable]."
            )
        if extremes["scales"][0] < 0:
            raise UserError("Scales must be at least 0: pass scales.exp() if they are logarithms.")
        if extremes["opacities"][0] < 0 or extremes["opacities"][1] > 1:
            raise UserError("Opacities must lie in [0, 1]: pass opacities.sigmoid() if they are logits.")

    def to(self, device: torch.device | str) -> Gaussians:
        """The same Gaussians on a device."""
        return self.map(lambda field: field.to(device))

    def filtered(self, min_opacity: float = 0.04, half_width: float = 0.91, min_z: float = -1.0) -> Gaussians:
        """FaceLift's output filters, in its order: faint Gaussians, large low ones, far corners, the box.

        The box is |x|, |y| < half_width and min_z < z < 1; the defaults are FaceLift's.
        """
        kept = self[self.opacities > min_opacity]
        kept = kept[(kept.scales.amax(-1) < 0.1) | (kept.means[:, 2] > 0)]
        x, y, z = kept.means.unbind(-1)
        kept = kept[~((x.abs() > 0.6) & (y.abs() > 0.6) & (z < -0.6))]
        x, y, z = kept.means.unbind(-1)
        return kept[(x.abs() < half_width) & (y.abs() < half_width) & (z > min_z) & (z < 1.0)]

    def shortened(self, aspect: float) -> Gaussians:
        """No needles: the longest axis is at most `aspect` times the middle one."""
        middle = self.scales.median(dim=-1, keepdim=True).values
        return replace(self, scales=torch.minimum(self.scales, aspect * middle))

    def transformed(self, rotation: Tensor, translation: Tensor, scale: float = 1.0) -> Gaussians:
        """Similarity transform x -> scale * rotation @ x + translation; rotation (3, 3), translation (3,)."""
        turn = quaternions_of(rotation)
        return Gaussians(
            means=scale * self.means @ rotation.T + translation,
            quats=_quaternion_product(turn.expand_as(self.quats), self.quats),
            scales=self.scales * scale,
            opacities=self.opacities,
            sh0=self.sh0,
            shN=None if self.shN is None else _turned(self.shN, rotation),
        )


def _turned(coefficients: Tensor, rotation: Tensor) -> Tensor:
    """(N, K, 3) coefficients above degree 0, when `rotation` (3, 3) turns the world."""
    count = coefficients.shape[1]
    matrix = rotation_of_coefficients(rotation.detach().cpu().numpy())[:count, :count]
    return torch.as_tensor(matrix).to(coefficients) @ coefficients


def quaternions_of(rotations: Tensor) -> Tensor:
    """(..., 4) wxyz of rotation matrices (..., 3, 3), with w at least 0.

    They are the dominant eigenvectors of Bar-Itzhack's symmetric matrices (2000).
    """
    r = rotations.double()
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    k = r.new_empty(*r.shape[:-2], 4, 4)
    k[..., 0, 0] = trace
    turn = [r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))]
    k[..., 0, 1:] = k[..., 1:, 0] = torch.stack(turn, dim=-1)
    k[..., 1:, 1:] = r + r.mT - trace[..., None, None] * torch.eye(3, dtype=r.dtype, device=r.device)
    quats = torch.linalg.eigh(k / 3.0).eigenvectors[..., -1].to(rotations.dtype)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def _quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def _numbers(field: Tensor) -> Any:
    """On the CPU as NumPy's array: torch's threads would go on spinning beside the rasteriser's."""
    return field if field.is_cuda else field.detach().to("cpu", torch.float32).numpy()
