"""A whole small run on real data: what is in the table, the verdicts, the file; and no score after a leak."""

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm import bench
from omicsfm.bench import Question, Results
from omicsfm.bench import _run as runner
from omicsfm.bench._compare import compare
from omicsfm.bench._results import COLUMNS
from omicsfm.models import _registry as registry
from omicsfm.tasks import Annotation, Finding, Imputation, MosaicIntegration

TINY = (
    Question("pbmc_mosaic", MosaicIntegration(), "LinearMosaic", ("CCA",), controls=("Chance",)),
    Question("pbmc_mosaic", Imputation(("protein",)), "LinearMosaic", ("MeanImputer", "RidgeImputer")),
    Question("pbmc_mosaic", Annotation(n_unseen=1), "LinearMosaic", ("MajorityClass", "LogisticLabels")),
)


@pytest.fixture(scope="module")
def tiny(omicsfm_data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner.SUITES, "tiny", TINY)
        path = tmp_path_factory.mktemp("bench") / "results.parquet"
        return bench.run("tiny", path, seeds=(0, 1)), path


def test_table_is_tidy_and_whole(tiny):
    table = tiny[0].table
    assert list(table.columns) == COLUMNS
    assert table.groupby(["task", "dataset", "method", "seed", "unit", "metric"]).size().max() == 1
    assert set(table.seed) == {0, 1}
    assert table.value.notna().all()
    assert (table.cpu_s > 0).all() and (table.peak_rss_mb > 0).all()
    assert set(table.task) == {"integration", "imputation", "annotation"}


def test_model_baselines_and_controls_keep_their_order(tiny):
    mean = tiny[0].table.groupby(["metric", "method"]).value.mean()
    assert mean["foscttm", "LinearMosaic"] < mean["foscttm", "CCA"] < 0.1 < mean["foscttm", "Chance"]
    assert mean["pearson_per_feature:protein", "LinearMosaic"] > mean["pearson_per_feature:protein", "RidgeImputer"]
    assert abs(mean["pearson_per_feature:protein", "MeanImputer"]) < 1e-6
    assert mean["accuracy", "LinearMosaic"] > 0.9 > mean["accuracy", "MajorityClass"]


def test_every_primary_metric_gets_a_verdict(tiny):
    verdicts = tiny[0].verdicts
    for question in TINY:
        mine = verdicts[verdicts.task == question.task.name]
        assert set(mine.metric.str.split(":").str[0]) == set(question.task.primary)
        assert set(mine.baseline) <= set(question.baselines)
    assert (verdicts.lower <= verdicts.difference).all() and (verdicts.difference <= verdicts.upper).all()
    assert (verdicts.p_holm >= verdicts.p - 1e-12).all()
    assert all(row.method in row.words and row.baseline in row.words for row in verdicts.itertuples())


def test_file_round_trip(tiny):
    results, path = tiny
    again = Results.load(path)
    pd.testing.assert_frame_equal(again.table, results.table)
    pd.testing.assert_frame_equal(again.verdicts, results.verdicts, check_dtype=False)
    pd.testing.assert_frame_equal(again.audit, results.audit)
    assert again.meta == results.meta and again.pictures == results.pictures


def test_pictures_and_meta_are_whole(tiny):
    results = tiny[0]
    assert results.audit.ok.all() and len(results.audit)
    assert set(results.pictures) == {"mask", "umap", "imputation"}
    assert sum(g["n"] for g in results.pictures["mask"]["groups"]) == 1600
    assert len(results.pictures["umap"]["x"]) == len(results.pictures["umap"]["label"]) == 1600
    assert 0.8 < results.pictures["imputation"]["coverage"] < 1
    assert results.meta["data"]["pbmc_mosaic"] and results.meta["limits"]


def test_a_leak_stops_the_run_before_any_score(omicsfm_data, tmp_path, monkeypatch):
    class Leaky(Annotation):
        def audit(self, split):
            return [Finding("labels of the question in training", "17", False)]

    monkeypatch.setitem(runner.SUITES, "leaky", (Question("pbmc_mosaic", Leaky(), "LinearMosaic", ("MajorityClass",)),))
    monkeypatch.setattr(runner, "umap_picture", lambda *_, **__: {})
    with pytest.raises(ofm.InputError, match="leak.*17"):
        bench.run("leaky", tmp_path / "r.parquet", seeds=(0,))
    assert not (tmp_path / "r.parquet").exists()


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ofm.InputError, match="quick"):
        bench.run("nope", tmp_path / "r.parquet")
    with pytest.raises(ofm.InputError, match="LinearMosaic"):
        bench.run("quick", tmp_path / "r.parquet", methods=["Nope"])


def test_questions_of_ones_own_and_a_model_of_ones_own(omicsfm_data, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(runner, "umap_picture", lambda *_, **__: {})
    monkeypatch.chdir(tmp_path)
    ofm.models.register("Mine", ofm.models.ConcatPCA)
    asked = Question("pbmc_mosaic", MosaicIntegration(), "Mine", ("CCA", "ConcatPCA"), controls=("Chance",))
    found = bench.run([asked], None, methods=["CCA", "ConcatPCA"], seeds=(0,))
    assert list(tmp_path.iterdir()) == []  # no file was asked for
    assert set(found.table["method"]) == {"Mine", "CCA", "ConcatPCA"}
    mean = found.table.groupby(["metric", "method"])["value"].mean()
    assert mean["foscttm", "Mine"] == mean["foscttm", "ConcatPCA"] != mean["foscttm", "CCA"]
    assert set(found.verdicts["method"]) == {"Mine"} and found.meta["suite"] == "your own"


@pytest.mark.parametrize(
    ("suite", "methods", "words"),
    [
        ([Question("pbmc_mosaic", MosaicIntegration(), "Nope", ("CCA",))], None, "no model 'Nope'"),
        ([], None, "list of questions"),
        (["quick"], None, "list of questions"),
        ("quick", ["CCA", "KNNPrior"], "no question names KNNPrior"),
    ],
)
def test_what_could_not_be_asked_is_refused_before_anything_is_fitted(suite, methods, words, tmp_path):
    with pytest.raises(ofm.InputError, match=words):
        bench.run(suite, tmp_path / "r.parquet", methods=methods)


def test_best_baseline_follows_the_direction_of_the_metric():
    rng = np.random.default_rng(0)
    question = Question("x", MosaicIntegration(), "A", ("B", "C"))
    values = {("foscttm", n): {u: [rng.random(50) * s] for u in "uv"} for n, s in (("A", 1), ("B", 0.2), ("C", 3))}
    (row,) = compare(question, values, {"A": 2.0, "B": 1.0, "C": 1.0}, seed=0)
    assert row["baseline"] == "B" and row["cost_ratio"] == 2
    assert row["comparison"].difference > 0


def test_results_load_says_what_is_wrong(tmp_path):
    with pytest.raises(ofm.InputError, match="no file"):
        Results.load(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ofm.InputError, match="not a parquet"):
        Results.load(tmp_path / "b.parquet")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(ofm.InputError, match="not ours"):
        Results.load(tmp_path / "c.parquet")
