"""Training the portrait's network: synthetic people before backgrounds drawn by chance, as in photos."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.data.backgrounds import random_background
from facelift.data.reader import HeadFolder
from facelift.devices import autocast
from facelift.portrait.align import FACE_CENTRE, FACE_SIDE
from facelift.portrait.find import Face
from facelift.portrait.landmarks import MIRRORED
from facelift.portrait.matte import prior
from facelift.portrait.segment import MAP_STRIDE, Segmenter, SegmenterConfig, SegmenterOutput, stack_inputs
from facelift.train.augment import random_photometry
from facelift.train.photographs import camera
from facelift.train.task import Loss, channels_last, generator_for
from facelift.weights import load_weights, save_model, take_weights

HALF_PROFILE_VIEWS = (1, 5)  # the canonical views that show a face from half aside
FACE_JITTER = 0.02  # standard deviation of where a face is found, fraction of the portrait's side


@dataclass(frozen=True)
class PortraitTraining:
    """What the portrait's network learns from.

    Attributes:
        data: folder of heads, canonical rig; for a model that finds landmarks drawn with all truth.
        init_from: folder of a trained network to start from, `OUT/portrait` of its training; what it
            lacks begins anew.
        landmark_weight: of the landmarks' loss.
        size: side of the portraits, pixels.
        half_profile_share: how often the head is seen in half profile.
        bystander_share: how often others stand behind.
        shadow_share: how often the person casts a shadow on the background.
        cropped_share: how often the photo ends within the portrait's square.
    """

    data: str
    init_from: str | None = None
    landmark_weight: float = 0.03
    size: int = 256
    half_profile_share: float = 0.2
    bystander_share: float = 0.25
    shadow_share: float = 0.3
    cropped_share: float = 0.3


class PortraitTask:
    """Training of the matte and, if the model finds them, of the landmarks."""

    def __init__(self, model: SegmenterConfig, training: PortraitTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self.sampler = PortraitSampler(HeadFolder(training.data), training)
        self.model = Segmenter(model)
        if training.init_from:
            start = Path(training.init_from)
            take_weights(self.model, load_weights(Segmenter, SegmenterConfig, start), start)
        if self.model.framing is not None:
            folder = self.sampler.folder
            fronts = torch.stack([folder.landmarks(head)[0] for head in folder.heads])
            side = float(folder.cameras(folder.heads[0]).width)
            self.model.framing.fit(fronts, torch.tensor([side / 2, side / 2, side]).expand(len(fronts), 3))
        self.model.to(device)
        channels_last(self.model)

    def held_out(self, training: PortraitTraining) -> PortraitTask:
        """The same model on the held-out heads of this folder."""
        other = copy(self)
        other.training = training
        other.sampler = PortraitSampler(HeadFolder(training.data, held_out=True), training)
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Mattes, and landmarks where they lie within the photo."""
        samples = [self.sampler.photo(rng, points=self.model.config.landmarks) for _ in range(batch)]
        photos, alpha = (
            torch.stack(x).to(self.device) for x in zip(*((s.photo, s.alpha) for s in samples), strict=True)
        )
        layers = stack_inputs(*photos.split([3, 1], dim=1)).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            output = self.model(layers)
        logits = output.logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, alpha)
        parts = {"matte": loss.detach(), "wrong": (logits.detach().sigmoid() - alpha).abs().mean()}
        points = [sample.points for sample in samples if sample.points is not None]
        if points:
            wanted = torch.stack(points).to(self.device)
            inside = ((wanted > 0) & (wanted < self.training.size)).all(-1)
            maps = output.maps.float()
            of_points = maps_loss(maps[inside], wanted[inside])
            loss = loss + self.training.landmark_weight * of_points
            with torch.no_grad():
                apart = (SegmenterOutput(logits, maps).points - wanted).norm(dim=-1)[inside]
            parts |= {"points": of_points.detach(), "pixels": apart.mean()}
        yield Loss(loss, parts, batch)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Six photos, with landmarks if these are found, above what is kept of them."""
        model = self.model
        rows: list[list[Tensor]] = [[], []]
        for i in range(6):
            rgb, prior_logits = self.sampler.photo(generator_for(1, i)).photo.to(self.device).split([3, 1])
            rows[0].append(rgb if not model.config.landmarks else self._marked(model, rgb, prior_logits))
            rows[1].append(1 + model.logits(rgb, prior_logits[0]).sigmoid() * (rgb - 1))
        return torch.cat([torch.cat(row, dim=2) for row in rows], dim=1).cpu()

    @staticmethod
    def _marked(model: Segmenter, rgb: Tensor, prior_logits: Tensor) -> Tensor:
        marked = rgb.clone()
        points = model(stack_inputs(rgb[None], prior_logits[None])).points[0]
        x, y = points.long().clamp(0, rgb.shape[-1] - 1).mT
        marked[:, y, x] = torch.tensor([[0.0], [1.0], [0.0]], device=rgb.device)
        return marked

    def export(self, folder: Path) -> None:
        """Write the network that `facelift.weights.load_segmenter` reads."""
        save_model(self.model, folder / "portrait")


@dataclass(frozen=True)
class PortraitSample:
    """A photo drawn by chance, and what is true of it.

    Attributes:
        photo: (4, S, S) RGB in [0, 1] and the prior's logits.
        alpha: (1, S, S) the person's coverage.
        points: (68, 2) x and y of the landmarks, pixels, within the picture or not; None if not asked for.
    """

    photo: Tensor
    alpha: Tensor
    points: Tensor | None


class PortraitSampler:
    """Photos of the people in a folder before some background, drawn by chance."""

    def __init__(self, folder: HeadFolder, training: PortraitTraining) -> None:
        self.folder, self.training = folder, training

    def photo(self, rng: torch.Generator, moved: bool = True, points: bool = False) -> PortraitSample:
        """One photo and what is true of it.

        Args:
            rng: what chooses.
            moved: scaled, shifted, turned and perhaps cut off, and its face found only about where it is;
                otherwise framed as a portrait.
            points: whether to tell where the landmarks are.
        """
        size, noise = self.training.size, np.random.default_rng(_whole(rng, 2**31))
        turned = noise.random() < self.training.half_profile_share
        view = HALF_PROFILE_VIEWS[noise.integers(2)] if turned else 0
        person, marks = self._person(rng, view, mirrored=moved, points=points)
        behind = self._behind(rng, noise)
        face = np.array([FACE_CENTRE[0] * size, FACE_CENTRE[1] * size]), FACE_SIDE * size
        if moved:
            person, face, move = _moved(person, face, noise)
            if marks is not None:  # cv2 has the centres of pixels at whole numbers
                marks = (marks - 0.5) @ move[:, :2].T + move[:, 2] + 0.5
        if noise.random() < self.training.shadow_share:
            behind = _shadowed(behind, person[..., 3], noise)
        photo = camera(_over(person, behind), noise)
        layers = np.dstack([photo, person[..., 3]])
        if moved and noise.random() < self.training.cropped_share:
            layers = _cut_off(layers, noise)
        (x, y), half = face[0], face[1] / 2
        prior_logits = prior((size, size), Face(x - half, y - half, x + half, y + half))
        photo, alpha = layers[..., :3], layers[..., 3]
        planes = [*photo.transpose(2, 0, 1), prior_logits, alpha]
        stacked = torch.from_numpy(np.stack(planes).astype(np.float32))
        where = None if marks is None else torch.from_numpy(marks.astype(np.float32))
        return PortraitSample(stacked[:4], stacked[4:], where)

    def _person(
        self, rng: torch.Generator, view: int, mirrored: bool = True, points: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(S, S, 4) premultiplied RGBA of someone in some light, and (68, 2) landmarks.

        Half of those that may be `mirrored` are: the mirror image of a portrait is framed otherwise.
        """
        size, head = self.training.size, self.folder.heads[_whole(rng, len(self.folder))]
        views = self.folder.load(head, [view])
        marks = None
        if points:
            marks = self.folder.landmarks(head)[view].numpy() * (size / views.cameras.width)
        views = views.resized(size)
        color = random_photometry(rng)(views.images) - 1 + views.alpha
        layers = torch.cat([color, views.alpha], dim=1)[0].movedim(0, -1).numpy()
        if not (mirrored and _whole(rng, 2)):
            return np.ascontiguousarray(layers), marks
        marks = None if marks is None else marks[MIRRORED] * [-1, 1] + [size, 0]
        return np.ascontiguousarray(layers[:, ::-1]), marks

    def _behind(self, rng: torch.Generator, noise: np.random.Generator) -> np.ndarray:
        """(S, S, 3) a background, sometimes with other people in it."""
        size = self.training.size
        scene = random_background(noise, size)
        others = int(noise.integers(1, 3)) if noise.random() < self.training.bystander_share else 0
        for _ in range(others):
            aside = noise.choice([-1, 1]) * noise.uniform(0.35, 0.7) * size
            move = np.array([[1.0, 0, aside], [0, 1, noise.uniform(-0.2, 0.3) * size]])
            move[:, :2] = move[:, :2] * noise.uniform(0.4, 1.1)
            other = cv2.warpAffine(self._person(rng, _whole(rng, 6))[0], move, (size, size))
            scene = _over(cv2.GaussianBlur(other, (0, 0), noise.uniform(0.3, 4)), scene)
        return scene


def maps_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy of N maps (N, h, w) of logits of where points (N, 2) are, in pixels.

    What is wanted are the four cells around each point, by nearness: their mean place is the point, but for
    points within half a cell of the border.
    """
    h, w = maps.shape[-2:]
    place = points / MAP_STRIDE - 0.5
    corner = place.floor()
    wanted = torch.zeros_like(maps)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        cell = corner + torch.tensor([dx, dy], device=corner.device)
        share = (1 - (place - cell).abs()).prod(-1)
        x, y = (cell[:, i].long().clamp(0, n - 1) for i, n in enumerate((w, h)))
        wanted[torch.arange(len(maps)), y, x] += share
    return F.cross_entropy(maps.flatten(1), wanted.flatten(1))


def _over(layers: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA on what is behind."""
    return (layers[..., :3] + (1 - layers[..., 3:]) * behind).clip(0, 1)


def _moved(
    person: np.ndarray, face: tuple[np.ndarray, float], noise: np.random.Generator
) -> tuple[np.ndarray, tuple[np.ndarray, float], np.ndarray]:
    """Scaled, turned and shifted; where the face, a centre and a side, is then found; and how it moved."""
    size = person.shape[0]
    scale = float(np.exp(noise.normal(0, 0.08)))
    move = cv2.getRotationMatrix2D((size / 2, size / 2), noise.normal(0, 5), scale)
    move[:, 2] = move[:, 2] + noise.normal(0, 0.02 * size, 2)
    person = cv2.warpAffine(person, move, (size, size), borderMode=cv2.BORDER_REPLICATE)
    centre = move @ [*face[0], 1] + noise.normal(0, FACE_JITTER * size, 2)
    return person, (centre, face[1] * scale), move


def _shadowed(behind: np.ndarray, alpha: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    size = len(alpha)
    shift = np.array([[1, 0, noise.normal(0, 0.05 * size)], [0, 1, noise.normal(0, 0.03 * size)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (size, size)), (0, 0), size * 0.02)
    return behind * (1 - noise.uniform(0.1, 0.6) * shadow[..., None])


def _cut_off(layers: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """The photo ends on some side, not below; what lies beyond repeats its last pixels, as at inference."""
    size = len(layers)
    top, left, right = (int(e) for e in noise.uniform(0, 0.2, 3) * size * (noise.random(3) < 0.5))
    shown = layers[top:, left : size - right]
    return cv2.copyMakeBorder(shown, top, 0, left, right, borderType=cv2.BORDER_REPLICATE)


def _whole(rng: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=rng))
