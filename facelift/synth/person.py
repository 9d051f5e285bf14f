"""Who a synthetic person is: every number that the mesh, the colours and the light are built from.

A person is plain data, sampled from one seed (`sampling.py`, with the shares and spreads of `priors.py`) and
written as JSON; `build.py` turns it into a scene. Shape is one flat table of MakeHuman targets and weights,
whatever their kind: ethnicity, age, nose, smile.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from facelift.synth.coverings import Covering
from facelift.synth.glasses import Glasses
from facelift.synth.haircuts import Haircut
from facelift.synth.hairdos import Hairdo
from facelift.synth.hats import Hat
from facelift.synth.hdri import Hdri
from facelift.synth.light import Lighting, Panel
from facelift.synth.patterns import Pattern
from facelift.synth.photo import Photo
from facelift.synth.values import Triple


@dataclass(frozen=True)
class Makeup:
    """What is painted on a skin; strengths from 0.

    Attributes:
        lips, lids: sRGB.
        lip_strength, lid_strength, blush: how much of them, and of red on the cheeks.
    """

    lips: Triple
    lip_strength: float
    lids: Triple
    lid_strength: float
    blush: float


@dataclass(frozen=True)
class Beard:
    """Hair of the face.

    Attributes:
        style: one of `regions.BEARDS`.
        length: decimetres; 0 is painted only.
        density: 0 to 1.
        shadow: how dark the shaved or growing hair makes the skin below, 0 to 1.
    """

    style: str
    length: float
    density: float
    shadow: float


@dataclass(frozen=True)
class Person:
    """Everything that is sampled.

    Attributes:
        seed: what the person was sampled from.
        male: 0 woman to 1 man.
        age: years.
        ethnicity: shares of caucasian, asian and african; they sum to one.
        targets: weight of each target, by its path below `targets`.
        skin, skin2: materials of the skin; `skin_mix` of the second is blended into the first.
        skin_tone: sRGB of the skin on a cheek.
        skin_specular, skin_roughness: of the skin's shine.
        redness: of the nose and cheeks.
        freckles: density, 0 to 1.
        moles: how many.
        blemishes: how uneven the skin is, 0 to 1.
        makeup: None for most.
        eyes, eyes2: materials of the irises; `eyes_mix` of the second is blended into the first.
        brows, lashes, teeth, clothes: proxies.
        lash_strength: factor on the lashes' opacity.
        hair: proxy, None for the bald.
        hair_fringe: height to which hair before the face is combed, decimetres on the base mesh.
        hair_length: factor on what hangs below the ears.
        hair_volume: factor on how far it stands off the skull.
        hair_flipped: whether the hair is mirrored.
        scalp: how much of the shaved hair that the skins show on the head is left, 0 to 1.
        beard: None for women and the clean-shaven.
        glasses, hat: None for most.
        hair_color, brow_color, clothes_color: sRGB; the clothes' is used where they have no texture.
        clothes_shift: hue added (turns), factors on saturation and value.
        clothes_pattern: None for those without, and for clothes that come with stripes.
        turn: yaw, pitch and roll of the head in degrees: to the subject's left, up, to the subject's left.
        gaze: yaw and pitch of the eyes in degrees.
        arms: how far the arms are lowered from MakeHuman's pose, in degrees.
        lighting: the light.
        recipe: which version of the priors it was sampled with, one of `priors.RECIPES`.
        modes: of recipe 2, weights of the scans' modes of identity, in standard deviations.
        expression: of recipe 2, weights of ARKit's expressions by their names, 0 to 1.
        haircut: of recipe 2, short hair that grows from the scalp; None for who has a proxy, or none.
        hairdo: of recipe 2, long hair that grows from the scalp; None as above.
        covering: of recipe 2, cloth around the head, which hides the hair; None for most.
        hdri: of recipe 2, photographed surroundings whose light takes the place of `lighting`.
        photo: of recipe 2, the camera and the background of a photo of this person.
    """

    seed: int
    male: float
    age: float
    ethnicity: Triple
    targets: dict[str, float]
    skin: str
    skin2: str
    skin_mix: float
    skin_tone: Triple
    skin_specular: float
    skin_roughness: float
    redness: float
    freckles: float
    moles: int
    blemishes: float
    makeup: Makeup | None
    eyes: str
    eyes2: str
    eyes_mix: float
    brows: str
    lashes: str
    lash_strength: float
    teeth: str
    hair: str | None
    hair_fringe: float
    hair_length: float
    hair_volume: float
    hair_flipped: bool
    scalp: float
    beard: Beard | None
    glasses: Glasses | None
    hat: Hat | None
    hair_color: Triple
    brow_color: Triple
    clothes: str
    clothes_color: Triple
    clothes_shift: Triple
    clothes_pattern: Pattern | None
    turn: Triple
    gaze: tuple[float, float]
    arms: float
    lighting: Lighting
    recipe: int = 1
    modes: tuple[float, ...] = ()
    expression: dict[str, float] = field(default_factory=dict)
    haircut: Haircut | None = None
    covering: Covering | None = None
    hairdo: Hairdo | None = None
    hdri: Hdri | None = None
    photo: Photo | None = None

    @property
    def on_scalp(self) -> Haircut | None:
        """What hair grows from the scalp; None for who has a proxy, or none."""
        return self.haircut if self.hairdo is None else self.hairdo.on_scalp()

    def to_json(self) -> str:
        """The person as JSON, as `person.json` holds it; of recipe 1 as it was when there was no other."""
        values = asdict(self)
        if self.recipe == 1:
            for name in ("recipe", "modes", "expression", "haircut", "covering", "hairdo", "hdri", "photo"):
                del values[name]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Person:
        """A person from what `to_json` wrote."""
        values: dict[str, Any] = _tuples(json.loads(text))
        lighting = values["lighting"]
        panels = tuple(Panel(**panel) for panel in lighting["panels"])
        values["lighting"] = Lighting(**{**lighting, "panels": panels})
        kinds = {
            "makeup": Makeup,
            "beard": Beard,
            "glasses": Glasses,
            "hat": Hat,
            "clothes_pattern": Pattern,
            "haircut": Haircut,
            "hairdo": Hairdo,
            "hdri": Hdri,
        }
        covering = values.get("covering")
        if covering is not None:
            pattern = covering["pattern"] and Pattern(**covering["pattern"])
            values["covering"] = Covering(**{**covering, "pattern": pattern})
        photo = values.get("photo")
        if photo is not None:
            behind = photo["background"] and Hdri(**photo["background"])
            values["photo"] = Photo(**{**photo, "background": behind})
        for name, kind in kinds.items():
            if values.get(name) is not None:
                values[name] = kind(**values[name])
        return cls(**values)


def _tuples(value: Any) -> Any:
    """JSON knows lists only; a person holds tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
