"""Pages that show Gaussians in a browser: one file with all in it, or a viewer of a file at an address.

`integrations/viewer` builds `viewer.js`, `viewer.css` and `LICENSES.txt`, whose checksums `SHA256SUMS` has.
"""

from facelift.page.html import html_page, viewer_page, write_html
from facelift.page.viewpoint import FRONT, Viewpoint

__all__ = ["FRONT", "Viewpoint", "html_page", "viewer_page", "write_html"]
