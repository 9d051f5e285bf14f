"""How synthetic people are distributed: every share, spread and colour that they are sampled with."""

from __future__ import annotations

from dataclasses import dataclass

from facelift.synth.values import Triple

ETHNICITIES = ("caucasian", "asian", "african")

# Opposite ends of one slider, as MakeHuman names them.
OPPOSITES = {
    "decr": "incr",
    "down": "up",
    "in": "out",
    "backward": "forward",
    "compress": "uncompress",
    "concave": "convex",
}
# Standard deviation of the sliders of each folder of detail targets; 1 is MakeHuman's own limit.
TARGET_SPREADS = {
    "cheek": 0.36,
    "chin": 0.33,
    "ears": 0.34,
    "eyebrows": 0.27,
    "eyes": 0.3,
    "forehead": 0.3,
    "head": 0.24,
    "mouth": 0.3,
    "neck": 0.22,
    "nose": 0.35,
}
# They move or tilt a whole feature out of place, which the turn of the head or the asymmetry does better.
EXCLUDED_TARGETS = (
    "head/head-trans",
    "head/head-angle",
    "head/head-age",
    "neck/neck-trans",
    "nose/nose-trans-in",
    "mouth/mouth-trans-in",
)

# sRGB, 0 to 1, of hair, with its share among caucasians, asians and africans.
HAIR_COLORS: dict[str, tuple[Triple, Triple]] = {
    "black": ((0.10, 0.085, 0.08), (0.10, 0.75, 0.80)),
    "dark brown": ((0.17, 0.11, 0.08), (0.25, 0.20, 0.15)),
    "brown": ((0.30, 0.19, 0.12), (0.24, 0.05, 0.03)),
    "light brown": ((0.45, 0.31, 0.20), (0.15, 0.0, 0.01)),
    "blond": ((0.68, 0.54, 0.34), (0.14, 0.0, 0.01)),
    "light blond": ((0.83, 0.73, 0.54), (0.05, 0.0, 0.0)),
    "red": ((0.48, 0.20, 0.08), (0.07, 0.0, 0.0)),
}
GREY: Triple = (0.62, 0.61, 0.60)
DYED: tuple[Triple, ...] = (
    (0.72, 0.12, 0.15),
    (0.15, 0.25, 0.65),
    (0.85, 0.40, 0.62),
    (0.45, 0.18, 0.60),
    (0.12, 0.52, 0.45),
    (0.90, 0.88, 0.84),
)
# How often each hair mesh is chosen by women and by men; a mesh not listed is worn by both.
HAIR_SHARES = {
    "afro01": (0.7, 0.7),
    "bob01": (0.5, 0.03),
    "bob02": (0.9, 0.05),
    "braid01": (0.8, 0.0),
    "long01": (1.4, 0.15),
    "ponytail01": (1.2, 0.1),
    "short01": (0.15, 1.3),
    "short02": (0.2, 1.3),
    "short03": (0.7, 0.9),
    "short04": (0.6, 1.3),
}
BALD_SHARE = (0.02, 1.0)
DARK_EYES = ("brown", "brownlight")
# Clothes that come with stripes and get no other pattern.
STRIPED_CLOTHES = ("female_elegantsuit01", "male_casualsuit03", "male_casualsuit05")


# Sliders that are not drawn about zero: faces look up at a camera, not sternly past it.
TARGET_MEANS = {
    "eyebrows/eyebrows-angle": 0.12,
    "eyes/*eye-scale": 0.12,
    "eyes/*eye-height2": 0.16,
    "eyes/*eye-height1": 0.08,
    "eyes/*eye-height3": 0.08,
}

# sRGB of skin from the palest to the darkest, in even steps; and where caucasians, asians and africans lie
# between the two, mean and spread.
SKIN_TONES = (
    (236, 198, 178),
    (224, 178, 150),
    (202, 150, 117),
    (162, 112, 83),
    (112, 74, 54),
    (66, 44, 36),
)
SKIN_DARKNESS = ((0.14, 0.12), (0.24, 0.12), (0.74, 0.15))
# Linear albedo of the skin that exposure is set for.
AVERAGE_ALBEDO = 0.36

BEARD_STYLES = {"full": 0.5, "goatee": 0.22, "moustache": 0.16, "chin strap": 0.12}

MOODS = {
    "neutral": 0.36,
    "smile": 0.2,
    "laugh": 0.1,
    "open": 0.08,
    "surprise": 0.06,
    "raised": 0.06,
    "frown": 0.07,
    "lids": 0.04,
    "blink": 0.03,
}
"""Expressions, and the share of people who are met with each."""

# Recipe 2. Scans tell faces apart; MakeHuman's sliders only add to them, least where scans know all.
BESIDE_SCANS = {
    "cheek": 0.5,
    "chin": 0.5,
    "ears": 0.6,
    "eyebrows": 0.6,
    "eyes": 0.6,
    "forehead": 0.5,
    "head": 0.35,
    "mouth": 0.5,
    "neck": 0.6,
    "nose": 0.5,
}
# Most people are less mixed than recipe 1 has them: exponent of the shares of sexes and ethnicities in a
# shape, and the share of people who have two textures blended, which blurs both.
PURITY, BLENDED_SKINS = 2.5, 0.25
# How many of the scans' modes are used, and their spread in standard deviations: of the modes with these
# numbers, with even steps between them. The late ones are small, and smaller on a mesh as coarse as this.
MODES = 100
MODES_SPREAD = ([0, 10, 40, 99], [0.8, 0.8, 1.1, 1.1])

# Spreads of yaw, pitch and roll in degrees: of three quarters of people, and of those who turn aside.
TURNS = ((3.5, 3.0, 2.0), (10.0, 5.0, 5.0))
LOOKING_AWAY = 0.12
"""Share of people who do not look into the camera."""

# How often women and men have each of MakeHuman's brows and lashes; those not listed all have alike.
BROWS = {
    "eyebrow001": (1.0, 1.0),
    "eyebrow002": (0.3, 0.2),
    "eyebrow003": (0.4, 0.1),
    "eyebrow004": (0.8, 0.8),
    "eyebrow005": (0.5, 0.0),
    "eyebrow006": (0.3, 0.0),
    "eyebrow007": (0.5, 0.0),
    "eyebrow008": (1.0, 1.0),
    "eyebrow009": (0.2, 1.0),
    "eyebrow010": (1.0, 0.6),
    "eyebrow011": (0.5, 0.1),
    "eyebrow012": (1.0, 1.0),
}
BROWS_TILT = 0.25  # added to MakeHuman's slider
LASHES = {"eyelashes04": (0.2, 0.0)}

LASH_STRENGTH = ((0.45, 0.8), (0.35, 0.5))
"""Least and most of women's and of men's."""

HDRI_SHARE = 0.65
"""Share of people whom a map of light lights, where there are maps."""

PHOTO_DISTANCES = ((0.3, 0.42, 0.6), (0.3, 0.6, 1.2), (0.25, 1.2, 2.5), (0.15, 2.5, 5.0))
"""Selfies, and photos by others from near and from afar: the share of each, nearest and farthest, metres."""

PHOTO_DRAWN_SHARE = 0.25
"""Share of photos whose background is drawn by chance, where there are maps."""

# What MediaPipe's network answers of synthetic faces at rest, and by how much a weight exceeds its answer.
AT_REST = {"browDown": 0.25, "eyeBlink": 0.06, "eyeSquint": 0.38, "mouthPucker": 0.1, "jawOpen": 0.02}
STRONGER = {
    "browDown": 1.2,
    "eyeSquint": 1.3,
    "jawOpen": 1.4,
    "mouthPress": 1.5,
    "mouthSmile": 1.6,
    "mouthUpperUp": 1.2,
}
CHEEKS = 0.5
"""Weight of cheekSquint for a whole smile."""
LARGEST = 1.2
"""What no weight exceeds."""

# Expressions and the share of people who are met with each. "*" stands for left and right.
FACES: dict[str, tuple[float, dict[str, float]]] = {
    "portrait": (0.85, {}),
    "laugh": (
        0.05,
        {
            "mouthSmile*": 0.9,
            "mouthUpperUp*": 0.5,
            "mouthLowerDown*": 0.3,
            "jawOpen": 0.4,
            "cheekSquint*": 0.6,
            "eyeSquint*": 0.4,
        },
    ),
    "surprise": (0.02, {"jawOpen": 0.4, "browInnerUp": 0.8, "browOuterUp*": 0.8, "eyeWide*": 0.7}),
    "talk": (0.02, {"jawOpen": 0.35, "mouthFunnel": 0.4, "mouthLowerDown*": 0.3}),
    "frown": (0.02, {"browDown*": 0.9, "mouthFrown*": 0.6, "mouthPress*": 0.4}),
    "pout": (0.02, {"mouthPucker": 0.7, "browInnerUp": 0.3}),
    "shut": (0.02, {"eyeBlink*": 1.0}),
}


Span = tuple[float, float]


@dataclass(frozen=True)
class Cut:
    """What cuts of one style have in common.

    Attributes:
        spans: least and most of length on top and at the sides (decimetres), lift, curl and fade.
        combs: the ways it is combed.
        coily: whether only coily hair is cut so, or only other hair; None for any.
    """

    spans: tuple[Span, Span, Span, Span, Span]
    combs: tuple[str, ...] = ("forward",)
    coily: bool | None = None


CUTS = {
    "buzz": Cut(((0.02, 0.06), (0.015, 0.05), (0.3, 0.5), (0.0, 0.2), (0.0, 0.6)), ("any",)),
    "crew": Cut(((0.12, 0.28), (0.04, 0.1), (0.5, 0.85), (0.0, 0.2), (0.2, 0.9))),
    "fade": Cut(((0.15, 0.45), (0.03, 0.08), (0.3, 0.7), (0.0, 0.6), (0.8, 1.0))),
    "short": Cut(((0.3, 0.55), (0.15, 0.3), (0.15, 0.4), (0.0, 0.3), (0.2, 0.7)), coily=False),
    "parted": Cut(
        ((0.4, 0.7), (0.15, 0.3), (0.1, 0.3), (0.0, 0.3), (0.2, 0.7)), ("left", "right"), coily=False
    ),
    "quiff": Cut(((0.4, 0.65), (0.08, 0.22), (0.3, 0.5), (0.0, 0.3), (0.3, 0.9)), ("back",), coily=False),
    "slicked": Cut(((0.6, 0.95), (0.3, 0.5), (0.04, 0.12), (0.0, 0.3), (0.0, 0.3)), ("back",), coily=False),
    "curls": Cut(((0.35, 0.7), (0.15, 0.5), (0.3, 0.55), (0.65, 0.95), (0.0, 0.7)), ("any",)),
    "afro": Cut(((0.25, 1.1), (0.2, 0.9), (0.85, 1.0), (0.9, 1.0), (0.0, 0.4)), ("any",), coily=True),
}
"""Styles of hair that grows from the scalp, and how they vary."""

CUT_SHARES = {
    "buzz": (1.0, 0.25),
    "crew": (1.2, 0.1),
    "fade": (1.2, 0.3),
    "short": (1.4, 1.0),
    "parted": (1.0, 0.8),
    "quiff": (0.7, 0.4),
    "slicked": (0.5, 1.0),
    "curls": (0.6, 1.2),
    "afro": (0.7, 2.0),
}
"""How often men and women have each."""

MEN_SHORT, MEN_LONG = 0.88, (0.1, 0.05, 0.12)
"""Share of the men who are not bald that have one of these cuts, and of caucasian, asian and african men with
long hair that grows from the scalp; the others have one of MakeHuman's meshes."""

WOMEN_SHORT, MESH_SHARE = ([20, 40, 60, 75], [0.12, 0.2, 0.36, 0.5]), 0.05
"""Share of women, by age, who have a cut, and of those with one of MakeHuman's meshes; the others have long
hair that grows from the scalp."""

BALDING = ([20, 35, 50, 70], [0.05, 0.2, 0.45, 0.65])
"""Share of men, by age, whose hair recedes."""


@dataclass(frozen=True)
class Long:
    """What long hair of one style has in common.

    Attributes:
        ends: least and most of the height at which it ends, decimetres on the base mesh: the chin is at 6.3,
            the shoulders at 5.8.
        layers: how much shorter the outer hair is, 0 to 1.
        volume: how far it stands off, decimetres.
        bare: share of people whose ears are bare.
        fringes: shares of those without a fringe, with a straight, a swept and a curtain fringe.
    """

    ends: Span
    layers: Span
    volume: Span
    bare: float
    fringes: tuple[float, float, float, float]


HAIRDOS = {
    "bob": Long((6.2, 6.75), (0.0, 0.2), (0.06, 0.16), 0.15, (0.5, 0.25, 0.2, 0.05)),
    "layered bob": Long((6.5, 6.95), (0.4, 0.9), (0.08, 0.18), 0.25, (0.35, 0.15, 0.4, 0.1)),
    "lob": Long((5.7, 6.1), (0.0, 0.35), (0.06, 0.18), 0.3, (0.55, 0.15, 0.15, 0.15)),
    "shoulder": Long((5.2, 5.7), (0.1, 0.5), (0.07, 0.2), 0.3, (0.6, 0.1, 0.15, 0.15)),
    "long": Long((4.2, 5.2), (0.1, 0.6), (0.07, 0.2), 0.35, (0.65, 0.1, 0.1, 0.15)),
}
"""Styles of long hair, and how they vary."""

FRINGES = ("none", "straight", "swept", "curtain")

HAIRDO_SHARES: dict[str, tuple[float, tuple[float, float, float]]] = {
    "bob": (0.05, (0.8, 1.0, 1.2)),
    "layered bob": (0.1, (0.1, 0.8, 2.2)),
    "lob": (0.2, (1.2, 1.4, 1.0)),
    "shoulder": (0.8, (1.4, 1.2, 0.6)),
    "long": (0.6, (2.2, 1.2, 0.3)),
}
"""How often men have each, and women of 20, 45 and 70 years."""

TEXTURES = {"straight": (0.42, 0.75, 0.3), "wavy": (0.4, 0.2, 0.1), "curly": (0.18, 0.05, 0.6)}
"""How often the long hair of caucasians, asians and africans is so."""

GATHERED = {
    "none": ((0.66, 0.7, 0.44), 0.5),
    "tail": ((0.13, 0.14, 0.12), 0.25),
    "bun": ((0.11, 0.09, 0.18), 0.25),
    "half": ((0.05, 0.04, 0.02), 0.0),
    "braid": ((0.05, 0.03, 0.06), 0.0),
    "puff": ((0.0, 0.0, 0.18), 0.0),
}
"""How often long hair is gathered: that of caucasian, asian and african women, and that of men."""

KNOTS: dict[str, tuple[tuple[Span, ...], Span, float]] = {
    "none": (((0, 0),), (0.2, 0.2), 0.0),
    "tail": (((-25, 10), (10, 60)), (0.2, 0.2), 0.04),
    "bun": (((-28, 5), (20, 75)), (0.17, 0.32), 0.02),
    "half": (((5, 30),), (0.2, 0.2), 0.0),
    "braid": (((-25, 15),), (0.14, 0.24), 0.3),
    "puff": (((10, 70),), (0.2, 0.36), 0.15),
}
"""Spans of the height of the knot, degrees, and of its size, decimetres; and how often there are two."""

LOCS_SHARE = (0.01, 0.01, 0.3)
"""How often the long hair of caucasians, asians and africans is in locs or thin braids."""

UNDERCUT_SHARE, ROOTS_SHARE = (0.04, 0.25), 0.16
"""How often women's and men's long hair is undercut, and how often dyed hair has grown since."""

GROOMED_SHARE = 0.12
"""Share of those with grown hair who have a groomed style, where the assets have any."""

GROOMED: dict[str, tuple[float, float]] = {
    "Back1": (0.4, 0.1),
    "Bob": (0.7, 0.0),
    "Combover_zoro_d": (0.3, 1.5),
    "Eve": (1.0, 0.1),
    "SceneHair_1_O4saken": (0.4, 0.05),
    "SlickedBack": (0.2, 1.0),
}
UNKNOWN_GROOMED = (1.0, 0.0)
"""How often women and men have each groomed style, and one with another name."""
