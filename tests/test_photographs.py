"""What stands before a face in a photo, drawn onto portraits whose every pixel is known."""

import cv2
import numpy as np
import pytest
import torch

from facelift.portrait.align import FACE_CENTRE, FACE_SIDE
from facelift.train.photographs import camera, degrade, hand, strands

SIZE = 128


def a_portrait():
    """Blue hair over an orange face on white, (4, SIZE, SIZE)."""
    layers = np.ones((SIZE, SIZE, 4), np.float32)
    layers[..., 3] = 0
    x, y = (int(share * SIZE) for share in FACE_CENTRE)
    half = int(FACE_SIDE * SIZE / 2)
    layers[y - 2 * half : y, x - half : x + half] = 0.1, 0.1, 0.8, 1
    layers[y - half // 2 : y + half, x - half : x + half] = 0.8, 0.5, 0.3, 1
    return torch.from_numpy(layers).movedim(-1, 0)


def draws(draw, count=20):
    portrait = np.ascontiguousarray(a_portrait().movedim(0, -1).numpy())
    return portrait, [draw(portrait, np.random.default_rng(seed)) for seed in range(count)]


def test_a_hand_has_the_colour_of_the_face_and_comes_from_below():
    portrait, drawn = draws(hand)
    for layers in drawn:
        new = (layers[..., 3] > 0.99) & (portrait[..., 3] == 0)
        assert new[SIZE // 2 :].any() and not new[: SIZE // 3].any()
        red, green, blue = layers[new][:, :3].mean(axis=0)
        assert red > green > blue, "orange, in whatever light"
    hidden = [(layers[..., :3] != portrait[..., :3]).any(axis=-1)[portrait[..., 3] > 0] for layers in drawn]
    assert np.mean(hidden) > 0.05, "and is before the person"


def test_strands_are_hair_before_the_face():
    portrait, drawn = draws(strands)
    face = (portrait[..., 0] > 0.7) & (portrait[..., 3] > 0)
    shares = []
    for layers in drawn:
        changed = np.abs(layers[..., :3] - portrait[..., :3]).max(axis=-1) > 0.2
        shares.append(changed[face].mean())
    assert 0.02 < np.mean(shares) < 0.5
    assert max(shares) < 0.9, "a face is left"


@pytest.mark.parametrize("draw", [hand, strands])
def test_who_is_hidden_is_still_there(draw):
    portrait, drawn = draws(draw)
    for layers in drawn:
        assert (layers[..., 3] >= portrait[..., 3]).all()
        assert layers.min() >= 0 and layers.max() <= 1
        assert layers.dtype == np.float32


def test_a_photo_is_seen_on_white_and_follows_from_its_seed():
    portrait = a_portrait()
    photos = [degrade(portrait, np.random.default_rng(seed)) for seed in range(60)]
    for photo in photos:
        assert photo.shape == portrait.shape and photo.dtype == portrait.dtype
        assert (photo[:3, photo[3] == 0] == 1).all(), "nothing of noise and compression is around the person"
    assert torch.equal(degrade(portrait, np.random.default_rng(7)), photos[7])
    same = sum(torch.equal(photo, portrait) for photo in photos)
    wider = sum(bool((photo[3] > portrait[3]).any()) for photo in photos)
    assert 2 <= same <= 25 and 4 <= wider <= 28, "some are as they were, a quarter is hidden"


def test_a_camera_loses_detail_and_no_light():
    noise = np.random.default_rng(0)
    fine = np.kron(np.indices((64, 64)).sum(axis=0) % 2, np.ones((2, 2)))[..., None].repeat(3, -1)
    fine = (0.25 + 0.5 * fine).astype(np.float32)
    errors = []
    for _ in range(40):
        photo = camera(fine, noise)
        assert abs(photo.mean() - 0.5) < 0.02
        errors.append(np.abs(photo - fine).mean())
        wide = cv2.blur(photo, (16, 16))
        assert np.abs(wide - cv2.blur(fine, (16, 16))).max() < 0.05
    assert min(errors) < 1e-3 < np.median(errors)
