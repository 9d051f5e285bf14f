"""A small copy of a MakeHuman data folder, so that tests draw people in seconds.

It has the layout and the base mesh of the whole, and of all else what a few people need: shorter numbers,
smaller pictures, no body below the chest.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from facelift.synth.makehuman import read_obj, read_target

KEPT = [
    "hair/afro01",
    "hair/bob01",
    "hair/bob02",
    "hair/long01",
    "hair/ponytail01",
    "hair/short04",
    "eyebrows/eyebrow001",
    "eyebrows/eyebrow009",
    "eyelashes/eyelashes01",
    "teeth/materials",
    "teeth/teeth_base",
    "tongue/tongue01",
    "clothes/fedora01",
    "clothes/female_sportsuit01",
    "clothes/male_casualsuit04",
    "clothes/male_elegantsuit01",
]
SKINS = ("young_caucasian_female", "young_african_male", "old_asian_male")
EYES = ("brown", "blue", "grey")
BELOW = 4.5  # decimetres: no picture of a head shows what is lower
SIDE, QUALITY = 64, 32  # of pictures: pixels, colours


def write_small(data: Path, folder: Path) -> None:
    """Copy the data folder `data` into `folder`, made small."""
    base = read_obj(data / "3dobjs/base.obj")
    files: dict[str, str | bytes] = {"3dobjs/base.obj": wavefront(text_of(data / "3dobjs/base.obj"))}
    low = base.vertices[:, 1] < BELOW
    for path in sorted(data.glob("targets/**/*.target")):
        name = path.relative_to(data).as_posix()
        if "-child" in name or name.startswith(("targets/macrodetails/height", "targets/macrodetails/prop")):
            continue
        files[name] = target(path, low)
    folders = [*KEPT, "eyes/high-poly"]
    paths = [path for folder in folders for path in sorted((data / folder).rglob("*")) if path.is_file()]
    paths += [data / f"skins/{skin}/{skin}.mhmat" for skin in SKINS]
    paths += [data / f"eyes/materials/{color}.mhmat" for color in EYES]
    paths += [p for p in map(texture, paths) if p is not None]
    for path in dict.fromkeys(paths):
        name = path.resolve().relative_to(data.resolve()).as_posix()
        if path.suffix == ".obj":
            files[name] = wavefront(text_of(path))
        elif path.suffix == ".mhclo":
            files[name] = shorter(text_of(path), 4)
        elif path.suffix == ".mhmat":
            lines = text_of(path).splitlines()
            files[name] = "".join(line + "\n" for line in lines if line.startswith("diffuseTexture"))
        elif path.suffix in (".png", ".jpg") and path in map(texture, paths):
            files[name] = picture(path)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def text_of(path: Path) -> str:
    """What a text file says, whatever its comments are encoded in."""
    return path.read_text(encoding="utf-8", errors="replace")


def texture(path: Path) -> Path | None:
    """What a material shows."""
    if path.suffix == ".mhmat":
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("diffuseTexture"):
                found = (path.parent / line.split(maxsplit=1)[1]).resolve()
                return found if found.exists() else None
    return None


def shorter(text: str, places: int) -> str:
    """The same lines, without comments, with no number longer than so many decimals."""

    def word(word: str) -> str:
        try:
            return f"{float(word):.{places}f}".rstrip("0").rstrip(".") if "." in word else word
        except ValueError:
            return word

    lines = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return "".join(" ".join(map(word, line)) + "\n" for line in lines)


def wavefront(text: str) -> str:
    kept = ("v ", "vt ", "f ", "g ")
    return shorter("\n".join(line for line in text.splitlines() if line.startswith(kept)), 4)


def target(path: Path, low: np.ndarray) -> str:
    read = read_target(path)
    rows = np.abs(read.offsets).max(axis=1) > 0.0015
    rows &= ~low[read.indices]
    lines = [
        f"{i} {x:.3f} {y:.3f} {z:.3f}"
        for i, (x, y, z) in zip(read.indices[rows], read.offsets[rows].tolist(), strict=True)
    ]
    return "".join(line + "\n" for line in lines).replace("-0.000", "0").replace("0.000", "0")


def picture(path: Path) -> bytes:
    with Image.open(path) as image:
        small = image.convert("RGBA" if image.mode in ("RGBA", "P", "LA") else "RGB")
        side = 8 * SIDE if "elegantsuit" in path.name else SIDE  # which has to show its tie
        small.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.quantize(QUALITY, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
