"""MakeHuman's assets for tests: a small copy of some, and the names of all.

`golden/make_assets.py` says how both were made. With FACELIFT_TEST_ASSETS, MakeHuman's own data folder, the
tests run on the real ones.
"""

import os
import tarfile
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def write_assets(folder: Path) -> Path:
    """A data folder in MakeHuman's layout, of real people, hair and clothes, with tiny pictures."""
    if real := os.environ.get("FACELIFT_TEST_ASSETS"):
        return Path(real)
    with tarfile.open(GOLDEN / "makehuman.tar.xz") as tar:
        for entry in tar:
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(entry).read())
    return folder


def write_names(folder: Path) -> Path:
    """A data folder with every file of the whole one that a person is sampled from, all of them empty."""
    for line in (GOLDEN / "makehuman_names.txt").read_text().splitlines():
        name, _, textured = line.partition(" ")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"diffuseTexture {path.name}\n" if textured else "")
    return folder
