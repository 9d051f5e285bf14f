"""Files of Gaussians that are cut, spoilt or lies: a sentence or Gaussians, soon, and in little memory."""

import os
import random
import re
import tracemalloc
from pathlib import Path

import pytest
from plyfile import PlyData
from splats import cloud

from facelift.errors import UserError
from facelift.formats.ply import write_ply
from facelift.formats.splats import SPLAT_FORMATS, read_splats, write_splats

ROUNDS = int(os.environ.get("FACELIFT_FUZZ", 60))
"""Damaged files of each case: some in the suite, thousands by hand."""

LEVELS = sorted((Path(__file__).parent / "golden").glob("level_*.ksplat"))
CASES = [format.suffix for format in SPLAT_FORMATS if format.write]
CASES += [".facelift.ply", ".text.ply", *(path.name for path in LEVELS)]


def sound(case, folder):
    """The path to write damaged copies to, and the bytes of a sound file."""
    path = folder / f"a{case}"
    if case.endswith("ksplat"):
        return path, (Path(__file__).parent / "golden" / case).read_bytes()
    if case == ".facelift.ply":
        write_ply(path, cloud(30, 1), "facelift")
    elif case == ".text.ply":
        write_ply(path, cloud(30, 1))
        data = PlyData.read(str(path), mmap=False)
        data.text = True
        data.write(str(path))
    else:
        write_splats(path, cloud(30, 2))
    return path, path.read_bytes()


def spoilt(content, rng):
    """The content with one of the things wrong that go wrong with files."""
    damage = bytearray(content)
    begin, end = sorted(rng.randrange(len(damage)) for _ in range(2))
    # Most of a file is numbers that may be anything: the beginning and the end are where it hurts.
    place = rng.choice([begin, begin % 400, len(damage) - 1 - begin % min(400, len(damage))])
    kind = rng.randrange(7)
    if kind == 0:
        return content[:place]
    if kind == 1:
        del damage[begin:end]
    elif kind == 2:
        damage[place:place] = rng.randbytes(rng.randint(1, 300))
    elif kind == 3:
        damage[place:place] = damage[begin:end]
    elif kind == 4:
        damage[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif kind == 5:  # numbers of headers that are bytes
        damage[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"])
    else:  # and of those that are text
        numbers = list(re.finditer(rb"\d+", content[:2000])) or [re.search(rb".", content, re.S)]
        number = rng.choice(numbers)
        absurd = str(rng.choice([0, 1, 7, 31, 255, 10**6, 10**9, 10**15, 10**30])).encode()
        damage[number.start() : number.end()] = absurd
    return bytes(damage)


@pytest.mark.parametrize("case", CASES)
def test_damage_is_told_or_does_not_matter(case, tmp_path):
    path, content = sound(case, tmp_path)
    read_splats(path.write_bytes(content) and path)
    rng, told = random.Random(case), 0
    tracemalloc.start()
    try:
        for _ in range(ROUNDS):
            path.write_bytes(spoilt(content, rng))
            try:
                gaussians = read_splats(path)
            except UserError as error:
                told += 1
                assert re.fullmatch(r"[^\n]+\.", str(error))
            else:
                sound_ones = gaussians[gaussians.drawable]
                sound_ones.check()
        assert told > 5 and tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", [case for case in CASES if case != ".text.ply"])
def test_a_cut_is_told(case, tmp_path):
    """But in text, where a number may lose its last digit; and .splat may end wherever a Gaussian ends."""
    path, content = sound(case, tmp_path)
    for size in (0, 1, 3, 30, len(content) // 2 + 1, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"^[^\n]+\.$"):
            read_splats(path)


def test_what_is_no_file_is_told(tmp_path):
    (tmp_path / "a.ply").mkdir()
    for name, reason in (("a.ply", "is a folder"), ("b.ply", "no such file"), ("/dev/zero", "regular file")):
        with pytest.raises(UserError, match=rf"^Cannot read [^\n]*{reason}[^\n]*\.$"):
            read_splats(tmp_path / name)


def test_counts_that_memory_is_not_given_to(tmp_path):
    """A header may claim anything; the file behind it may even be that large, for holes take no room."""
    write_ply(tmp_path / "a.ply", cloud(3))
    header = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[0]
    for claim, size, sentence in (
        (10**9, 1000, "not a complete PLY"),
        (10**9, 4 * 10**9, "claims 1,000,000,000 Gaussians; files of up to 20,000,000 are read"),
        (10**9, 10**11, "has 100 GB; files of up to 5 GB are read"),
    ):
        with open(tmp_path / "a.ply", "wb") as file:
            file.write(header.replace(b"vertex 3", f"vertex {claim}".encode()) + b"end_header\n")
            file.truncate(size)
        with pytest.raises(UserError, match=sentence):
            read_splats(tmp_path / "a.ply")


@pytest.mark.parametrize("format", ["ascii", "binary_little_endian"])
def test_wide_rows_that_memory_is_not_given_to(tmp_path, format):
    """A million of them, with 3,000 properties each, would take 24 GB; the file has 3 MB."""
    properties = "".join(f"property double p{number}\n" for number in range(3000))
    header = f"ply\nformat {format} 1.0\nelement vertex 1000000\n{properties}end_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + b"1 " * 1_500_000)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="not a complete PLY"):
            read_splats(tmp_path / "a.ply")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_meshes_are_told_from_gaussians(tmp_path):
    content = (
        b"ply\nformat ascii 1.0\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n1 0\n"
    )
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(UserError, match="has lists, as meshes do; give a PLY file of 3D Gaussians"):
        read_splats(tmp_path / "a.ply")
