"""Photos to learn from, and what is true of them: synthetic people, and portraits that others have labelled.

What a network is to see through is drawn by chance: the face is found only about where it is, the head is
turned, the photo ends within the square, others stand behind, a shadow falls on the wall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.data.backgrounds import random_background
from facelift.data.parts import PARTS
from facelift.data.portraits import LabelledPortrait, PortraitFolder
from facelift.data.reader import HeadFolder
from facelift.portrait.find import Face
from facelift.portrait.landmarks import MIRRORED, LandmarkFraming
from facelift.portrait.matte import prior
from facelift.portrait.square import canonical_face
from facelift.train.augment import random_photometry
from facelift.train.photographs import camera, hand, strands

HALF_PROFILE_VIEWS = (1, 5)  # the canonical views that show a face from half aside
FACE_JITTER = 0.02  # standard deviation of where a face is found, fraction of the portrait's side
UNKNOWN = 255  # the number of a part that nobody knows
HAIR = PARTS.index("hair")


@dataclass(frozen=True)
class Scene:
    """A person in a square of S pixels, and what is true of it. Arrays have their channels last.

    Attributes:
        person: (S, S, 4) premultiplied RGBA.
        known: (S, S) 1 where alpha is known.
        depth: (S, S) of the surface behind the head's centre, world units; NaN where it is unknown.
        normals: (S, S, 3) in the camera's axes, of length one; zeros where they are unknown.
        parts: (S, S) uint8, numbers of `facelift.data.parts`, UNKNOWN where nobody knows.
        hair: (S, S) share of hair, of a teacher that knows no other parts; NaN where there is none.
        points: (68, 2) x and y of the landmarks, pixels.
        relief: (N, 3) x and y of points of the face, pixels, and how far behind their mean they are, world
            units; none where `depth` tells.
        attributes: the number of the answer for each of the network's attributes, -1 where it is unknown.
        behind: (S, S, 3) the photo's own background, if it has one.
    """

    person: np.ndarray
    known: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    parts: np.ndarray
    hair: np.ndarray
    points: np.ndarray
    relief: np.ndarray
    attributes: dict[str, int]
    behind: np.ndarray | None = None

    def mirrored(self) -> Scene:
        """The mirror image."""
        size = len(self.person)

        def flip(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(array[:, ::-1])

        return replace(
            self,
            person=flip(self.person),
            known=flip(self.known),
            depth=flip(self.depth),
            normals=flip(self.normals) * np.array([-1, 1, 1], np.float32),
            parts=flip(self.parts),
            hair=flip(self.hair),
            points=self.points[MIRRORED] * [-1, 1] + [size, 0],
            relief=self.relief * [-1, 1, 1] + [size, 0, 0],
            behind=None if self.behind is None else flip(self.behind),
        )

    def moved(self, move: np.ndarray) -> Scene:
        """Scaled, turned and shifted by a (2, 3) matrix, of places as cv2 counts them.

        Depths stay: of a head as large as it should be they are what they were.
        """
        size = (len(self.person),) * 2
        turn = move[:, :2] / np.sqrt(np.linalg.det(move[:, :2]))

        def warp(array: np.ndarray, smooth: bool = True, beyond: float | None = None) -> np.ndarray:
            border = cv2.BORDER_REPLICATE if beyond is None else cv2.BORDER_CONSTANT
            flags = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
            return cv2.warpAffine(array, move, size, flags=flags, borderMode=border, borderValue=beyond or 0)

        def place(points: np.ndarray) -> np.ndarray:
            return (points - 0.5) @ move[:, :2].T + move[:, 2] + 0.5

        normals = warp(self.normals, smooth=False)
        normals[..., :2] = normals[..., :2] @ turn.T
        return replace(
            self,
            person=warp(self.person),
            known=warp(self.known, smooth=False),
            depth=warp(self.depth, smooth=False),
            normals=normals,
            parts=warp(self.parts, smooth=False),
            hair=warp(self.hair, smooth=False),
            points=place(self.points),
            relief=np.concatenate([place(self.relief[:, :2]), self.relief[:, 2:]], axis=1),
            behind=None if self.behind is None else warp(self.behind),
        )


@dataclass(frozen=True)
class PortraitSample:
    """A photo drawn by chance, and what is true of it; see `Scene`.

    Attributes:
        photo: (4, S, S) RGB in [0, 1] and the prior's logits.
        alpha: (1, S, S) the person's coverage; NaN where it is unknown.
        depth: (1, S, S), NaN where it is unknown.
        normals: (3, S, S), zeros where they are unknown.
        parts: (S, S) int64.
        hair: (S, S), NaN where it is unknown.
        points: (68, 2), within the picture or not.
        relief: (N, 3).
        attributes: see `Scene`.
    """

    photo: Tensor
    alpha: Tensor
    depth: Tensor
    normals: Tensor
    parts: Tensor
    hair: Tensor
    points: Tensor
    relief: Tensor
    attributes: dict[str, int]


@dataclass(frozen=True)
class Chances:
    """How often a photo shows what.

    Attributes:
        half_profile: a synthetic head is seen in half profile.
        portrait: a labelled portrait is taken in place of a synthetic head.
        white: the background is gone already.
        bystander: others stand behind.
        shadow: the person casts a shadow on the background.
        covered: a hand or hair is before the face.
        cropped: the photo ends within the portrait's square.
    """

    half_profile: float = 0.2
    portrait: float = 0.3
    white: float = 0.25
    bystander: float = 0.25
    shadow: float = 0.3
    covered: float = 0.1
    cropped: float = 0.3


class PortraitSampler:
    """Photos of the people in a folder, and of labelled portraits if there are any, drawn by chance.

    Args:
        folder: heads, canonical rig, drawn with all truth.
        size: side of the photos, pixels.
        chances: how often they show what.
        portraits: labelled portraits.
        framing: how these are framed.
        attributes: what is true of a head, by its name.
    """

    def __init__(
        self,
        folder: HeadFolder,
        size: int,
        chances: Chances,
        portraits: PortraitFolder | None = None,
        framing: LandmarkFraming | None = None,
        attributes: Callable[[str], dict[str, int]] = lambda head: {},
    ) -> None:
        self.folder, self.size, self.chances = folder, size, chances
        self.portraits, self.framing, self.attributes = portraits, framing, attributes

    def photo(self, rng: torch.Generator, moved: bool = True) -> PortraitSample:
        """One photo and what is true of it.

        Args:
            rng: what chooses.
            moved: scaled, shifted, turned and perhaps cut off, and its face found only about where it is;
                otherwise framed as a portrait.
        """
        chances, size = self.chances, self.size
        noise = np.random.default_rng(_whole(rng, 2**31))
        if self.portraits is not None and noise.random() < chances.portrait:
            scene = self._portrait(noise)
        else:
            turned = noise.random() < chances.half_profile
            scene = self._head(rng, HALF_PROFILE_VIEWS[noise.integers(2)] if turned else 0)
        if moved and noise.random() < 0.5:  # the mirror image of a portrait is framed otherwise
            scene = scene.mirrored()
        face = canonical_face(size)
        if moved:
            move, face = _random_move(face, size, noise)
            scene = scene.moved(move)
        person = scene.person
        if noise.random() < chances.covered:
            person = _covered(person, noise)
        photo = camera(_over(person, self._behind(scene, rng, noise)), noise)
        known = scene.known
        if moved and noise.random() < chances.cropped:
            photo, known = _cut_off(photo, known, noise)
        return sample_of(photo, replace(scene, person=person, known=known), face)

    def _head(self, rng: torch.Generator, view: int) -> Scene:
        """A synthetic person in some light."""
        folder, head = self.folder, self.folder.heads[_whole(rng, len(self.folder))]
        views = folder.load(head, [view], depth=True)
        parts = folder.parts(head, [view])[0].numpy()
        normals = folder.normals(head, [view])[0]
        points = folder.landmarks(head)[view].numpy() * (self.size / views.cameras.width)
        assert views.depth is not None
        to_camera = views.cameras.w2c[0, :3, :3]
        depth = torch.where(views.depth[0] > 0, views.depth[0] - views.cameras.w2c[0, 2, 3], torch.nan)
        color = random_photometry(rng)(views.images) - 1 + views.alpha
        person = torch.cat([color, views.alpha], dim=1)[0].movedim(0, -1).numpy()
        return Scene(
            person=_resized(person, self.size),
            known=np.ones((self.size, self.size), np.float32),
            depth=_picked(depth.numpy(), self.size),
            normals=_picked(
                (to_camera @ normals.flatten(1)).view_as(normals).movedim(0, -1).numpy(), self.size
            ),
            parts=_picked(parts, self.size),
            hair=np.full((self.size, self.size), np.nan, np.float32),
            points=points,
            relief=np.zeros((0, 3)),
            attributes=self.attributes(head),
        )

    def _portrait(self, noise: np.random.Generator) -> Scene:
        assert self.portraits is not None and self.framing is not None
        portrait = self.portraits.load(int(noise.integers(len(self.portraits))))
        return frame_portrait(portrait, self.framing, self.size)

    def _behind(self, scene: Scene, rng: torch.Generator, noise: np.random.Generator) -> np.ndarray:
        """(S, S, 3) what is behind the person: nothing, its own background, another's, or a drawn one."""
        size, chances = self.size, self.chances
        if noise.random() < chances.white:
            return np.ones((size, size, 3), np.float32)
        if scene.behind is not None and noise.random() < 0.6:
            return scene.behind
        if self.portraits is not None and noise.random() < 0.4:
            other = self._portrait(noise)
            assert other.behind is not None
            behind = _filled(other.behind, other.person[..., 3])
            behind = behind[:, ::-1] if noise.random() < 0.5 else behind
        else:
            behind = random_background(noise, size)
        if noise.random() < chances.bystander:
            for _ in range(int(noise.integers(1, 3))):
                aside = noise.choice([-1, 1]) * noise.uniform(0.35, 0.7) * size
                move = np.array([[1.0, 0, aside], [0, 1, noise.uniform(-0.2, 0.3) * size]])
                move[:, :2] = move[:, :2] * noise.uniform(0.4, 1.1)
                person = cv2.warpAffine(self._head(rng, _whole(rng, 6)).person, move, (size, size))
                behind = _over(cv2.GaussianBlur(person, (0, 0), noise.uniform(0.3, 4)), behind)
        if noise.random() < chances.shadow:
            behind = _shadowed(behind, scene.person[..., 3], noise)
        return behind


def frame_portrait(portrait: LabelledPortrait, framing: LandmarkFraming, size: int) -> Scene:
    """A labelled portrait, framed by its landmarks, before its own background."""
    x, y, side = framing(torch.from_numpy(portrait.landmarks).float()).tolist()
    framed = portrait.framed(x, y, side, size)
    alpha = framed.alpha[..., None]
    return Scene(
        person=np.dstack([framed.image * alpha, alpha]).astype(np.float32),
        known=framed.known,
        depth=np.full((size, size), np.nan, np.float32),
        normals=np.zeros((size, size, 3), np.float32),
        parts=np.full((size, size), UNKNOWN, np.uint8),
        hair=framed.hair,
        points=framed.landmarks,
        relief=framed.relief,
        attributes={},
        behind=framed.image,
    )


def sample_of(photo: np.ndarray, scene: Scene, face: Face) -> PortraitSample:
    """A photo (S, S, 3) of a scene in which that face was found."""
    prior_logits = prior(photo.shape, face)
    unknown = scene.known < 0.5
    parts = np.where(unknown, UNKNOWN, scene.parts).astype(np.int64)

    def known(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.where(unknown, np.nan, array).astype(np.float32))

    return PortraitSample(
        photo=torch.from_numpy(np.dstack([photo, prior_logits]).transpose(2, 0, 1).astype(np.float32)),
        alpha=known(scene.person[..., 3])[None],
        depth=known(scene.depth)[None],
        normals=torch.from_numpy(np.where(unknown[..., None], 0, scene.normals).transpose(2, 0, 1)).float(),
        parts=torch.from_numpy(parts),
        hair=known(scene.hair),
        points=torch.from_numpy(scene.points).float(),
        relief=torch.from_numpy(scene.relief).float(),
        attributes=scene.attributes,
    )


def _over(layers: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA on what is behind."""
    return (layers[..., :3] + (1 - layers[..., 3:]) * behind).clip(0, 1)


def _random_move(face: Face, size: int, noise: np.random.Generator) -> tuple[np.ndarray, Face]:
    """A (2, 3) matrix that scales, turns and shifts; and where the face is then found."""
    scale = float(np.exp(noise.normal(0, 0.08)))
    move = cv2.getRotationMatrix2D((size / 2, size / 2), noise.normal(0, 5), scale)
    move[:, 2] = move[:, 2] + noise.normal(0, 0.02 * size, 2)
    x, y = move @ [*face.centre, 1] + noise.normal(0, FACE_JITTER * size, 2)
    half = scale * face.side / 2
    return move, Face(x - half, y - half, x + half, y + half)


def _covered(person: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """The person with a hand or hair before the face."""
    on_white = np.dstack([person[..., :3] + 1 - person[..., 3:], person[..., 3:]]).astype(np.float32)
    covered = (hand if noise.random() < 0.5 else strands)(on_white, noise)
    return (
        np.dstack([covered[..., :3] - 1 + covered[..., 3:], covered[..., 3:]]).clip(0, 1).astype(np.float32)
    )


def _filled(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A photo whose person is painted over with the colours around it."""
    weight = (1 - cv2.dilate(alpha, np.ones((5, 5))))[..., None]
    total, shares = np.zeros_like(image), np.zeros_like(weight) + 1e-6
    for sigma in (4.0, 16.0, 48.0):
        near = cv2.GaussianBlur(np.dstack([image * weight, weight]), (0, 0), sigma)
        share = 1e-3 ** (sigma > 4) * 1e-3 ** (sigma > 16)
        total, shares = total + share * near[..., :3], shares + share * near[..., 3:]
    return (weight * image + (1 - weight) * total / shares).astype(np.float32)


def _shadowed(behind: np.ndarray, alpha: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    size = len(alpha)
    shift = np.array([[1, 0, noise.normal(0, 0.05 * size)], [0, 1, noise.normal(0, 0.03 * size)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (size, size)), (0, 0), size * 0.02)
    return behind * (1 - noise.uniform(0.1, 0.6) * shadow[..., None])


def _cut_off(
    photo: np.ndarray, known: np.ndarray, noise: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The photo ends on some side, not below; what lies beyond repeats its last pixels, as at inference."""
    size = len(photo)
    top, left, right = (int(e) for e in noise.uniform(0, 0.2, 3) * size * (noise.random(3) < 0.5))
    shown = np.dstack([photo, known])[top:, left : size - right]
    photo = cv2.copyMakeBorder(shown[..., :3], top, 0, left, right, borderType=cv2.BORDER_REPLICATE)
    return photo, cv2.copyMakeBorder(shown[..., 3], top, 0, left, right, borderType=cv2.BORDER_CONSTANT)


def _resized(layers: np.ndarray, size: int) -> np.ndarray:
    if len(layers) == size:
        return np.ascontiguousarray(layers)
    return cv2.resize(layers, (size, size), interpolation=cv2.INTER_AREA)


def _picked(layers: np.ndarray, size: int) -> np.ndarray:
    if len(layers) == size:
        return np.ascontiguousarray(layers)
    return cv2.resize(layers, (size, size), interpolation=cv2.INTER_NEAREST)


def _whole(rng: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=rng))
