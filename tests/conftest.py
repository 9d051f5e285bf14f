"""What several test modules need."""

import pytest

from facelift.errors import UserError


@pytest.fixture(scope="module")
def renderer():
    from facelift.synth.opengl import Renderer

    try:
        opened = Renderer()
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened
