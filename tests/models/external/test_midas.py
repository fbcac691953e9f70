"""MIDAS against scmidas itself, and what the adapter keeps from its user."""

import random
import sys

import numpy as np
import pytest

from omicsfm import InputError, _compat, contract, testing
from omicsfm.models.external import _midas, midas
from omicsfm.models.external.midas import MIDAS

scmidas = pytest.importorskip("scmidas", reason=f"scmidas is not installed: {midas.COMMAND}", exc_type=ImportError)
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def fitted():
    """A short fit that used every cell."""
    mdata = testing.toy_mosaic()
    return mdata, MIDAS(3, calibration=0).fit(mdata)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(lambda: MIDAS(2, n_latent=8))


def test_training_cells_get_the_state_and_the_imputation_of_scmidas(monkeypatch):
    seen = {}

    class Spy(scmidas.MIDAS):
        def train(self, **kwargs):
            super().train(**kwargs)
            seen["z"] = self.get_latent_representation()
            seen["mdata"] = self._mdata

    monkeypatch.setattr(scmidas, "MIDAS", Spy)
    mdata = testing.toy_mosaic()
    model = MIDAS(3, calibration=0).fit(mdata)
    order = seen["mdata"].obs_names.astype(int)  # positions in obs
    np.testing.assert_allclose(model.embed(mdata)[order], seen["z"], atol=1e-5)
    assert np.std(seen["z"]) > 1e-3


def test_modalities_are_paired_by_name_and_their_order_is_of_no_account(fitted):
    mdata, model = fitted
    mods = {
        m: mdata.mod[m][np.random.default_rng(1).permutation(mdata.mod[m].n_obs)].copy() for m in ("protein", "rna")
    }
    other = _compat.make_mudata(mods, mdata.obs)
    contract.setup(other, batch_key="batch", label_key="label", modalities={"rna": "rna", "protein": "protein"})
    assert list(other.mod) != list(mdata.mod)
    again = MIDAS(3, calibration=0).fit(other, tokenizer=model.tokenizer_)
    for name, weight in model.network_.items():
        np.testing.assert_array_equal(again.network_[name], weight)


def test_an_imputation_does_not_look_at_the_cells_own_values(fitted):
    mdata, model = fitted
    changed = contract.subset(mdata, slice(None))
    changed.mod["protein"].X = np.asarray(changed.mod["protein"].X)[::-1] + 7
    found, expected = (testing.outputs(model, m)["impute protein mean"] for m in (changed, mdata))
    np.testing.assert_array_equal(found, expected)
    assert testing.outputs(model, changed)["embed"].shape == (120, 32)


def test_what_was_not_measured_is_no_zero(fitted):
    """A masked value may be anything: neither the encoder nor the state may change with it."""
    mdata, model = fitted
    network = model._network()
    x = {"m0": np.random.default_rng(0).poisson(5, (6, 15)).astype(float)}
    mask = np.ones((6, 15), dtype=bool)
    mask[:, :5] = False
    other = {"m0": np.where(mask, x["m0"], 99.0)}
    code = np.array([-1] * 6)
    a, b = (_midas.encode(network, v, {"m0": mask}, code) for v in (x, other))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - _midas.encode(network, x, {}, code)).max() > 1e-3


def test_quiet_and_nothing_left_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    mdata, new = testing.toy_mosaic(60), testing.toy_mosaic(12, prefix="new")
    before = random.getstate(), torch.get_rng_state().clone(), scmidas.load_config().copy()
    MIDAS(1, n_latent=4).fit(mdata).embed(new)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert scmidas.load_config() == before[2]


def test_calibration_cells_are_not_trained_on_and_widen_intervals(make_mosaic):
    mdata = make_mosaic(300, n_vars={"rna": 40, "protein": 10})
    honest, naive = MIDAS(8, calibration=0.3).fit(mdata), MIDAS(2, calibration=0).fit(mdata)
    assert honest._held_out(honest.tokenizer_.transform(mdata)).sum() == 90
    new = make_mosaic(300, n_vars={"rna": 40, "protein": 10}, seed=0)
    found = honest.impute(new, "protein")
    truth = found.transform(new.mod["protein"][new.obs_names].X)
    inside = ((truth >= found.lower.to_numpy()) & (truth <= found.upper.to_numpy())).mean()
    assert 0.85 < inside <= 1
    assert not np.array_equal(honest.outlets_["rna"]["half"], naive.outlets_["rna"]["half"])


def test_regions_are_encoded_by_chromosome(make_mosaic):
    mdata = make_mosaic(80, n_vars={"rna": 20, "atac": 30})
    mdata.mod["atac"].var["chrom"] = np.array(["chr1", "chr2", "chr3"])[np.arange(30) % 3]
    contract.setup(mdata, batch_key="batch", modalities={"rna": "rna", "atac": "atac"})
    model = MIDAS(1, n_latent=4).fit(mdata)
    assert len(model.chunks_["atac"]) == 3 and sum(model.chunks_["atac"]) == len(model.features_["atac"])
    assert model.embed(mdata).shape == (80, 4)
    prediction = model.impute(mdata, "atac").mean.to_numpy()
    assert np.isfinite(prediction).all() and prediction.shape == (80, 30)


def test_refuses_what_is_no_count_and_says_how_to_install(make_mosaic, monkeypatch):
    mdata = make_mosaic(60)
    contract.setup(mdata, batch_key="batch", modalities={"rna": "rna", "protein": "continuous"})
    with pytest.raises(InputError, match=r"'protein' \(continuous\)"):
        MIDAS(1).fit(mdata)
    monkeypatch.setitem(sys.modules, "scmidas", None)
    with pytest.raises(InputError, match=r"pip install --no-deps 'scmidas>=0.3' toml"):
        MIDAS(1).fit(make_mosaic(60))
