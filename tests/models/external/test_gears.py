"""GEARS: its graphs, the cells it is given, its network against our copy of its last part, and what it refuses."""

import os
import random
import sys

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, _compat, contract, hub, testing
from omicsfm._optional import MissingDependency
from omicsfm.models.external import _gears, gears
from omicsfm.models.external.gears import GEARS

DESIGN = pd.DataFrame({"perturbation": ["A", "C+D", "D+A", "ctrl"]})


@pytest.fixture(scope="module")
def peer():
    with _compat.silent():
        pytest.importorskip("torch_geometric", reason="torch_geometric is not installed", exc_type=ImportError)
        return pytest.importorskip("gears", reason="cell-gears is not installed", exc_type=ImportError)


@pytest.fixture(scope="module")
def screen():
    mdata = testing.toy_screen()
    mdata = contract.subset(mdata, (mdata.obs["cell_type"] == "T").to_numpy())
    mdata.mod["rna"].var_names = ["A", "NEAR", "FAR", *(f"GENE{i}" for i in range(27))]
    return mdata


@pytest.fixture(scope="module")
def annotation(tmp_path_factory):
    """A and NEAR share terms; FAR has one of its own, the other genes have none."""
    pairs = [("A", "t1"), ("A", "t2"), ("NEAR", "t1"), ("NEAR", "t1"), ("FAR", "t3"), ("B", "t4"), ("C", "t4")]
    path = tmp_path_factory.mktemp("go") / "go.csv"
    pd.DataFrame(pairs, columns=["symbol", "go_id"]).to_csv(path, index=False)
    return path


@pytest.fixture
def make(annotation):
    return lambda **more: GEARS(1, n_hidden=8, annotation=str(annotation), **more)


@pytest.fixture(scope="module")
def fitted(peer, screen, annotation):
    """The model, and the network it was taken from."""
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        original = GEARS._keep
        patch.setattr(GEARS, "_keep", lambda self, network: original(self, kept.setdefault("network", network)))
        return GEARS(1, n_hidden=8, annotation=str(annotation)).fit(screen), kept["network"]


def test_go_graph_agrees_with_sets_of_terms(tmp_path):
    rng = np.random.default_rng(0)
    genes = pd.Index([f"g{i}" for i in range(40)])
    terms = {g: set(rng.choice([f"t{i}" for i in range(12)], rng.integers(0, 7))) for g in genes}
    rows = [(g, t) for g, found in terms.items() for t in [*found, *found]] + [("elsewhere", "t1")]
    pd.DataFrame(rows, columns=["symbol", "go_id"]).to_csv(tmp_path / "go.csv", index=False)
    for block in (7, 1024):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_gears, "BLOCK_ROWS", block)
            links, weights = _gears.go_graph(genes, tmp_path / "go.csv")
        found = {(genes[a], genes[b]): w for (a, b), w in zip(links.T, weights, strict=True)}
        for b in genes:
            best = {}
            for a in genes:
                union = terms[a] | terms[b]
                if union and len(terms[a] & terms[b]) / len(union) > 0.1:
                    best[a] = len(terms[a] & terms[b]) / len(union)
            mine = {a: w for (a, goal), w in found.items() if goal == b}
            expected = sorted(best.values())[-21:]
            np.testing.assert_allclose(sorted(mine.values()), expected, rtol=1e-6)
            assert all(best[a] == pytest.approx(w) for a, w in mine.items())


def test_correlation_graph_keeps_strong_links_of_either_sign():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype(np.float32)
    x[:, 1] = -x[:, 0] + 0.1 * x[:, 1]
    x[:, 4] = 2.0
    links, weights = _gears.correlation_graph(x)
    found = dict(zip(map(tuple, links.T.tolist()), weights, strict=True))
    assert set(found) == {(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0)}
    assert found[0, 1] == pytest.approx(abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]), rel=1e-4)


def test_a_perturbed_cell_starts_from_a_control_and_a_control_from_itself(peer):
    x = np.arange(18, dtype=np.float32).reshape(6, 3)
    names = np.array(["ctrl", "A+B", "ctrl", "B", "B", "ctrl"])
    effects = pd.DataFrame([[0.1, -3.0, 2.0], [5.0, 0.0, -6.0]], index=["A+B", "B"])
    graphs = _gears.Graphs(x, names, pd.Index(["A", "B", "C"]), effects, np.random.default_rng(0))
    some = graphs.of(np.array([1, 3, 5]))
    double, single, control = (some[i] for i in range(len(some)))
    assert double.pert_idx == [0, 1] and single.pert_idx == [1] and control.pert_idx == [-1]
    assert double.de_idx == [1, 2, 0] and single.de_idx == [2, 0, 1] and control.de_idx == [-1] * 3
    for graph, row in ((double, 1), (single, 3), (control, 5)):
        assert graph.y.shape == (1, 3) and graph.x.shape == (3, 1)
        assert np.array_equal(graph.y.numpy()[0], x[row])
    assert all(any(np.array_equal(g.x.numpy()[:, 0], x[r]) for r in (0, 2, 5)) for g in (double, single))
    assert np.array_equal(control.x.numpy()[:, 0], x[5])


def test_the_effect_is_what_the_network_adds_to_any_cell_but_the_first_of_a_batch(fitted, screen):
    model, network = fitted
    import torch
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

    members = {"A": ["A"], "C+D": ["C", "D"], "D+A": ["A", "D"]}
    asked = model.respond(DESIGN).mean
    rng = np.random.default_rng(0)
    for name, parts in members.items():
        x = torch.tensor(rng.gamma(1, 1, size=(4, 30)), dtype=torch.float32)
        where = model.targets_.get_indexer(parts).tolist()
        batch = next(iter(DataLoader([Data(x=row[:, None], pert_idx=where, pert=name) for row in x], 4)))
        with torch.no_grad():
            added = (network(batch) - x).numpy()
        # The first cell alone is reached by the co-expression graph: it is the odd one.
        mine = asked.iloc[list(members).index(name)].to_numpy()
        np.testing.assert_allclose(added[1:], np.tile(mine, (3, 1)), atol=2e-5)
        assert np.abs(added[0] - mine).max() > 2e-5
    assert asked.iloc[3].eq(0).all() and asked.iloc[:3].abs().to_numpy().min(axis=1).max() > 0


def test_members_add_up_before_the_network_not_after(fitted):
    model, _ = fitted
    mean = model.respond(DESIGN).mean
    singles = model.respond(pd.DataFrame({"perturbation": ["D", "A"]})).mean
    assert not np.allclose(mean.iloc[2], singles.sum(), atol=1e-3)


def test_unseen_targets_need_shared_terms(fitted):
    model, _ = fitted
    assert model.respond(pd.DataFrame({"perturbation": ["NEAR"]})).mean.notna().all(axis=None)
    for name in ("FAR", "GENE3", "Z", "A+Z"):  # a term of its own, no terms, no such gene
        with pytest.raises(InputError, match="cannot be predicted"):
            model.respond(pd.DataFrame({"perturbation": [name]}))


def test_same_seed_same_bits_and_another_seed_other_ones(peer, make, screen):
    first, second, other = (make(seed=s).fit(screen).respond(DESIGN).mean for s in (3, 3, 4))
    assert first.equals(second) and not first.equals(other)


def test_epochs_are_chosen_by_cells_held_out_of_training(peer, make, screen, monkeypatch):
    seen = {}
    import torch_geometric.loader as loaders

    class Loader(loaders.DataLoader):
        def __init__(self, graphs, **kwargs):
            seen.setdefault("rows", []).append(graphs.rows)
            super().__init__(graphs, **kwargs)

    monkeypatch.setattr(loaders, "DataLoader", Loader)
    make().fit(screen)
    train, held = seen["rows"]
    assert len(np.intersect1d(train, held)) == 0 and len(train) + len(held) == screen.n_obs
    assert not (screen.obs["condition"].to_numpy()[held] == "ctrl").any() and len(held) == 16


def test_nothing_is_left_behind(peer, make, screen, tmp_path, monkeypatch, capfd):
    import scanpy
    import torch

    monkeypatch.chdir(tmp_path)
    scanpy.settings.verbosity = 2
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )
    make().fit(screen).respond(DESIGN)
    after = (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )
    assert before == after and os.listdir() == [] and capfd.readouterr() == ("", "")
    assert scanpy.settings.verbosity == 2
    scanpy.settings.verbosity = 1


def test_a_saved_model_answers_the_same(fitted, tmp_path):
    model, _ = fitted
    again = hub.load(hub.save(model, tmp_path / "model"))
    assert again.respond(DESIGN).mean.equals(model.respond(DESIGN).mean)


def test_two_contexts_doses_and_effects_alone_are_refused(make, screen):
    with pytest.raises(InputError, match="one context, found 2"):
        make().fit(testing.toy_screen())
    with pytest.raises(InputError, match="learns from cells"):
        make().fit_effects(pd.DataFrame(np.eye(2)), pd.DataFrame({"perturbation": ["A", "B"]}))


def test_without_the_peer_one_error_tells_how_to_install_it(make, screen, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(MissingDependency, match="cell-gears.*torch-geometric"):
        make().fit(screen)


def test_the_registered_annotation_links_real_genes(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    genes = pd.Index(["MAP2K3", "MAP2K6", "KLF1", "NOT_A_GENE"])
    path = gears.datasets.fetch("priors")[gears.GO]
    links, weights = _gears.go_graph(genes, path)
    found = {(genes[a], genes[b]): w for (a, b), w in zip(links.T, weights, strict=True)}
    assert found["MAP2K3", "MAP2K3"] == 1 and found["MAP2K3", "MAP2K6"] == found["MAP2K6", "MAP2K3"] > 0.1
    assert ("KLF1", "MAP2K3") not in found and not any("NOT_A_GENE" in pair for pair in found)
