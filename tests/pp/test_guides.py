"""Guides of a cell: where background ends, what a cell is called, and what is said about it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse
from scipy.stats import norm, poisson

from omicsfm import InputError, _compat, contract, datasets
from omicsfm.pp._assign_guides import assign_guides
from omicsfm.pp._guides import MIN_CELLS, _log_normal, _rate, above, cut_of, cuts

VAR = pd.DataFrame(
    {"target": ["A", "A", "B", "NT", "NT"], "is_control": [False, False, False, True, True]},
    index=["A1", "A2", "B1", "NT1", "NT2"],
)


def make(x: np.ndarray, var: pd.DataFrame = VAR, *, rna_only: int = 0, control: str | None = None) -> MuData:
    """Guide counts of the first cells; the last `rna_only` cells have RNA alone."""
    n = len(x) + rna_only
    names = pd.Index([f"c{i}" for i in range(n)])
    rna = ad.AnnData(np.ones((n, 3), dtype=np.float32), obs=pd.DataFrame(index=names))
    rna.var_names = ["g0", "g1", "g2"]
    guide = ad.AnnData(sparse.csr_matrix(x.astype(np.float32)), obs=pd.DataFrame(index=names[: len(x)]), var=var.copy())
    mdata = _compat.make_mudata({"rna": rna, "guide": guide}, pd.DataFrame({"old": control or "A"}, index=names))
    contract.setup(mdata, perturbation_key="old" if control else None, control=control)
    return mdata


def histogram(rng: np.random.Generator, *, rate: float, signal: float, n_signal: int) -> tuple[np.ndarray, np.ndarray]:
    background = rng.poisson(rate, 4000)
    counts = np.concatenate([background, np.rint(rng.lognormal(np.log(signal), 0.5, n_signal))]).astype(int)
    return np.unique(counts[counts > 0], return_counts=True)


def test_pieces_of_the_mixture_are_what_they_claim():
    for rate in (0.05, 1.0, 7.0):
        mean = rate / (1 - np.exp(-rate))
        assert _rate(mean) == pytest.approx(rate, rel=1e-3)
        k = np.arange(1, 200)
        own = k * np.log(rate) - np.array([np.log(np.arange(1, i + 1)).sum() for i in k]) - np.log(np.expm1(rate))
        np.testing.assert_allclose(own[:20], poisson.logpmf(k, rate)[:20] - np.log(-np.expm1(-rate)), atol=1e-8)
    assert 0 < _rate(1.0) < 1e-5
    k = np.arange(1, 40_000).astype(float)
    assert np.exp(_log_normal(k, 4.0, 0.7)).sum() == pytest.approx(1, abs=1e-6)
    expected = norm.cdf((np.log(50.5) - 4) / 0.7) - norm.cdf((np.log(49.5) - 4) / 0.7)
    assert np.exp(_log_normal(k, 4.0, 0.7))[49] == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(_log_normal(k, 4.0, 0.05)).all()


def test_threshold_follows_the_background_of_the_guide():
    rng = np.random.default_rng(0)
    low, high = (cut_of(*histogram(rng, rate=rate, signal=120, n_signal=200)) for rate in (0.1, 9.0))
    assert low.method == high.method == "mixture"
    assert 3 <= low.threshold <= 12 and 19 <= high.threshold <= 40
    assert low.separation == pytest.approx(np.log2(120 / 1.05), abs=0.3)
    assert high.separation == pytest.approx(np.log2(120 / 9), abs=0.3)


def test_few_cells_and_no_background_fall_back_and_say_so():
    rng = np.random.default_rng(1)
    few = cut_of(*histogram(rng, rate=0.1, signal=200, n_signal=MIN_CELLS - 1))
    assert (few.threshold, few.method) == (5, "threshold") and np.isnan(few.separation)
    assert cut_of(np.array([50, 60]), np.array([100, 100]), threshold=7).threshold == 7
    assert cut_of(np.array([], dtype=int), np.array([], dtype=int)).method == "threshold"
    only_noise = cut_of(*np.unique(rng.poisson(4, 3000) + 1, return_counts=True))
    assert only_noise.method == "threshold" or only_noise.threshold > 8


def test_cuts_are_per_guide_and_ignore_stored_zeros():
    rng = np.random.default_rng(2)
    x = rng.poisson([0.1, 9.0], (3000, 2))
    x[:200] += np.rint(rng.lognormal(np.log(120), 0.4, (200, 2))).astype(int)
    stored = sparse.csr_matrix(x.astype(np.float32))
    stored.data[:50] = 0
    first, second = cuts(stored)
    assert first.threshold < 12 and second.threshold > 15


def test_shadow_of_a_strong_guide_is_no_guide():
    x = np.array([[400, 30, 0], [400, 60, 0], [8, 6, 0], [4, 0, 0]])
    has = above(sparse.csr_matrix(x), np.array([5, 5, 5]), min_share=0.1).toarray()
    assert has.tolist() == [[True, False, False], [True, True, False], [True, True, False], [False] * 3]
    assert above(x, np.array([5, 5, 5]), min_share=0.0).sum() == 6
    assert above(x, np.array([0, 0, 0]), min_share=0.0).sum() == 7  # a zero is never a guide


def test_names_of_cells():
    x = np.array(
        [
            [50, 0, 0, 0, 0],  # A
            [50, 60, 0, 0, 0],  # two guides of A
            [0, 50, 60, 0, 0],  # A+B
            [0, 0, 50, 60, 0],  # B and a control
            [0, 0, 0, 50, 60],  # control
            [3, 0, 0, 0, 0],  # below
            [0, 0, 0, 0, 0],
        ]
    )
    mdata = make(x, rna_only=1)
    report = assign_guides(mdata, method="threshold")
    found = mdata.obs["perturbation"].astype(object)
    assert found[:5].tolist() == ["A", "A", "A+B", "B", "control"] and found[5:].isna().all()
    assert mdata.obs["perturbation_n_guides"].fillna(-1).tolist() == [1, 2, 2, 2, 2, 0, 0, -1]
    assert report.guides["n_cells"].tolist() == [2, 2, 2, 2, 1] and (report.guides["method"] == "threshold").all()
    assert (report.unassigned, report.single, report.multiple) == pytest.approx((2 / 7, 4 / 7, 1 / 7))
    assert report.moi.to_dict() == {0: 2, 1: 1, 2: 4}
    assert "7 cells, 5 guides" in str(report) and str(report) in report._repr_html_()
    told = contract.perturbations(mdata)
    assert told["is_control"].sum() == 1 and told["perturbation"].isna().sum() == 3


def test_the_control_keeps_the_name_that_setup_was_told():
    x = np.array([[50, 0, 0, 0, 0], [0, 0, 0, 50, 0]])
    mdata = make(x, control="NT")
    assign_guides(mdata, method="threshold", key_added="target")
    assert mdata.obs["target"].tolist() == ["A", "NT"] and contract.control_of(mdata) == "NT"
    assert contract.keys(mdata).perturbation == "target"
    plain = make(x, VAR.drop(columns="is_control"))
    assign_guides(plain, method="threshold")
    assert plain.obs["perturbation"].tolist() == ["A", "NT"] and contract.control_of(plain) is None


def test_what_cannot_be_assigned():
    x = np.array([[50, 0, 0, 0, 0], [0, 0, 0, 50, 0]])
    with pytest.raises(InputError, match="only 0 and 1"):
        assign_guides(make((x > 0).astype(int)))
    with pytest.raises(InputError, match="no method 'guess'"):
        assign_guides(make(x), method="guess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="min_share within"):
        assign_guides(make(x), min_share=10)
    rna = ad.AnnData(np.ones((2, 2), dtype=np.float32))
    alone = _compat.make_mudata({"rna": rna}, pd.DataFrame(index=rna.obs_names))
    with pytest.raises(InputError, match="no modality of guide counts"):
        assign_guides(alone)


def test_papalexi_as_published(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = datasets.load("papalexi21_thp1_eccite_sceptredata")
    truth, sure = mdata.obs["target"].astype(str), mdata.obs["confident"].to_numpy(dtype=bool)
    report = assign_guides(mdata)
    found = contract.perturbations(mdata)["perturbation"]
    assert (found == truth.replace("non-targeting", "control"))[sure].mean() > 0.98
    assert report.unassigned < 0.02 and 0.02 < report.multiple < 0.1
    assert (report.guides["method"] == "mixture").sum() > 90
