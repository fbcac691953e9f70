"""The batch step against none and against centring: `python benchmarks/batch_step.py` (half a minute).

Paired PBMC donors p3_0 and p4_0. iLISI (mixing of the donors, 1 is best) beside label accuracy: mixing bought with
biology is no gain.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from _common import table  # first: it sets the threads

import omicsfm as ofm
from omicsfm import contract, metrics
from omicsfm.metrics import METRICS
from omicsfm.models._cells import blocks
from omicsfm.pp import Tokenizer, Tokens


def centred(tokens: Tokens) -> Tokens:
    """Take each batch's mean away from its tokens."""
    values = {}
    for mod, x in tokens.values.items():
        batch = tokens.batch[tokens.rows[mod]]
        values[mod] = x.copy()
        for name in np.unique(batch):
            values[mod][batch == name] -= x[batch == name].mean(axis=0)
    return replace(tokens, values=values)


def main() -> None:
    """Fit with each batch step and print mixing and accuracy."""
    mdata = ofm.datasets.load("pbmc_mosaic")
    rows = []
    for title, cells in (
        ("the two paired donors", mdata.obs["batch"].isin(["p3_0", "p4_0"]).to_numpy()),
        ("all four donors", np.ones(mdata.n_obs, dtype=bool)),
    ):
        train = contract.subset(mdata, cells)
        for step in ("none", "each batch centred", "offsets within states (ours)"):
            ofm.setup(train, batch_key="batch")
            tokenizer = Tokenizer().fit(train)
            tokens = tokenizer.transform(train)
            if step == "each batch centred":
                tokens = centred(tokens)
            if not step.startswith("offsets"):
                tokens = replace(tokens, batch=np.full(tokens.n_obs, "all"))
            model = ofm.models.LinearMosaic().fit(train, tokenizer=tokenizer, tokens=tokens)
            state = np.zeros((tokens.n_obs, model.state_.n_out))
            for block in blocks(tokens):
                state[block.obs] = model.state_(model.latent_, tokens, block, pattern=block.pattern)[0]
            paired = train.obs["batch"].isin(["p3_0", "p4_0"]).to_numpy()
            label = train.obs["celltype"].to_numpy(dtype=str)[paired]
            donor = train.obs["batch"].to_numpy(dtype=str)[paired]
            near = metrics.neighbors(state[paired], 90)
            rows.append(
                [
                    f"{title}: {step}",
                    METRICS["ilisi"].score(metrics.ilisi(near, donor)),
                    METRICS["knn_accuracy"].score(metrics.knn_accuracy(near.first(15), label)),
                    METRICS["knn_accuracy_cross_donor"].score(
                        metrics.knn_accuracy_cross_donor(state[paired], label, donor, k=15)
                    ),
                ]
            )
    table("Batch step, scored on the paired donors", ["", "iLISI", "kNN accuracy", "kNN, other donor"], rows)


if __name__ == "__main__":
    main()
