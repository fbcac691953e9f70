"""Count likelihoods of hidden modalities, through the loadings of their tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omicsfm.models._correction._count_source import CountSource
from omicsfm.models._correction._inputs import Frame
from omicsfm.nn import Counts, LowRank, bernoulli_nll, nb_mixture_nll, nb_nll, poisson_nll


class CountHead(nn.Module):
    """Learnt parameters of a modality's count likelihood; loadings start at those of its tokens."""

    def __init__(self, source: CountSource, frame: Frame, mod: str) -> None:
        super().__init__()
        self.kind = source.kind
        w_gd = torch.from_numpy((source.components_dg.T * frame.scale[mod]).astype(np.float32))
        share = np.asarray(source.x_ng.sum(axis=0), dtype=np.float64).ravel() + 0.5
        self.w_gd = nn.Parameter(w_gd)
        self.bias_g = nn.Parameter(torch.from_numpy(np.log(share / share.sum()).astype(np.float32)))
        self.log_r_g = nn.Parameter(torch.zeros(len(w_gd)))
        if self.kind == "nb_mixture":
            self.background_g = nn.Parameter(self.bias_g.detach().clone() - 1)
            self.mixing_gd = nn.Parameter(torch.zeros_like(w_gd))
            self.mixing_g = nn.Parameter(torch.zeros(len(w_gd)))

    def forward(self, tokens: Tensor, counts: dict[str, Any], use: Tensor) -> Tensor:
        """Give the mean negative log-likelihood per count, over the cells to `use`."""
        use = use & counts["usable"]
        if not use.any():
            return tokens.sum() * 0
        x = Counts(counts["indptr"], counts["indices"], counts["data"])
        rates = LowRank(tokens, self.w_gd, self.bias_g, counts["library"])
        features = counts["features"]
        if self.kind == "nb":
            value = nb_nll(x, rates, log_r_g=self.log_r_g, features=features)
        elif self.kind == "poisson":
            value = poisson_nll(x, rates, features=features)
        elif self.kind == "bernoulli":
            value = bernoulli_nll(x, rates, features=features)
        else:
            value = nb_mixture_nll(
                x,
                rates,
                log_background_g=self.background_g,
                mixing_w_gd=self.mixing_gd,
                mixing_bias_g=self.mixing_g,
                log_r_g=self.log_r_g,
                features=features,
            )
        return value[use].mean() / len(self.bias_g)
