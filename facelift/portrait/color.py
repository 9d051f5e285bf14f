"""Whatever colours a picture is made of become sRGB.

Phones save Display P3 and printers CMYK: taken as sRGB, faces come out too pale or too green.
"""

import io

import numpy as np
from PIL import Image, ImageCms

# The Pillow mode for the colour space that an ICC profile names.
PILLOW_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
WHITE_LEVELS = (255, 1023, 4095, 65535)  # of 8, 10, 12 and 16 bits, each in 16

# Code points of ITU-T H.273, which HEIC, AVIF and PNG name in place of a profile: xy of red, green and blue,
# all with D65 as white.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),  # BT.709, sRGB
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)
LINEAR, PQ, HLG = 8, 16, 18  # transfer characteristics, with the gammas below
GAMMAS = {4: 2.2, 5: 2.8}
PQ_WHITE_NITS = 203.0  # diffuse white, ITU-R BT.2408
HLG_WHITE_SIGNAL = 0.75  # of the same white
ROWS_AT_ONCE = 256  # converted at a time, to bound the memory that floats of a large photo take


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, or as RGBA if anything in it is transparent, in sRGB.

    Args:
        image: L, LA, RGB, RGBA, CMYK or LAB; converted by its ICC profile if it has one that fits, and
            otherwise by its code points (`nclx_profile`, as pillow-heif calls them), or by its gamma.
    """
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    points = image.info.get("nclx_profile") or {}
    primaries, transfer = points.get("color_primaries", 1), points.get("transfer_characteristics", 13)
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    color = image.convert(image.mode[:-1]) if alpha else image
    converted = _by_profile(color, profile) if profile else None
    if converted is None and color.mode == "LAB":
        converted = ImageCms.profileToProfile(
            color, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    if converted is None:
        converted = color if color.mode == "RGB" else color.convert("RGB")
        if not profile and _is_other(primaries, transfer):
            converted = _by_code_points(converted, primaries, transfer)
        elif not profile and gamma and abs(gamma - 1 / 2.2) > 0.01 and not image.info.get("srgb"):
            curve = _encode(np.linspace(0, 1, 256) ** (1 / gamma))
            converted = converted.point(curve.tolist() * 3)
    if alpha:
        converted.putalpha(alpha)
    return converted


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Integers of more than 8 bits, or floats, as uint8.

    What reaches no further than 8, 10 or 12 bits has these in a container of 16; beyond 16, and in floats
    beyond 1, the brightest value is white.
    """
    top = float(np.nanmax(values, initial=0))
    if np.issubdtype(values.dtype, np.floating):
        white = max(1.0, top) if np.isfinite(top) else 1.0
        return np.rint(np.nan_to_num(values).clip(0, white) * (255 / white)).astype(np.uint8)
    white = next((w for w in WHITE_LEVELS if top <= w), top)
    if values.dtype == np.uint16:  # a table takes less memory than floats
        table = np.rint(np.arange(65536).clip(0, white) * (255 / white)).astype(np.uint8)
        return table[values]
    return np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8)


def read_code_points(start: bytes) -> dict[str, int]:
    """Code points, as pillow-heif names them, in the first bytes of an AVIF or a PNG; empty if none."""
    if (at := start.find(b"colrnclx")) >= 0:
        primaries, transfer = start[at + 8 : at + 10], start[at + 10 : at + 12]
    elif (at := start.find(b"cICP")) >= 0:
        primaries, transfer = start[at + 4 : at + 5], start[at + 5 : at + 6]
    else:
        return {}
    numbers = int.from_bytes(primaries), int.from_bytes(transfer)
    return dict(zip(("color_primaries", "transfer_characteristics"), numbers, strict=True))


def _by_profile(color: Image.Image, profile: bytes) -> Image.Image | None:
    """None if the profile is broken or not for such a picture: then the pixels are taken as they are."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PILLOW_MODES.get(source.profile.xcolor_space.strip(), "")
        if color.mode == "L" and mode == "RGB":
            color = color.convert("RGB")
        if color.mode != mode:
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(color, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_other(primaries: int, transfer: int) -> bool:
    """Whether code points tell of something other than sRGB, whose curve stands for BT.709's too."""
    return primaries in (9, 12) or transfer in (LINEAR, PQ, HLG, *GAMMAS)


def _by_code_points(image: Image.Image, primaries: int, transfer: int) -> Image.Image:
    curve = _decode(np.linspace(0, 1, 256), transfer).astype(np.float32)
    matrix = np.linalg.solve(_to_xyz(PRIMARIES[1]), _to_xyz(PRIMARIES.get(primaries, PRIMARIES[1])))
    pixels = np.array(image)
    for y in range(0, len(pixels), ROWS_AT_ONCE):
        linear = curve[pixels[y : y + ROWS_AT_ONCE]] @ matrix.T.astype(np.float32)
        pixels[y : y + ROWS_AT_ONCE] = _encode(linear)
    return Image.fromarray(pixels)


def _decode(signal: np.ndarray, transfer: int) -> np.ndarray:
    """The light of a signal, 1 for a diffuse white; highlights above it will be cut."""
    if transfer == LINEAR:
        return signal
    if transfer in GAMMAS:
        return signal ** GAMMAS[transfer]
    if transfer == PQ:  # SMPTE ST 2084
        power = signal ** (1 / 78.84375)
        ratio = (power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)
        return 10000 / PQ_WHITE_NITS * ratio ** (1 / 0.1593017578125)
    if transfer == HLG:  # ARIB STD-B67, without its system gamma
        return _hlg(signal) / _hlg(np.array(HLG_WHITE_SIGNAL))
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _hlg(signal: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _encode(linear: np.ndarray) -> np.ndarray:
    """Light in [0, 1] as uint8 sRGB (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    signal = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * signal).astype(np.uint8)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)
