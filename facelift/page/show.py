"""A page where a person sees it: within a notebook, or in the browser of this machine."""

from __future__ import annotations

import html
import sys
import time
import webbrowser
from contextlib import suppress

from facelift.page.server import serving

_STYLE = "width: 100%; max-width: 720px; height: 480px; border: 1px solid #8886; border-radius: 8px"


def notebook_frame(page: str) -> str:
    """An iframe that holds a whole page, for the output of a notebook's cell."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" style="{_STYLE}" allow="fullscreen" title="3D head"></iframe>'
    )


def show(page: str) -> None:
    """Show a page in the notebook that runs, or open it in the browser and serve it until Ctrl-C."""
    ipython = sys.modules.get("IPython")  # which a notebook has loaded
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        ipython.display.display({"text/html": notebook_frame(page)}, raw=True)
        return
    with serving({"": page.encode()}) as address, suppress(KeyboardInterrupt):
        print(f"{address}\nCtrl-C ends it.", flush=True)
        webbrowser.open(address)
        while True:
            time.sleep(60)
