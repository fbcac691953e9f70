"""Losses on latent states: contrast of pairs, distance between groups, adversary, Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from omicsfm._errors import InputError
from omicsfm.nn._precision import no_autocast, widen

# Widths of the kernels of `mmd`, over the median squared distance.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def info_nce(a_bd: Tensor, b_bd: Tensor, *, temperature: float | Tensor, paired_b: Tensor | None = None) -> Tensor:
    """Symmetric contrast: row i of `a_bd` should find row i of `b_bd` among all rows, and the reverse.

    Rows are compared by squared Euclidean distance, as neighbours of cell states are, in units of the mean squared
    distance (held constant in the gradient).

    Parameters
    ----------
    a_bd, b_bd
        Two views of the same cells (rows).
    temperature
        Divisor of the distances, above 0; a tensor may be learnt.
    paired_b
        bool per row: rows to use, as pairs and as each other's negatives; the others, even NaN, are not read.

    Returns
    -------
    Mean cross-entropy per row and direction (nats); 0, with a gradient of 0, where fewer than two rows are paired.

    Raises
    ------
    InputError
        Where the views differ in shape.

    References
    ----------
    van den Oord et al. (2018), arXiv:1807.03748, eq. 4; Radford et al. (2021), ICML, arXiv:2103.00020, figure 3.
    """
    if a_bd.shape != b_bd.shape or a_bd.dim() != 2:
        raise InputError(
            f"info_nce: two views of one shape (cells, dimensions) are needed, found {tuple(a_bd.shape)} and "
            f"{tuple(b_bd.shape)}. Fix: give the same cells, in one order, in both."
        )
    if paired_b is not None:
        a_bd, b_bd = a_bd[paired_b], b_bd[paired_b]
    if len(a_bd) < 2:
        return 0.0 * (a_bd.sum() + b_bd.sum())
    a_bd, b_bd = widen(a_bd), widen(b_bd)
    with no_autocast(a_bd):
        squared_bb = _squared_distances(a_bd, b_bd)
    unit = squared_bb.detach().mean().clamp(min=torch.finfo(squared_bb.dtype).tiny ** 0.5)
    logits_bb = -squared_bb / (unit * temperature)
    own_b = torch.arange(len(logits_bb), device=logits_bb.device)
    return (cross_entropy(logits_bb, own_b) + cross_entropy(logits_bb.T, own_b)) / 2


def mmd(x_bd: Tensor, group_b: Tensor, *, weight_b: Tensor | None = None, widths: Sequence[float] = WIDTHS) -> Tensor:
    """Squared maximum mean discrepancy between each group of rows and all other rows, averaged over groups.

    The kernel is the mean of Gaussian kernels of several widths around the median squared distance, held constant in
    the gradient. The estimate is unbiased: about 0, on either side of it, where groups do not differ.

    Parameters
    ----------
    x_bd
        Rows, such as latent states of cells.
    group_b
        Integer label per row, such as the batch; any integers.
    weight_b
        Weight per row, above 0, within its group; None: all alike.
    widths
        Of the kernels, over the median squared distance.

    Returns
    -------
    Scalar. A group of one row, or all rows but one, has no unbiased estimate and is left out of the mean; 0, with a
    gradient of 0, where no group remains, as with a single group.

    Raises
    ------
    InputError
        Unless there is one integer label per row.

    References
    ----------
    Gretton et al. (2012), JMLR 13:723, eq. 3 (unbiased) and section 8 (median).
    """
    if group_b.shape != x_bd.shape[:1] or group_b.is_floating_point():
        raise InputError(
            f"mmd: one integer group per row is needed ({len(x_bd)} rows), found {group_b.dtype} of shape "
            f"{tuple(group_b.shape)}. Fix: pass the codes of the groups."
        )
    n, x_bd = len(x_bd), widen(x_bd)
    member_bk = one_hot(torch.unique(group_b, return_inverse=True)[1]).to(x_bd.dtype) if n else x_bd.new_zeros(0, 0)
    n_k = member_bk.sum(0)
    counts = (n_k >= 2) & (n - n_k >= 2)
    if not counts.any():
        return 0.0 * x_bd.sum()
    weight_b = x_bd.new_ones(n) if weight_b is None else widen(weight_b)
    member_bk = member_bk * weight_b[:, None]
    with no_autocast(x_bd):
        kernel_bb = _gaussian_kernels(x_bd, widths)
        toward_bk = kernel_bb @ member_bk
    # Sums of the kernel over ordered pairs of different rows: within a group, from it to the rest, and within the rest.
    within_k = (member_bk * toward_bk).sum(0)
    cross_k = (weight_b[:, None] * toward_bk).sum(0) - within_k
    rest_k = weight_b @ kernel_bb @ weight_b - within_k - 2 * cross_k
    # Sums of the weights over the same pairs.
    sum_k, square_k = member_bk.sum(0), member_bk.square().sum(0)
    others_k, others_square_k = weight_b.sum() - sum_k, weight_b.square().sum() - square_k
    squared_k = (
        within_k / (sum_k.square() - square_k).where(counts, sum_k.new_ones(()))
        + rest_k / (others_k.square() - others_square_k).where(counts, sum_k.new_ones(()))
        - 2 * cross_k / (sum_k * others_k).where(counts, sum_k.new_ones(()))
    )
    return squared_k[counts].mean()


def _gaussian_kernels(x_bd: Tensor, widths: Sequence[float]) -> Tensor:
    """Mean of Gaussian kernels of all pairs of rows, zero on the diagonal."""
    squared_bb = _squared_distances(x_bd, x_bd)
    off = ~torch.eye(len(x_bd), dtype=torch.bool, device=x_bd.device)
    median = squared_bb.detach()[off].median().clamp(min=torch.finfo(x_bd.dtype).tiny ** 0.5)
    kernels = [torch.exp(-squared_bb / (width * median)) for width in widths]
    return torch.stack(kernels).mean(0) * off


def _squared_distances(a_bd: Tensor, b_cd: Tensor) -> Tensor:
    """Squared Euclidean distances (b, c); rows are centred first, which keeps digits where all are far from zero."""
    centre_d = a_bd.mean(0).detach()
    a_bd, b_cd = a_bd - centre_d, b_cd - centre_d
    return (a_bd.square().sum(1)[:, None] + b_cd.square().sum(1) - 2 * a_bd @ b_cd.T).clamp(min=0)


def reverse_gradient(x: Tensor, weight: float) -> Tensor:
    """Give `x` unchanged; in the backward pass, its gradient times ``-weight``.

    Between an encoder and a classifier of batches, it makes the encoder hide what the classifier learns to see.

    References
    ----------
    Ganin et al. (2016), JMLR 17(59):1.
    """
    return _ReverseGradient.apply(x, weight)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def gaussian_nll(x_bd: Tensor, mean_bd: Tensor, log_var_bd: Tensor, *, min_sd: float = 1e-3) -> Tensor:
    """Negative log-likelihood of each row under independent Gaussians.

    Parameters
    ----------
    x_bd, mean_bd
        Values and their predicted means.
    log_var_bd
        Log of the predicted variance; any shape that broadcasts against the values.
    min_sd
        ``min_sd**2`` is added to the variance: a constant feature, predicted exactly, cannot drive it to zero.

    Returns
    -------
    (b,) sums over the last axis, in nats.
    """
    log_var = torch.logaddexp(log_var_bd, torch.full_like(log_var_bd, 2 * math.log(min_sd)))
    return 0.5 * ((x_bd - mean_bd).square() * torch.exp(-log_var) + log_var + math.log(2 * math.pi)).sum(-1)
