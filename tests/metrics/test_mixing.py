"""LISI, graph connectivity, silhouette, NMI and ARI, against scib-metrics (one import: jax is slow) and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omicsfm import InputError
from omicsfm.metrics import (
    METRICS,
    Neighbors,
    ari,
    clisi,
    graph_connectivity,
    ilisi,
    kmeans_clusters,
    label_asw,
    lisi,
    neighbors,
    nmi,
)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05])
    batch = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 5)) + 1.5 * np.eye(4, 5)[label] + 0.4 * batch[:, None]
    return x, np.array(list("abcd"))[label], batch


def test_parity_with_scib_metrics(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not ours to mend
        import scib_metrics
        from scib_metrics.nearest_neighbors import NeighborsResults

        x, label, batch = cells
        nb = neighbors(x, 45)
        # scib-metrics counts the cell among its own neighbours and gives it no weight.
        own = np.arange(len(x))[:, None]
        theirs = NeighborsResults(
            np.hstack([own, nb.indices]).astype(np.int32), np.hstack([np.zeros(own.shape), nb.distances])
        )
        expected = {
            "ilisi": scib_metrics.ilisi_knn(theirs, batch, perplexity=15),
            "clisi": scib_metrics.clisi_knn(theirs, label, perplexity=15),
            "graph_connectivity": scib_metrics.graph_connectivity(theirs.subset_neighbors(6), label),
            "label_asw": scib_metrics.silhouette_label(x, label),
        }
        expected_lisi = scib_metrics.lisi_knn(theirs, label, perplexity=15)
    ours = {
        "ilisi": ilisi(nb, batch, perplexity=15),
        "clisi": clisi(nb, label, perplexity=15),
        "graph_connectivity": graph_connectivity(nb.first(5), label),
        "label_asw": label_asw(x, label),
    }
    for name, values in ours.items():
        assert METRICS[name].score(values) == pytest.approx(expected[name], abs=2e-4), name
    assert 0.1 < expected["graph_connectivity"] < 0.95  # neither end, where any formula would agree
    np.testing.assert_allclose(lisi(nb, label), expected_lisi, rtol=2e-3)


def test_lisi_by_hand():
    # Equally near neighbours have equal weights: shares 3/6, 2/6, 1/6.
    nb = Neighbors(np.tile([1, 2, 3, 4, 5, 6], (7, 1)), np.ones((7, 6)))
    np.testing.assert_allclose(lisi(nb, list("xaaabbc")), 1 / (0.25 + 1 / 9 + 1 / 36))


def test_lisi_reaches_its_ends():
    rng = np.random.default_rng(0)
    apart = np.vstack([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 1e4])
    side = np.repeat(["a", "b"], 60)
    np.testing.assert_allclose(lisi(neighbors(apart, 15), side), 1, atol=1e-9)
    assert np.median(ilisi(neighbors(rng.normal(size=(3000, 2)), 90), rng.integers(0, 2, 3000))) > 0.9


@given(st.integers(4, 40), st.integers(1, 4), st.integers(0, 50), st.floats(1e-9, 1e9))
def test_lisi_bounds_and_scale(n, n_labels, seed, scale):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_labels, n)
    nb = neighbors(rng.normal(size=(n, 2)), min(n - 1, 9))
    values = lisi(nb, label)
    assert values.min() >= 1
    assert values.max() <= len(np.unique(label))
    np.testing.assert_allclose(lisi(Neighbors(nb.indices, nb.distances * scale), label), values, rtol=1e-3)


@pytest.mark.parametrize("perplexity", [0.5, 6, 90])
def test_lisi_needs_a_perplexity_that_k_neighbours_can_have(perplexity):
    nb = neighbors(np.random.default_rng(0).normal(size=(20, 2)), 6)
    with pytest.raises(InputError, match="perplexity must be at least 1 and below .* with k=6"):
        lisi(nb, np.zeros(20), perplexity=perplexity)


def test_graph_connectivity_by_hand():
    x = np.array([[0.0], [1.0], [2.1], [50.0], [51.0], [100.0]])
    nb = neighbors(x, 1)
    # 0 and 1 name each other, 2 names 1 but nobody names 2; 3 and 4 name each other; 5 stands alone.
    np.testing.assert_allclose(graph_connectivity(nb, list("aaaaab")), [2 / 5, 1])
    np.testing.assert_allclose(graph_connectivity(nb, list("aaabbc")), [2 / 3, 1, 1])


def test_silhouette_of_a_lone_cell_and_of_cells_without_company():
    x = np.array([[0.0], [0.1], [9.0]])
    assert label_asw(x, ["a", "a", "b"])[2] == 0.5
    assert np.isnan(label_asw(x, ["a", "b", "c"])).all()


def test_kmeans_clusters_recover_labels_and_repeat(cells):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 90)
    x = rng.normal(size=(90, 2)) + 40 * np.eye(3, 2)[label]
    first = kmeans_clusters(x, 3, seed=1)
    np.testing.assert_array_equal(first, kmeans_clusters(x, 3, seed=1))
    assert nmi(label, first) == pytest.approx(1)
    assert ari(label, first) == pytest.approx(1)
    with pytest.raises(InputError, match="1 to the 90 different rows of `x`, found 91"):
        kmeans_clusters(x, 91)


def test_ari_and_nmi_by_hand():
    label, cluster = [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]  # contingency table: 2 1 / 0 2
    # Pairs together in both 2, in each 4, of 10: expected 4 * 4 / 10.
    assert ari(label, cluster) == pytest.approx((2 - 1.6) / (4 - 1.6))
    shared = sum(p * np.log(p / q) for p, q in ((0.4, 0.6 * 0.4), (0.2, 0.6 * 0.6), (0.4, 0.4 * 0.6)))
    assert nmi(label, cluster) == pytest.approx(shared / -(0.6 * np.log(0.6) + 0.4 * np.log(0.4)))
