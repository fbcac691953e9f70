from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import omicsfm as ofm


def data(n: int = 120):
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b", "c"], n // 3)
    signal = (y[:, None] == np.array(["a", "b", "c"])) + 0.7 * rng.normal(size=(n, 3))
    return y, signal, rng


def test_the_informative_one_is_chosen_by_its_held_out_auroc():
    y, signal, rng = data()
    candidates = {"noise": rng.normal(size=(len(y), 50)), "signal": signal, "sparse": sparse.csr_matrix(np.abs(signal))}
    chosen = ofm.seq.choose_embedding(candidates, y, folds=3)
    assert chosen.name == "signal"
    assert chosen.scores.shape == (3, 3)
    wanted = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(y, y):
        scale = StandardScaler().fit(signal[train])
        model = LogisticRegression(C=0.1).fit(scale.transform(signal[train]), y[train])
        p = model.predict_proba(scale.transform(signal[test]))
        wanted.append(roc_auc_score(y[test], p, multi_class="ovr", average="macro"))
    np.testing.assert_allclose(chosen.scores.loc["signal"], wanted, atol=1e-4)


def test_groups_are_not_split():
    """A column that names the group tells the label within it, and nothing about another group."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 10)
    y = np.array(["a", "b"])[groups % 2]
    names = np.eye(12)[groups]
    honest = (y == "a")[:, None] + 0.8 * rng.normal(size=(120, 1))
    candidates = {"group": names, "honest": honest}
    assert ofm.seq.choose_embedding(candidates, y, folds=4).name == "group"
    assert ofm.seq.choose_embedding(candidates, y, groups=groups, folds=4).name == "honest"


def test_what_cannot_be_chosen_from_is_told():
    y, signal, _ = data()
    with pytest.raises(ofm.InputError, match="candidates with 120 rows"):
        ofm.seq.choose_embedding({"short": signal[:-1]}, y)
    with pytest.raises(ofm.InputError, match="2 or more classes"):
        ofm.seq.choose_embedding({"x": signal}, np.zeros(120))
    with pytest.raises(ofm.InputError, match="5 folds need as many groups, found 2"):
        ofm.seq.choose_embedding({"x": signal}, y, groups=np.arange(120) % 2)
