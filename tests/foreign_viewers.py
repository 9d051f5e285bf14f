"""A page that opens our files with other people's viewers, see tests/foreign/viewers."""

import re
from io import BytesIO
from urllib.parse import unquote, urlsplit

import numpy as np
from npm import FOREIGN, MODULES, needs_npm
from PIL import Image

HOST = "foreign.test"
SIZE = 256


class Viewer:
    """One of the viewers in a browser that has no network: what it asks for comes from the disk."""

    def __init__(self, browser, name, folder):
        needs_npm()
        self.name, self.folder = name, folder
        self.errors, self.refused = [], []
        self.page = browser.new_page(viewport={"width": SIZE, "height": SIZE})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.route("**/*", self._answer)
        self.page.goto(f"https://{HOST}/viewers/index.html")

    def draw(self, file, turn, position, until):
        """(H, W, 3) in [0, 1] of what it shows: as soon as `until` of it is true, or after half a minute.

        Args:
            file: its name in the folder.
            turn: degrees about x, y and z that the head is turned by.
            position: of the camera, which looks at the origin and sees 50 degrees.
            until: of a picture; the first ones may be blank or not yet sorted.
        """
        view = {"turn": turn, "position": position}
        self.page.evaluate("([...what]) => draw(...what)", [self.name, f"/files/{file}", view])
        for _ in range(300):
            self.page.wait_for_timeout(100)
            with Image.open(BytesIO(self.page.screenshot())) as image:
                shown = np.asarray(image.convert("RGB"), np.float64) / 255
            if until(shown):
                break
        return shown

    def _answer(self, route):
        url = urlsplit(route.request.url)
        place, _, rest = unquote(url.path).lstrip("/").partition("/")
        path = None
        if url.netloc == HOST:
            path = self.folder / rest if place == "files" else FOREIGN / place / rest
        elif url.netloc == "unpkg.com":  # where Babylon fetches what unpacks SPZ and SOG
            path = MODULES / re.sub(r"@[\d.]+", "", f"{place}/{rest}")
        if path and path.is_file():
            route.fulfill(path=path, headers={"access-control-allow-origin": "*"})
        else:
            self.refused.append(route.request.url)
            route.abort()
