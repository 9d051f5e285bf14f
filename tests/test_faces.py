"""Faces are found however people photograph them, and what is wrong with a photo is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelift.portrait.find import find_faces

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image)


def test_eight_threads_find_what_one_does(photo: np.ndarray) -> None:
    """dlib's detector keeps its pyramid inside: two threads that share one get wrong boxes or crash."""
    crops = [photo[40 : 280 + 2 * i, 120:350].copy() for i in range(8)]
    alone = [find_faces(crop) for crop in crops]
    assert all(alone)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(find_faces, crops * 4)) == alone * 4
