"""Perfect answers score perfectly, useless ones at chance, whatever the order of rows."""

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm import contract, models
from omicsfm.metrics import METRICS
from omicsfm.models import Imputation as Imputed
from omicsfm.tasks import Annotation, CellState, Imputation, MosaicIntegration
from omicsfm.testing import toy_mosaic


@pytest.fixture(scope="module")
def toy():
    mdata = toy_mosaic(200)
    ofm.setup(mdata, batch_key="batch", label_key="label")
    return mdata


def number(metric, value):
    return METRICS[metric.split(":")[0]].score(value)


class Oracle:
    """Knows which pseudo-cells belong together."""

    def __init__(self, mdata):
        rng = np.random.default_rng(0)
        kind = {k: rng.standard_normal(5) * 20 for k in set(contract.labels(mdata).dropna())}
        label = contract.labels(mdata)
        self.state = {
            n: (kind[label[n]] if pd.notna(label[n]) else np.zeros(5)) + rng.standard_normal(5) for n in mdata.obs_names
        }

    def embed(self, mdata):
        return np.array([self.state[n.split(":")[0]] for n in mdata.obs_names])


def test_integration_oracle_and_chance(toy):
    task = MosaicIntegration()
    for split in task.splits(toy):
        scores = {m: number(m, v) for m, v in task.score(task.predict(Oracle(toy), split), split).items()}
        assert scores["foscttm"] == 0
        assert scores["partner_label_match"] == 1
        assert all(v == 1 for m, v in scores.items() if m.startswith("label_transfer"))
        assert sum(m.startswith("label_transfer") for m in scores) == 4
        blind = models.create("Chance", seed=0).fit(split.train)
        assert 0.4 < number("foscttm", task.score(task.predict(blind, split), split)["foscttm"]) < 0.6


def test_cell_state_oracle_beats_chance(toy):
    task = CellState()
    (split,) = task.splits(toy)
    good = {m: number(m, v) for m, v in task.score(task.predict(Oracle(toy), split), split).items()}
    bad = task.score(task.predict(models.create("Chance", seed=0).fit(split.train), split), split)
    assert good["knn_accuracy_cross_donor"] == 1
    for metric in ("knn_accuracy", "knn_accuracy_cross_donor", "nmi", "ari", "label_asw", "clisi"):
        assert good[metric] > number(metric, bad[metric]) + 0.05


def test_imputation_truth_is_matched_by_name(toy):
    """Feeding the truth back, rows shuffled by the task's own query, gives correlation 1 and full coverage."""
    task = Imputation(("protein",))
    for split in task.splits(toy):
        tokenizer = ofm.pp.Tokenizer().fit(split.train)
        source = split.truth["source"]
        rows = [b for _, b in tokenizer.scaled(source, "protein")]
        values = pd.DataFrame(
            np.vstack([b.toarray() if hasattr(b, "toarray") else b for b in rows]),
            index=source.mod["protein"].obs_names,
            columns=tokenizer.var_names_["protein"],
        )

        class Truth:
            tokenizer_ = tokenizer
            known = values

            def impute(self, mdata, modality):
                mean = self.known.loc[mdata.obs_names]
                return Imputed(mean, mean * 0 + 1, mean - 1, mean + 1, 0.9, lambda x: x)

        scores = task.score(task.predict(Truth(), split), split)
        assert number("pearson_per_feature", scores["pearson_per_feature:protein"]) == pytest.approx(1)
        assert number("rmse_per_feature", scores["rmse_per_feature:protein"]) == pytest.approx(0)
        assert number("interval_coverage", scores["interval_coverage:protein"]) == 1


def test_annotation_truth_and_majority(toy):
    task = Annotation()

    class Truth:
        def __init__(self, split):
            self.split = split

        def annotate(self, mdata):
            label = self.split.truth["label"]
            unseen = label == self.split.truth.get("unseen")
            return pd.DataFrame({"label": label, "confidence": np.where(unseen, 0.1, 1.0), "unknown": unseen})

    for split in task.splits(toy):
        scores = {m: number(m, v) for m, v in task.score(task.predict(Truth(split), split), split).items()}
        if "unseen" in split.truth:
            assert scores == {"unknown_auroc": 1.0}
            continue
        assert scores["accuracy"] == scores["macro_f1"] == 1
        assert scores["expected_calibration_error"] == 0
        share = split.truth["label"].value_counts(normalize=True).max()
        majority = models.create("MajorityClass").fit(split.train)
        assert number("accuracy", task.score(task.predict(majority, split), split)["accuracy"]) <= share + 1e-9
