"""Annotating baselines: against scikit-learn, on another donor, and without labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError, contract, testing
from omicsfm.models.baselines import (
    KNNLabels,
    LogisticLabels,
    MajorityClass,
)

PAIRED = ["p3_0", "p4_0"]


def scaled_tokens(x):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).sum())


@pytest.mark.parametrize("model", [LogisticLabels, KNNLabels])
def test_labels_of_another_donor(pbmc, model):
    accuracy, sure = [], []
    for batch in PAIRED:
        train = contract.subset(pbmc, np.arange(pbmc.n_obs))
        hidden = (train.obs["batch"].astype(str) == batch).to_numpy()
        train.obs["celltype"] = train.obs["celltype"].astype(object).where(~hidden)
        found = model().fit(train).annotate(contract.subset(train, hidden))
        right = (found["label"] == pbmc.obs.loc[found.index, "celltype"].astype(str)).to_numpy()
        accuracy.append(right.mean())
        sure.append(right[~found["unknown"].to_numpy()].mean())
        assert abs(found["confidence"].mean() - right.mean()) < 0.06
    assert np.mean(accuracy) > 0.93
    assert np.mean(sure) > np.mean(accuracy)


def test_majority_class(pbmc):
    found = MajorityClass().fit(pbmc).annotate(pbmc)
    count = pbmc.obs["celltype"].astype(str).value_counts()
    assert (found["label"] == count.index[0]).all() and np.allclose(found["confidence"], count.iloc[0] / count.sum())
    assert found["unknown"].all() == (count.iloc[0] / count.sum() < 0.5)


def test_knn_labels_vote_as_scikit_learns(paired, fitted):
    model = KNNLabels().fit(paired)
    x = np.hstack([scaled_tokens(fitted[1][m]) for m in ("protein", "rna")])
    y = paired.obs["celltype"].astype(str).to_numpy()
    expected = KNeighborsClassifier(15).fit(x, y)
    found = model.annotate(paired)
    assert (found["label"] == expected.predict(x)).mean() > 0.995  # ties fall differently
    share = expected.predict_proba(x)
    vote = (share * 15 + 1 / share.shape[1]) ** (1 / model.heads_[-1].classifier.temperature)
    assert np.allclose(found["confidence"], (vote / vote.sum(axis=1, keepdims=True)).max(axis=1), atol=1e-6)


@pytest.mark.parametrize("model", [LogisticLabels, KNNLabels])
def test_a_modality_that_was_never_labelled(pbmc, model):
    mdata = contract.subset(pbmc, np.arange(pbmc.n_obs))
    rna_only = ~contract.modality_mask(mdata)["protein"].to_numpy()
    mdata.obs["celltype"] = mdata.obs["celltype"].astype(object).where(rna_only)
    fitted = model().fit(mdata)
    assert [h.pattern for h in fitted.heads_] == [(), ("rna",)]
    found = fitted.annotate(pbmc)
    blind = ~contract.modality_mask(pbmc)["rna"].to_numpy()
    assert found["unknown"][blind].all() and found["label"][blind].nunique() == 1
    assert (found["label"] == pbmc.obs["celltype"].astype(str))[~blind].mean() > 0.8


@pytest.mark.parametrize("model", [MajorityClass, LogisticLabels, KNNLabels])
def test_labels_are_needed(pbmc, model):
    mdata = contract.subset(pbmc, np.arange(pbmc.n_obs))
    mdata.obs["celltype"] = pd.Series(np.nan, index=mdata.obs_names, dtype=object)
    with pytest.raises(InputError, match="every label is missing"):
        model().fit(mdata)
    bare = testing.toy_mosaic()
    bare.uns.clear()
    with pytest.raises(InputError, match="no label key"):
        model().fit(bare)
