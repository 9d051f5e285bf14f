"""What several test modules need."""

import pytest
from makehuman import write_assets

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


@pytest.fixture(scope="session")
def makehuman_data(tmp_path_factory):
    """MakeHuman's data folder, or a small one; not to be written into."""
    return write_assets(tmp_path_factory.mktemp("makehuman") / "data")
