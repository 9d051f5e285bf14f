"""An adversary in latent space: it makes a generator of few steps commit itself to one of all possible heads.

What a portrait does not show, a regression blurs: the mean of all that could be there. The critic is shown
true and imagined latents of a view, with what both were made from, and learns to tell them apart; the
generator learns that it cannot. Sources: distillation by an adversary on latents, Sauer et al., "Fast
High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation" (2024); the relativistic loss
and its penalty on both sides, Huang et al., "The GAN is dead; long live the GAN!" (2024); the penalty by
differences, Lin et al., "Diffusion Adversarial Post-Training for One-Step Video Generation" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUDGE = 0.05  # of latents, whose standard deviation is about 1
STIFFNESS = 0.5


class Critic(nn.Module):
    """Latents of a view and what it was made from become scores of its parts.

    Args:
        channels: of the latents.
        views: how many views there are, each judged by itself but told which it is.
        width: of the network.
    """

    def __init__(self, channels: int, views: int, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3 * channels, width, 3, padding=1)
        self.which = nn.Parameter(torch.zeros(views, width, 1, 1))
        self.blocks = nn.Sequential(
            _Residual(width), _Residual(width), nn.AvgPool2d(2), _Residual(width), _Residual(width)
        )
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, latents: Tensor, condition: Tensor, front: Tensor) -> Tensor:
        """(B, V, C, h, w) latents and conditions of V views, (B, 1, C, h, w) the front: (B, V, h/2, w/2)."""
        given = torch.cat([latents, condition, front.expand_as(latents)], dim=2)
        x = self.enter(given.flatten(0, 1)) + self.which.repeat(len(latents), 1, 1, 1)
        return self.score(self.blocks(x)).unflatten(0, latents.shape[:2]).squeeze(2)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
        )
        for parameter in self.block[-1].parameters():  # at first it changes nothing
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def critic_loss(critic: Critic, true: Tensor, imagined: Tensor, condition: Tensor, front: Tensor) -> Tensor:
    """What the critic learns from: the true view is to score above the imagined one, and neither steeply."""
    imagined = imagined.detach()
    scores = critic(true, condition, front), critic(imagined, condition, front)
    loss = F.softplus(scores[1] - scores[0]).mean()
    for latents, score in zip((true, imagined), scores, strict=True):
        nudged = critic(latents + NUDGE * torch.randn_like(latents), condition, front)
        loss = loss + STIFFNESS / (2 * NUDGE**2) * (nudged - score).square().mean()
    return loss


def deception_loss(
    critic: Critic, true: Tensor, imagined: Tensor, condition: Tensor, front: Tensor
) -> Tensor:
    """What the generator learns from: the imagined view is to score above the true one.

    The critic itself gets no gradient.
    """
    weights = {name: p.detach() for name, p in critic.named_parameters()}
    scores = (
        torch.func.functional_call(critic, weights, (latents, condition, front))
        for latents in (true, imagined)
    )
    true_score, imagined_score = scores
    return F.softplus(true_score - imagined_score).mean()
