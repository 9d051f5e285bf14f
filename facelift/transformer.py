"""A transformer: pre-norm blocks without biases, over rows of unequal numbers of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention without biases."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, query_only: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Every token attends to those that are neither padding nor query-only.

        Args:
            x: (B, T, width) tokens.
            query_only: how many tokens, the last of each row, attend to the others and are not attended to.
            padding_mask: (B, T - query_only), true for tokens and false for padding; None for no padding.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if query_only:
            k, v = k[:, :, :-query_only], v[:, :, :-query_only]
        mask = None if padding_mask is None else padding_mask[:, None, None]
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block without biases (GS-LRM section 3.2)."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, head_dim)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor, query_only: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, width) to the same; the arguments are those of `Attention`."""
        x = x + self.attention(self.norm1(x), query_only, padding_mask)
        return x + self.mlp(self.norm2(x))


def pad_tokens(tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as one batch.

    Args:
        tokens: (N, C), row after row.
        counts: (B,) how many tokens each row has; they sum to N.

    Returns:
        (B, T, C), zeros where a row has fewer tokens than the longest, and its (B, T) mask, true for tokens:
        `batch[mask]` are the tokens again.
    """
    longest = int(counts.max())
    mask = torch.arange(longest, device=counts.device) < counts[:, None]
    batch = tokens.new_zeros(len(counts), longest, tokens.shape[-1])
    batch[mask] = tokens
    return batch, mask
