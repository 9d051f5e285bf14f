"""MakeHuman's assets for tests, which are not part of this repository: a small copy of a folder of them."""

import os
from pathlib import Path

import pytest
from small_assets import write_small

GOLDEN = Path(__file__).parent / "golden"
BESIDE = Path(__file__).parents[2] / "shared/assets/makehuman/data"
MISSING = (
    "MakeHuman's assets are not there: set FACELIFT_TEST_ASSETS to its data folder, which is CC0 "
    "(github.com/makehumancommunity/makehuman and makehuman-assets, with git-lfs)"
)


def write_assets(folder: Path) -> Path:
    """A data folder in MakeHuman's layout, of real people, hair and clothes, with tiny pictures."""
    data = Path(os.environ.get("FACELIFT_TEST_ASSETS") or BESIDE)
    if not (data / "3dobjs/base.obj").is_file():
        pytest.skip(MISSING)
    write_small(data, folder)
    return folder


def write_names(folder: Path) -> Path:
    """A data folder with every file of the whole one that a person is sampled from, all of them empty."""
    for line in (GOLDEN / "makehuman_names.txt").read_text().splitlines():
        name, _, textured = line.partition(" ")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"diffuseTexture {path.name}\n" if textured else "")
    return folder
