"""Processes that work for this one."""

from __future__ import annotations

import os
import threading
from multiprocessing import connection, parent_process
from typing import Any


def end_with_parent() -> None:
    """Have this process end with the one that started it, however that ends, kill -9 included."""
    parent: Any = parent_process()

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
