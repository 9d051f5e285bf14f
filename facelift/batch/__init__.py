"""Photos by the thousand become heads, on processes of this machine or on a Ray cluster; see docs/serving.md.

Workers make heads and hand back their files; one process, the driver, writes them and keeps the index. So a
worker may die at any moment, and a driver that died goes on where it was.
"""

from facelift.batch.run import reconstruct_batch
from facelift.batch.worker import Job

__all__ = ["Job", "reconstruct_batch"]
