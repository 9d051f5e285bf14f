"""Stage 2: six posed views become Gaussians."""

from facelift.reconstruct.config import GSLRMConfig
from facelift.reconstruct.decode import GaussianBatch
from facelift.reconstruct.gslrm import GSLRM

__all__ = ["GSLRM", "GSLRMConfig", "GaussianBatch"]
