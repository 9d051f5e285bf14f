"""Files of Gaussians that are cut, changed or senseless: read, or refused in one sentence."""

import os
import random

import pytest
from splats import cloud

from facelift.errors import UserError
from facelift.formats.splats import SPLAT_FORMATS, read_splats, write_splats

ROUNDS = int(os.environ.get("FACELIFT_FUZZ", 40))
"""Damaged files of each format; a few in the suite, thousands by hand."""


def damaged(data, chance):
    """A file cut short, with bytes or whole runs changed, or with pieces moved."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        # Most of a file is numbers that may be anything: the beginning and the end are where it hurts.
        at = chance.choice([at, at % 400, len(data) - 1 - at % 400]) % len(data)
        kind = chance.randrange(5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        elif kind == 2:
            data[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"])
        elif kind == 3:
            data[at:at] = data[at : at + chance.randint(1, 50)]
        else:
            del data[at : at + chance.randint(1, 50)]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.parametrize("suffix", [format.suffix for format in SPLAT_FORMATS if format.write])
def test_a_damaged_file_is_read_or_refused_in_a_sentence(tmp_path, suffix):
    chance = random.Random(suffix)
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"a{suffix}"
    refused = 0
    for degree in (0, 1):
        write_splats(whole, cloud(20, degree))
        data = whole.read_bytes()
        for _ in range(ROUNDS // 2):
            path.write_bytes(damaged(data, chance))
            try:
                gaussians = read_splats(path)
            except UserError as error:
                refused += 1
                text = str(error)
                assert "\n" not in text and len(text) < 300 + len(str(path)) and text.endswith((".", ". "))
            else:
                gaussians[gaussians.drawable].to("cpu")
    assert refused > 0
