"""GLUE: its guidance graph, its encoders against scglue's, and what the adapter keeps from its user."""

import random
import sys

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, _compat, contract, testing
from omicsfm.models.external import _guidance, glue
from omicsfm.models.external.glue import GLUE

KINDS = {"rna": "rna", "protein": "protein"}


@pytest.fixture(scope="module")
def scglue():
    return pytest.importorskip("scglue", reason="scglue is not installed", exc_type=ImportError)


def test_links_by_gene_id_before_names(make_mosaic):
    mdata = make_mosaic(20, n_vars={"rna": 6, "protein": 4})
    mdata.mod["rna"].var["gene_id"] = [f"ENSG{i}" for i in range(6)]
    mdata.mod["protein"].var["gene_id"] = ["ENSG5", None, "ENSG0", "ENSG5"]
    (pair, (i, j)), *rest = _guidance.guide(mdata, KINDS, 0).items()
    assert pair == ("protein", "rna") and not rest
    assert set(zip(i, j, strict=True)) == {(0, 5), (2, 0), (3, 5)}


def test_links_by_names_set_case_prefix_and_clone_aside(make_mosaic):
    mdata = make_mosaic(20, n_vars={"rna": 3, "protein": 3})
    mdata.mod["rna"].var_names = ["CD19", "CD4", "GNLY"]
    mdata.mod["protein"].var_names = ["protein:cd4.1", "protein:cd4.2", "cd8"]
    (i, j) = _guidance.guide(mdata, KINDS, 0)["protein", "rna"]
    assert set(zip(i, j, strict=True)) == {(0, 1), (1, 1)}


def test_links_by_coordinates_agree_with_every_pair_looked_at():
    rng = np.random.default_rng(0)

    def intervals(n, longest):
        start = rng.integers(0, 3000, n)
        chrom = rng.choice(["1", "2"], n)
        return pd.DataFrame({"chrom": chrom, "start": start, "end": start + rng.integers(1, longest, n)})

    x, y = intervals(40, 400), intervals(70, 60)
    for window in (0, 25):
        found = set(zip(*_guidance._overlaps(x, y, window), strict=True))
        expected = {
            (i, j)
            for i, a in x.iterrows()
            for j, b in y.iterrows()
            if a.chrom == b.chrom and a.start - window <= b.end and b.start <= a.end + window
        }
        assert found == expected and 0 < len(found) < 2800


def test_no_link_is_one_clear_error(make_mosaic):
    mdata = make_mosaic(20, n_vars={"rna": 5, "protein": 5})
    mdata.mod["protein"].var_names = list("vwxyz")
    with pytest.raises(InputError, match=r"none between protein \| rna.*gene_id"):
        _guidance.guide(mdata, KINDS, 0)


def test_of_regions_only_linked_ones_are_decoded():
    links = {("atac", "rna"): (np.array([0, 1, 4]), np.array([0, 0, 9]))}
    found = glue._decoded(links, {"atac": np.arange(5), "rna": np.arange(3)}, {"atac": "atac", "rna": "rna"})
    assert found["atac"].tolist() == [0, 1] and found["rna"].tolist() == [0, 1, 2, 9]


def test_epochs_keep_the_proportions_of_scglue_and_have_an_end(make_mosaic):
    adatas = make_mosaic(100).mod
    assert glue._schedule(adatas, None)["max_epochs"] == glue.MAX_EPOCHS
    assert glue._schedule(adatas, 48) == {
        "max_epochs": 48,
        "align_burnin": 8,
        "patience": 4,
        "reduce_lr_patience": 2,
    }


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check, scglue):
    check(lambda: GLUE(6, max_epochs=2))


@pytest.mark.parametrize("paired", [True, False])
def test_cells_get_the_states_of_scglues_encoders(scglue, monkeypatch, paired):
    seen = {}
    fit = scglue.models.fit_SCGLUE

    def spy(adatas, graph, **kwargs):
        seen["model"], seen["adatas"] = fit(adatas, graph, **kwargs), adatas
        return seen["model"]

    spy.logger = fit.logger  # it looks itself up by name
    monkeypatch.setattr(scglue.models, "fit_SCGLUE", spy)
    mdata = testing.toy_mosaic(90)
    model = GLUE(6, max_epochs=3, paired=paired).fit(mdata)
    assert type(seen["model"]).__name__ == ("PairedSCGLUEModel" if paired else "SCGLUEModel")
    for name, mod in (("m0", "protein"), ("m1", "rna")):
        with _compat.silent():
            expected = seen["model"].encode_data(name, seen["adatas"][name])
        cells = mdata.obs_names[seen["adatas"][name].obs_names.astype(int)]
        only = _compat.make_mudata({mod: mdata.mod[mod][cells].copy()})
        contract.setup(only, modalities={mod: mod})
        np.testing.assert_allclose(model.embed(only), expected, atol=1e-4)
    both = contract.subset(mdata, contract.modality_mask(mdata).to_numpy().all(axis=1))
    halves = []
    for mod in both.mod:
        only = _compat.make_mudata({mod: both.mod[mod][both.obs_names].copy()})
        halves.append(model.embed(only))
    np.testing.assert_allclose(model.embed(both), np.mean(halves, axis=0), atol=1e-8)


def test_needs_no_cell_with_two_modalities(scglue):
    mdata = testing.toy_mosaic(300)
    mask = contract.modality_mask(mdata)
    alone = contract.subset(mdata, (mask.sum(axis=1) == 1).to_numpy())
    assert GLUE(4, max_epochs=2).fit(alone).embed(mdata).shape == (300, 4)


def test_too_few_cells_is_an_error(scglue, make_mosaic):
    with pytest.raises(InputError, match=r"at least 40 cells.*'protein' \(39\)"):
        GLUE(4).fit(make_mosaic(60, has={"protein": np.arange(60) < 39}))


def test_quiet_and_nothing_left_behind(scglue, tmp_path, monkeypatch, capsys):
    import torch

    monkeypatch.chdir(tmp_path)
    mdata = testing.toy_mosaic(60)
    before = random.getstate(), torch.get_rng_state().clone(), scglue.config.GRAPH_SHUFFLE_NUM_WORKERS
    GLUE(4, max_epochs=1).fit(mdata)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert before[2] == scglue.config.GRAPH_SHUFFLE_NUM_WORKERS


def test_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "scglue", None)
    with pytest.raises(InputError, match=r"scglue.*peers"):
        GLUE().fit(testing.toy_mosaic(60))
