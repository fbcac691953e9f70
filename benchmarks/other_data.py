"""The same code on other kinds of data, no special case: `python benchmarks/other_data.py` (half a minute).

CLL: 200 patients, four bulk views with gaps. PBMC CITE: two panels, 14 of 29 proteins shared. PBMC multiome: 45 genes
and 174 peaks. A fifth of the patients or cells is held out at random, one modality hidden.
"""

from __future__ import annotations

import warnings

import numpy as np
from _common import table  # first: it sets the threads

import omicsfm as ofm
from omicsfm import contract, metrics
from omicsfm.bench import Cost
from omicsfm.metrics import METRICS

METHODS = ("LinearMosaic", "RidgeImputer", "KNNImputer", "MeanImputer")


def main() -> None:
    """Hide each modality of a fifth of the cells in turn and print what is recovered."""
    for name in ("cll_mofa", "pbmc_cite_scvi", "pbmc10x_multiome_regions_muon"):
        mdata = ofm.datasets.load(name)
        ofm.setup(mdata, **({"batch_key": "batch"} if "batch" in mdata.obs else {}))
        mask = contract.modality_mask(mdata)
        rows = []
        for target in mdata.mod:
            can = (mask[target] & (mask.sum(axis=1) > 1)).to_numpy()
            held = can & (np.random.default_rng(0).permutation(mdata.n_obs) % 5 == 0)
            train = contract.hide(mdata, target, held)
            query = contract.subset(train, np.isin(train.obs_names, mdata.obs_names[held]))
            source = contract.subset(mdata, held)
            for method in METHODS:
                with Cost() as cost, warnings.catch_warnings():
                    warnings.simplefilter("ignore", ofm.OmicsfmWarning)
                    model = ofm.models.create(method, seed=0).fit(train)
                    found = model.impute(query, target)
                truth = np.full(found.mean.shape, np.nan)
                position = found.mean.index.get_indexer(source.mod[target].obs_names)
                for span, block in model.tokenizer_.scaled(source, target):
                    truth[position[span]] = block.toarray() if hasattr(block, "toarray") else block
                mean, lower, upper = found.mean.to_numpy(), found.lower.to_numpy(), found.upper.to_numpy()
                score = METRICS["pearson_per_feature"].score
                rows.append(
                    [
                        f"{target} ({int(held.sum())} held out): {method}",
                        score(metrics.pearson_per_feature(truth, mean, constant_prediction=0.0)),
                        METRICS["rmse_per_feature"].score(metrics.rmse_per_feature(truth, mean)),
                        METRICS["interval_coverage"].score(metrics.interval_coverage(truth, lower, upper)),
                        cost.record.cpu_s,
                    ]
                )
        shape = ", ".join(f"{m} {a.shape[0]} x {a.shape[1]}" for m, a in mdata.mod.items())
        table(f"{name}: {shape}", ["", "Pearson per feature", "RMSE", "coverage of 90 %", "CPU s"], rows)


if __name__ == "__main__":
    main()
