"""Spherical harmonics: an orthonormal basis in 3D Gaussian Splatting's order, that turns with the world."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from facelift.errors import UserError
from facelift.formats.frames import from_frame, rotation, to_frame
from facelift.gaussians import Gaussians, quaternions_of
from facelift.spherical_harmonics import basis, rotation_of_coefficients


def directions(count=200):
    vectors = np.random.default_rng(1).standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def turn_of(*quaternion):
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(quaternion).as_matrix()


def test_the_basis_is_scipys():
    """Up to signs (-1)^m, real harmonics are scipy's complex ones; this is the convention of 3DGS."""
    d = directions()
    polar, azimuth = np.arccos(d[:, 2]), np.arctan2(d[:, 1], d[:, 0])
    columns = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)  # with the Condon-Shortley phase
            part = value.real if order >= 0 else value.imag
            columns.append(part * (np.sqrt(2) if order else 1))
    np.testing.assert_allclose(basis(d), np.stack(columns, -1), atol=1e-12)


@pytest.mark.parametrize("quaternion", [(0.3, -0.2, 0.8, 0.5), (1, 0, 0, 1), (0, 1, 0, 0)])
def test_turned_coefficients_have_the_same_colour_from_the_turned_direction(quaternion):
    turn, d = turn_of(*quaternion), directions()
    coefficients = np.random.default_rng(2).standard_normal(15)
    turned = rotation_of_coefficients(turn) @ coefficients
    np.testing.assert_allclose(basis(d @ turn.T)[:, 1:] @ turned, basis(d)[:, 1:] @ coefficients, atol=1e-12)


@pytest.mark.parametrize("count", [3, 8, 15])
def test_gaussians_turn_their_coefficients(count):
    generator = torch.Generator().manual_seed(3)
    turn = torch.from_numpy(turn_of(0.1, 0.7, -0.4, 0.2)).float()
    few = Gaussians(
        means=torch.randn(5, 3, generator=generator),
        quats=torch.randn(5, 4, generator=generator),
        scales=torch.rand(5, 3, generator=generator),
        opacities=torch.rand(5, generator=generator),
        sh0=torch.randn(5, 3, generator=generator),
        shN=torch.randn(5, count, 3, generator=generator),
    )
    moved = few.transformed(turn, torch.ones(3), 2.0)
    d = directions(20)
    before = np.einsum("dk,nkc->dnc", basis(d)[:, 1 : count + 1], few.shN.numpy())
    after = np.einsum("dk,nkc->dnc", basis(d @ turn.numpy().T)[:, 1 : count + 1], moved.shN.numpy())
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_shn_of_another_shape_is_refused():
    two = Gaussians(
        means=torch.zeros(2, 3),
        quats=torch.ones(2, 4),
        scales=torch.ones(2, 3),
        opacities=torch.ones(2),
        sh0=torch.zeros(2, 3),
        shN=torch.zeros(2, 4, 3),
    )
    with pytest.raises(UserError, match="K = 3, 8 or 15"):
        two.check()


@pytest.mark.parametrize(
    ("frame", "up", "face"),
    [("world", (0, 0, 1), (0, -1, 0)), ("RDF", (0, -1, 0), (0, 0, -1)), ("RUB", (0, 1, 0), (0, 0, 1))],
)
def test_heads_stand_upright_in_every_frame(frame, up, face):
    """Where up and the face's direction go; x, the viewer's right, stays."""
    turn = rotation(frame)
    assert turn @ torch.tensor([0.0, 0.0, 1.0]) == pytest.approx(torch.tensor(up, dtype=torch.float32))
    assert turn @ torch.tensor([0.0, -1.0, 0.0]) == pytest.approx(torch.tensor(face, dtype=torch.float32))
    assert turn @ torch.tensor([1.0, 0.0, 0.0]) == pytest.approx(torch.tensor([1.0, 0.0, 0.0]))
    assert torch.linalg.det(turn) == pytest.approx(1.0)


def test_there_and_back_again():
    generator = torch.Generator().manual_seed(4)
    some = Gaussians(
        means=torch.randn(9, 3, generator=generator),
        quats=quaternions_of(torch.linalg.qr(torch.randn(9, 3, 3, generator=generator))[0]),
        scales=torch.rand(9, 3, generator=generator),
        opacities=torch.rand(9, generator=generator),
        sh0=torch.randn(9, 3, generator=generator),
        shN=torch.randn(9, 15, 3, generator=generator),
    )
    for frame in ("world", "RDF", "RUB"):
        back = from_frame(to_frame(some, frame), frame)
        same_sign = (back.quats * some.quats).sum(-1, keepdim=True).sign()  # q and -q are one rotation
        back = replace(back, quats=back.quats * same_sign)
        for name, field in some.tensors().items():
            torch.testing.assert_close(back.tensors()[name], field, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="no frame 'XYZ'"):
        rotation("XYZ")
