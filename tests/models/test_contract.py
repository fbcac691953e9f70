"""Every registered model keeps the contract, every check can fail, and the registry finds other people's models."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from omicsfm import InputError, contract, testing
from omicsfm.models import Annotates, Embeds, Imputes
from omicsfm.models import _registry as registry
from omicsfm.models._registry import MODELS, create, register
from omicsfm.models.baselines import CCA, KNNLabels, MeanImputer, ModalityPCA

# Peers and what learns by gradients are checked with small budgets, each in a file of its own.
OURS = [n for n in registry._OURS if not MODELS[n].__module__.startswith("omicsfm.models.external") and n != "Mosaic"]
RESPONDERS = [n for n in OURS if hasattr(MODELS[n], "respond")]
QUICK = [n for n in OURS if n not in RESPONDERS]


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*QUICK, "MOFA"])
def test_model_passes(name, check):
    check(MODELS[name])


@pytest.mark.parametrize("check", testing.RESPONSE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", RESPONDERS)
def test_responder_passes(name, check):
    check(MODELS[name])


@pytest.mark.parametrize("name", QUICK)
def test_model_passes_on_real_cells(name, real):
    mdata = real("pbmc_mosaic")
    some = np.random.default_rng(0).permutation(mdata.n_obs)[:400]
    mdata = contract.subset(mdata, np.sort(some))
    testing.check_any_subset(MODELS[name], mdata)
    testing.check_new_cells(MODELS[name], mdata)
    testing.check_rows(MODELS[name], mdata)


class ChangesData(ModalityPCA):
    def _fit(self, mdata, tokens):
        super()._fit(mdata, tokens)
        mdata.obs["mine"] = 1


class ChangesCounts(ModalityPCA):
    def _fit(self, mdata, tokens):
        super()._fit(mdata, tokens)
        next(iter(mdata.mod.values())).X[0, 0] += 1


class UsesGlobalSeed(ModalityPCA):
    def _compute(self, tokens):
        return super()._compute(tokens) + np.random.rand()


class OwnSeedEachTime(ModalityPCA):
    def _fit(self, mdata, tokens):
        super()._fit(mdata, tokens)
        self.shift_ = np.random.default_rng().random()

    def _compute(self, tokens):
        return super()._compute(tokens) + self.shift_


class WrongOrder(CCA):
    def _compute(self, tokens):
        return super()._compute(tokens)[::-1]


class LooksAtOtherCells(CCA):
    def _compute(self, tokens):
        z = super()._compute(tokens)
        return z / z[:10].std()


class GivesNaN(CCA):
    def _compute(self, tokens):
        return super()._compute(tokens) * np.nan


class NeedsAllModalities(CCA):
    def _compute(self, tokens):
        return super()._compute(tokens)[:, : 2 if len(tokens.values) == 1 else None]


class NeedsTrainingCells(CCA):
    def _compute(self, tokens):
        z = super()._compute(tokens)
        return z if str(tokens.obs_names[0]).startswith("cell") else z[:, :1]


class HiddenParameter(CCA):
    def __init__(self, n_components=15, *, ridge=0.05, n_tokens=30, seed=0):
        super().__init__(n_components, ridge=ridge, n_tokens=n_tokens, seed=seed)
        self.extra = 1


class NeverRefuses(CCA):
    def embed(self, mdata):
        return np.zeros((3, 2)) if not hasattr(self, "views_") else super().embed(mdata)


class TakesAnything(MeanImputer):
    def impute(self, mdata, modality):
        return super().impute(mdata, modality if modality in getattr(self, "fits_", ["rna"]) else "rna")


class SavesAnother(CCA):
    def save(self, path, *, overwrite=False):
        other = CCA().fit(testing.toy_mosaic())
        return other.save(path, overwrite=overwrite)


class Overconfident(KNNLabels):
    def annotate(self, mdata, *, min_confidence=0.5):
        out = super().annotate(mdata, min_confidence=min_confidence)
        out["confidence"] *= 2
        return out


class Inverted(MeanImputer):
    def _predict(self, tokens, target):
        mean, sd, half, blind = super()._predict(tokens, target)
        return mean, sd, -half, blind


@pytest.mark.parametrize(
    ("check", "broken", "said"),
    [
        (testing.check_data_untouched, ChangesData, "obs of the MuData"),
        (testing.check_data_untouched, ChangesCounts, "X, names"),
        (testing.check_data_untouched, UsesGlobalSeed, "global generator"),
        (testing.check_seed, OwnSeedEachTime, "same bits"),
        (testing.check_rows, WrongOrder, "another answer"),
        (testing.check_rows, LooksAtOtherCells, "another answer"),
        (testing.check_output, GivesNaN, "NaN"),
        (testing.check_output, Overconfident, "between 0 and 1"),
        (testing.check_output, Inverted, "in its interval"),
        (testing.check_any_subset, NeedsAllModalities, "as many columns"),
        (testing.check_new_cells, NeedsTrainingCells, "as many columns"),
        (testing.check_parameters, HiddenParameter, "nothing else"),
        (testing.check_not_fitted, NeverRefuses, "NotFittedError"),
        (testing.check_bad_input, TakesAnything, "unknown modality"),
        (testing.check_round_trip, SavesAnother, "load gave a CCA"),
    ],
)
def test_check_finds_what_is_broken(check, broken, said):
    with pytest.raises(AssertionError, match=said):
        check(broken)
    with pytest.raises(AssertionError):
        testing.check_estimator(broken)


def test_toy_has_what_estimators_must_bear():
    toy = testing.toy_mosaic()
    contract.check(toy).raise_for_errors()
    mask = contract.modality_mask(toy).to_numpy()
    assert set(map(tuple, mask.tolist())) == {(True, True), (True, False), (False, True)}
    assert contract.labels(toy).isna().any() and contract.batches(toy).nunique() == 2
    assert any((contract.rows(toy, m) != np.sort(contract.rows(toy, m))).any() for m in toy.mod)
    assert (toy.mod["rna"].X.sum(axis=1) == 0).any()


def test_what_models_can_do():
    able = {
        protocol: {n for n in (*QUICK, "Mosaic") if n != "Stack" and isinstance(create(n), protocol)}
        for protocol in (Embeds, Imputes, Annotates)
    }
    both = {"LinearMosaic", "Mosaic"}
    assert able[Embeds] == {"CCA", "Chance", "ConcatPCA", "ModalityPCA", "WNN", *both}
    assert able[Imputes] == {"KNNImputer", "KernelRidgeImputer", "MeanImputer", "MeanKNNRidge", "RidgeImputer", *both}
    assert able[Annotates] == {"KNNLabels", "LogisticLabels", "MajorityClass", *both}


def test_registry_finds_models_of_other_packages(monkeypatch):
    points = [
        EntryPoint("Theirs", "omicsfm.models.baselines:CCA", registry.GROUP),
        EntryPoint("Broken", "no_such_package:Model", registry.GROUP),
        EntryPoint("LinearMosaic", "no_such_package:Impostor", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
    assert {"Theirs", "Broken"} <= set(MODELS) and "Broken" in MODELS
    assert len(MODELS) == len(list(MODELS)) == len(registry._OURS) + 2
    assert create("Theirs", n_components=3).n_components == 3
    assert type(create("LinearMosaic")).__module__ == "omicsfm.models.linear_mosaic"
    with pytest.raises(ModuleNotFoundError):
        MODELS["Broken"]


def test_unknown_model():
    with pytest.raises(InputError, match="no model 'Nothing'.*CCA"):
        create("Nothing")


def test_a_model_of_ones_own_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    before = len(MODELS)
    register("Mine", MODELS["CCA"])
    register("Mine", MODELS["ConcatPCA"])  # a cell of a notebook that ran again
    assert "Mine" in MODELS and "Mine" in list(MODELS) and len(MODELS) == len(list(MODELS)) == before + 1
    assert type(create("Mine", n_components=3)).__name__ == "ConcatPCA"
    for name, factory, words in (
        ("CCA", MODELS["CCA"], "taken"),
        ("Mine", MODELS["CCA"](), "the class, not an estimator"),
        ("Mine", lambda depth=1: None, "takes no seed, found depth"),
    ):
        with pytest.raises(InputError, match=words):
            register(name, factory)
    assert type(create("Mine")).__name__ == "ConcatPCA"
