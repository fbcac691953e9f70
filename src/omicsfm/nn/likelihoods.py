"""Likelihoods of counts under low-rank rates, with the costly terms at the non-zero counts only.

A zero count needs no log-gamma: under a negative binomial its term is ``r log(1 + mu / r)``, under a Poisson ``mu``. So
each sum over all features is a cheap term for every feature plus a correction at the non-zeros, and is exact.
With `features`, a random subset drawn uniformly without replacement, the sum over it times n_features / n_chosen is an
unbiased estimate of the whole, in value and gradient, at the cost of the subset.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from omicsfm._errors import InputError
from omicsfm.nn._precision import no_autocast, widen
from omicsfm.nn.counts import Batch, Counts, LowRank, batch


def nb_nll(counts: Counts, rates: LowRank, *, log_r_g: Tensor, features: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of each cell under negative binomials: mean mu, variance ``mu + mu^2 / r``.

    Parameters
    ----------
    counts
        Counts of the batch.
    rates
        Means: ``library * exp(score)``.
    log_r_g
        Log of the inverse dispersion r of each feature.
    features
        Distinct features to estimate the sum from; None: all, exactly.

    Returns
    -------
    (b,) nats.

    Raises
    ------
    InputError
        Where shapes do not fit, or `features` are not distinct integers.

    References
    ----------
    Lopez et al. (2018), Nat. Methods 15:1053.
    """
    at = batch("nb_nll", counts, rates, features)
    log_r = _per_feature("nb_nll", "log_r_g", log_r_g, rates)[at.chosen]
    odds_bm = at.log_library_b1 + at.score_bm - log_r
    zero_bm = _nb_zero(odds_bm, log_r)
    entry = -_gamma_ratio(at, log_r) - at.x_n * logsigmoid(at.at_entries(odds_bm))
    return at.total(zero_bm, entry)


def poisson_nll(counts: Counts, rates: LowRank, *, features: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of each cell under Poissons of rate ``library * exp(score)``.

    Parameters
    ----------
    counts, rates, features
        As in `nb_nll`.

    Returns
    -------
    (b,) nats.

    Raises
    ------
    InputError
        As in `nb_nll`.
    """
    at = batch("poisson_nll", counts, rates, features)
    log_rate_bm = at.log_library_b1 + at.score_bm
    return at.total(log_rate_bm.exp(), torch.lgamma(at.x_n + 1) - at.x_n * at.at_entries(log_rate_bm))


def bernoulli_nll(counts: Counts, rates: LowRank, *, features: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of seeing a count above zero, ``p = 1 - exp(-rate)``, rate ``library * exp(score)``.

    Of the counts only whether they are above zero is read, as of chromatin that is open or not.

    Parameters
    ----------
    counts, rates, features
        As in `nb_nll`.

    Returns
    -------
    (b,) nats.

    Raises
    ------
    InputError
        As in `nb_nll`.

    References
    ----------
    Ashuach et al. (2022), Cell Rep. Methods 2:100182 (PeakVI); Martens et al. (2024), Nat. Methods 21:28 (counts).
    """
    at = batch("bernoulli_nll", counts, rates, features)
    log_rate_bm = at.log_library_b1 + at.score_bm
    entry = torch.where(at.x_n > 0, -_log_expm1_exp(at.at_entries(log_rate_bm)), 0.0)
    return at.total(log_rate_bm.exp(), entry)


def nb_mixture_nll(
    counts: Counts,
    rates: LowRank,
    *,
    log_background_g: Tensor,
    mixing_w_gd: Tensor,
    mixing_bias_g: Tensor,
    log_r_g: Tensor,
    features: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of each cell under a mixture of background and foreground, as of antibody counts.

    Background: a negative binomial of mean ``library * exp(log_background_g)``. Foreground: mean larger by the factor
    ``exp(softplus(score))``, so never below the background. Both share r. A protein is foreground with probability
    ``sigmoid(t_bd mixing_w_gd' + mixing_bias_g)``.

    Parameters
    ----------
    counts, features
        As in `nb_nll`.
    rates
        Tokens, library sizes, and the scores that lift the foreground above the background.
    log_background_g
        Log background rate of each feature, per unit of library size.
    mixing_w_gd, mixing_bias_g
        Loadings and bias of the log odds of foreground.
    log_r_g
        Log of the inverse dispersion r of each feature.

    Returns
    -------
    (b,) nats.

    Raises
    ------
    InputError
        As in `nb_nll`.

    References
    ----------
    Gayoso et al. (2021), Nat. Methods 18:272 (totalVI); there the background is drawn per cell and protein, here it is
    one rate per protein.
    """
    where = "nb_mixture_nll"
    at = batch(where, counts, rates, features)
    log_r = _per_feature(where, "log_r_g", log_r_g, rates)[at.chosen]
    background = _per_feature(where, "log_background_g", log_background_g, rates)[at.chosen]
    mixing_bias = _per_feature(where, "mixing_bias_g", mixing_bias_g, rates)[at.chosen]
    if mixing_w_gd.shape != rates.w_gd.shape:
        raise InputError(
            f"{where}: mixing_w_gd of shape {tuple(rates.w_gd.shape)} is needed, found {tuple(mixing_w_gd.shape)}. "
            "Fix: give one row of loadings per feature."
        )
    with no_autocast(rates.t_bd):
        mixing_bm = widen(rates.t_bd) @ widen(mixing_w_gd[at.chosen]).T + mixing_bias
    # Background, then foreground: log prior, log odds mu / r, log-likelihood of a zero.
    back_bm = at.log_library_b1 + background - log_r
    fore_bm = back_bm - logsigmoid(-at.score_bm)
    prior = (logsigmoid(-mixing_bm), logsigmoid(mixing_bm))
    zero = [p - _nb_zero(odds, log_r) for p, odds in zip(prior, (back_bm, fore_bm), strict=True)]
    zero_bm = torch.logaddexp(*zero)
    seen = [
        at.at_entries(z) + at.x_n * logsigmoid(at.at_entries(odds))
        for z, odds in zip(zero, (back_bm, fore_bm), strict=True)
    ]
    return at.total(-zero_bm, at.at_entries(zero_bm) - torch.logaddexp(*seen) - _gamma_ratio(at, log_r))


def _per_feature(where: str, name: str, value_g: Tensor, rates: LowRank) -> Tensor:
    if value_g.shape != rates.bias_g.shape:
        raise InputError(
            f"{where}: {name} of shape {tuple(rates.bias_g.shape)} is needed, found {tuple(value_g.shape)}. "
            "Fix: give one value per feature."
        )
    return widen(value_g)


def _nb_zero(odds_bm: Tensor, log_r_m: Tensor) -> Tensor:
    """``r log(1 + mu / r)``: minus the log-likelihood of a zero, from log(mu / r)."""
    return -log_r_m.exp() * logsigmoid(-odds_bm)


def _gamma_ratio(at: Batch, log_r_m: Tensor) -> Tensor:
    """``log Gamma(x + r) - log Gamma(r) - log Gamma(x + 1)`` at each entry.

    In float64, which costs little: at r or x of 1e6 the three are 1e7 each, and float32 would lose their difference.
    """
    exact = torch.float32 if log_r_m.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    r_m, x = log_r_m.to(exact).exp(), at.x_n.to(exact)
    ratio = torch.lgamma(x + at.of_feature(r_m)) - at.of_feature(torch.lgamma(r_m)) - torch.lgamma(x + 1)
    return ratio.to(log_r_m.dtype)


def _log_expm1_exp(log_rate: Tensor) -> Tensor:
    """``log(exp(rate) - 1)`` from log(rate): the series where the rate is small, as exp would round it away."""
    is_small = log_rate < -10
    small, rate = log_rate.clamp(max=-10).exp(), log_rate.clamp(min=-10).exp()
    return torch.where(is_small, log_rate + small / 2 + small.square() / 24, rate + torch.log(-torch.expm1(-rate)))
