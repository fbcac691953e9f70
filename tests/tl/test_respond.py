"""respond asks what was not measured, writes the answers in short, and the model is fitted once."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

from omicsfm import InputError, _compat, contract, io
from omicsfm.models import CCA
from omicsfm.models.response import ResponseModel
from omicsfm.tl._respond import respond, unmeasured

N, GENES = 30, 12


def screen(groups: list[tuple[str, str]], *, control: str = "ctrl") -> MuData:
    """Counts of 30 cells per (perturbation, context); each target doubles a gene of its own."""
    rng = np.random.default_rng(0)
    targets = sorted({t for name, _ in groups for t in contract.members(name, control)})
    rate = np.full((len(groups) * N, GENES), 10.0)
    for i, (name, _) in enumerate(groups):
        for target in contract.members(name, control):
            rate[i * N : (i + 1) * N, targets.index(target)] *= 2
    names = [f"c{i}" for i in range(len(rate))]
    obs = pd.DataFrame(groups, columns=["condition", "line"]).loc[np.repeat(np.arange(len(groups)), N)]
    rna = ad.AnnData(
        sparse.csr_matrix(rng.poisson(rate).astype(np.float32)),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]),
    )
    mdata = _compat.make_mudata({"rna": rna}, obs.set_axis(names))
    contract.setup(mdata, perturbation_key="condition", control=control, context_key="line")
    return mdata


GROUPS = [("ctrl", "k"), ("A", "k"), ("B", "k"), ("ctrl", "r"), ("A", "r"), ("B+A", "r"), ("C", "no controls")]


def test_asks_for_every_known_perturbation_where_it_was_not_measured():
    left = unmeasured(screen(GROUPS))
    # C was tried, but nothing can be compared in its context; nothing can be asked there either.
    assert set(zip(left["context"], left["perturbation"], strict=True)) == {
        *(("k", "A+B"), ("k", "C"), ("r", "B"), ("r", "C"))
    }


def test_targets_with_a_prior_are_known_and_doses_are_kept_apart():
    mdata = screen([("ctrl", "k"), ("A", "k"), ("B", "k")])
    guide = mdata.mod["guide"]
    guide.varm["prior_go"] = np.eye(guide.n_vars)
    assert not len(unmeasured(mdata))
    found = ad.AnnData(np.zeros((1, 1)), var=pd.DataFrame({"target": ["Z"]}, index=["guide:Z"]))
    with _compat.silent():
        more = ad.concat([guide, found], join="outer", axis=0, fill_value=0)[: guide.n_obs].copy()
        more.var["target"] = [name.removeprefix("guide:") for name in more.var_names]
        more.varm["prior_go"] = np.eye(more.n_vars)
        mdata.mod["guide"] = more
    assert unmeasured(mdata)["perturbation"].tolist() == ["Z"]

    mdata = screen([("ctrl", "k"), ("A", "k"), ("B", "k"), ("ctrl", "r"), ("B", "r")])
    mdata.obs["dose"] = np.where(mdata.obs["condition"] == "ctrl", np.nan, 10.0)
    mdata.obs.loc[mdata.obs_names[N : N + 5], "dose"] = 1.0
    contract.setup(mdata, perturbation_key="condition", control="ctrl", context_key="line", dose_key="dose")
    left = unmeasured(mdata)
    assert left.to_numpy().tolist() == [["A", "r", 1.0], ["A", "r", 10.0]]


def test_writes_the_answers_in_short_and_they_survive_a_file(tmp_path):
    mdata = screen(GROUPS)
    out = respond(mdata)
    assert len(out.mean) == 4 and list(out.mean.columns) == [f"g{i}" for i in range(GENES)]
    table = pd.DataFrame(mdata.uns["response"])
    assert table.columns.tolist() == ["perturbation", "context", "dose", "reliability", "size"]
    np.testing.assert_allclose(table["size"], np.linalg.norm(out.mean, axis=1))
    np.testing.assert_array_equal(table["reliability"], out.reliability)
    pd.testing.assert_frame_equal(table[["perturbation", "context"]], out.design[["perturbation", "context"]])
    last = contract.history(mdata)[-1]
    assert last["step"] == "respond" and last["params"]["model"] == "ResponseModel" and last["params"]["n"] == 4
    for suffix in (".h5mu", ".zarr"):
        found = io.read(io.write(mdata, tmp_path / f"screen{suffix}")).uns["response"]
        pd.testing.assert_frame_equal(pd.DataFrame(dict(found))[table.columns], table, check_dtype=False)


def test_a_fitted_model_is_only_asked_and_the_control_has_the_name_of_the_data(monkeypatch):
    mdata = screen([("ctrl", "k"), ("A", "k"), ("B", "k")])
    model = ResponseModel(seed=0).fit(mdata)
    monkeypatch.setattr(ResponseModel, "fit", None)
    out = respond(mdata, pd.DataFrame({"perturbation": ["A+ctrl", "ctrl", "A+B"]}), model)
    assert out.design["perturbation"].tolist() == ["A", "control", "A+B"]
    assert (out.mean.iloc[1] == 0).all() and mdata.uns["response"]["size"][1] == 0


def test_a_view_is_made_real():
    mdata = screen(GROUPS)
    view = mdata[np.arange(5 * N)]
    respond(view, pd.DataFrame({"perturbation": ["B"], "context": ["r"]}))
    assert "response" in view.uns and "response" not in mdata.uns


def test_says_what_it_cannot_do():
    mdata = screen([("ctrl", "k"), ("A", "k"), ("B", "k")])
    with pytest.raises(InputError, match="nothing is left to ask"):
        respond(mdata)
    with pytest.raises(InputError, match="respond: CCA cannot"):
        respond(mdata, pd.DataFrame({"perturbation": ["A"]}), CCA())
    with pytest.raises(InputError, match="column 'perturbation'"):
        respond(mdata, pd.DataFrame({"gene": ["A"]}))
    plain = _compat.make_mudata({"rna": mdata.mod["rna"].copy()})
    contract.setup(plain)
    with pytest.raises(InputError, match="no perturbation key"):
        respond(plain)
