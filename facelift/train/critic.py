"""The critic of an adversarial loss: views of few steps become sharp instead of an average of possible heads.

What a portrait does not show, a regression blurs: the mean of all that could be there. The critic is shown
true and generated views, latents or pixels, with what both were made from, and learns to tell them apart; the
generator learns that it cannot. Sources: distillation by an adversary on latents, Sauer et al., "Fast
High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation" (2024); the relativistic loss
and its penalty on both sides, Huang et al., "The GAN is dead; long live the GAN!" (2024); the penalty by
differences, Lin et al., "Diffusion Adversarial Post-Training for One-Step Video Generation" (2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.train.task import Loss

PENALTY_NOISE = 0.05  # standard deviation of the noise that measures a gradient; that of views is about 1
PENALTY_WEIGHT = 0.5  # of the squared gradient, in the critic's loss


class Critic(nn.Module):
    """Views and what each was made from become scores of their parts.

    Args:
        channels: of a view, latents or folded pixels, whose standard deviation is about 1.
        given: channels of what it was made from.
        views: how many views there are; each is scored by itself, with an embedding of its index.
        width: of the network.
    """

    def __init__(self, channels: int, given: int, views: int, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + given, width, 3, padding=1)
        self.which = nn.Parameter(torch.zeros(views, width, 1, 1))
        self.blocks = nn.Sequential(
            _Residual(width), _Residual(width), nn.AvgPool2d(2), _Residual(width), _Residual(width)
        )
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, shown: Tensor, given: Tensor, view: Tensor) -> Tensor:
        """(N, C, h, w) views, (N, G, h, w) what is given, (N,) which views they are: (N, h/2, w/2)."""
        x = self.enter(torch.cat([shown, given], dim=1)) + self.which[view]
        return self.score(self.blocks(x)).squeeze(1)


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


def adversarial_losses(
    critic: Critic,
    true: Tensor,
    generated: Tensor,
    given: Tensor,
    view: Tensor,
    weight: float,
    samples: int,
    other_losses: Mapping[str, Tensor] | None = None,
) -> Iterator[Loss]:
    """The generator's loss, of squared error and adversarial, and then the critic's own.

    Args:
        critic: judges the views, and learns.
        true: (N, C, h, w).
        generated: (N, C, h, w); without a graph behind them the critic alone learns.
        given: see `Critic.forward`.
        view: see `Critic.forward`.
        weight: norm of the adversarial gradient, over that of the gradient of the squared error.
        samples: how many the views are of.
        other_losses: () each, further ones of the generator, by name.
    """
    error, others = (generated - true).detach(), dict(other_losses or {})
    if generated.requires_grad:
        leaf = generated.detach().requires_grad_(True)
        adversarial = generator_loss(critic, true, leaf, given, view)
        adversarial.backward(inputs=[leaf])
        gradient = leaf.grad
        assert gradient is not None
        squared = 2 * error / error.numel()
        combined = squared + weight * squared.norm() / gradient.norm().clamp_min(1e-12) * gradient
        weighted = (generated * combined).sum()  # its gradient is `combined`
        total = torch.stack([weighted, *others.values()]).sum()
        yield Loss(total, {"generator": adversarial.detach()}, samples)
    judged = critic_loss(critic, true, generated, given, view)
    parts = {"error": error.square().mean(), "critic": judged, **others}
    yield Loss(judged, {name: part.detach() for name, part in parts.items()}, samples)


def critic_loss(critic: Critic, true: Tensor, generated: Tensor, given: Tensor, view: Tensor) -> Tensor:
    """What the critic learns from: the true view is to score above the generated one, and neither steeply."""
    generated = generated.detach()
    scores = critic(true, given, view), critic(generated, given, view)
    loss = F.softplus(scores[1] - scores[0]).mean()
    for shown, score in zip((true, generated), scores, strict=True):
        noisy = critic(shown + PENALTY_NOISE * torch.randn_like(shown), given, view)
        loss = loss + PENALTY_WEIGHT / (2 * PENALTY_NOISE**2) * (noisy - score).square().mean()
    return loss


def generator_loss(critic: Critic, true: Tensor, generated: Tensor, given: Tensor, view: Tensor) -> Tensor:
    """What the generator learns from: the generated view is to score above the true one.

    The critic itself gets no gradient.
    """
    weights = {name: p.detach() for name, p in critic.named_parameters()}
    scores = (torch.func.functional_call(critic, weights, (x, given, view)) for x in (true, generated))
    true_score, generated_score = scores
    return F.softplus(true_score - generated_score).mean()
