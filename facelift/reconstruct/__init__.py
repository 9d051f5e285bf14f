"""Stage 2: six posed views become Gaussians."""

from facelift.reconstruct.gslrm import GSLRM, GaussianBatch, GSLRMConfig

__all__ = ["GSLRM", "GSLRMConfig", "GaussianBatch"]
