from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from omicsfm import InputError
from omicsfm.nn import Edges, GraphAttention, GraphConv

N, D = 12, 5


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Directed weights, not symmetric; node 3 has no edge at all, node 4 an own loop."""
    rng = np.random.default_rng(0)
    w = np.where(rng.random((N, N)) < 0.3, rng.gamma(2.0, size=(N, N)), 0.0)
    w[3], w[:, 3] = 0, 0
    w[4, 4] = 7.0
    return w


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(N, D)))


def looped(weights: np.ndarray) -> np.ndarray:
    return weights * (1 - np.eye(N)) + np.eye(N)


def dense_attention(layer: GraphAttention, x: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    """Attention over all pairs, with a mask: a formula that shares nothing with scatter."""
    y = (x @ layer.linear.weight.T).view(N, layer.n_heads, -1)
    out = []
    for head in range(layer.n_heads):
        source, target = y[:, head] @ layer.score_source[head], y[:, head] @ layer.score_target[head]
        score = torch.nn.functional.leaky_relu(target[:, None] + source[None, :], 0.2)
        share = torch.softmax(score + torch.log(torch.from_numpy(looped(weights))), dim=1)
        out.append(share @ y[:, head])
    return torch.cat(out, dim=1) + layer.bias


def test_convolution_is_its_dense_formula(weights, x):
    layer = GraphConv(D, 4).double()
    a = looped(weights)
    d = 1 / np.sqrt(a.sum(axis=1))
    expected = torch.from_numpy(d[:, None] * a * d) @ x @ layer.linear.weight.T + layer.linear.bias
    torch.testing.assert_close(layer(x, Edges.of(sparse.csr_matrix(weights), dtype=torch.float64)), expected)


@pytest.mark.parametrize("n_heads", [1, 3])
def test_attention_is_its_dense_formula(weights, x, n_heads):
    layer = GraphAttention(D, 6, n_heads=n_heads).double()
    edges = Edges.of(weights, dtype=torch.float64)
    torch.testing.assert_close(layer(x, edges), dense_attention(layer, x, weights))


@pytest.mark.parametrize("kind", [GraphConv, GraphAttention])
def test_gradients_are_right(weights, x, kind):
    layer = kind(D, 2).double()
    edges = Edges.of(weights, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: layer(z, edges), x.clone().requires_grad_(True))


@pytest.mark.parametrize("kind", [GraphConv, GraphAttention])
def test_the_order_of_nodes_does_not_matter_and_a_lone_node_hears_itself_alone(weights, x, kind):
    layer = kind(D, 4).double()
    order = np.random.default_rng(2).permutation(N)
    out = layer(x, Edges.of(weights, dtype=torch.float64))
    other = layer(x[order], Edges.of(weights[np.ix_(order, order)], dtype=torch.float64))
    torch.testing.assert_close(other, out[order])
    bias = layer.bias if kind is GraphAttention else layer.linear.bias
    torch.testing.assert_close(out[3], x[3] @ layer.linear.weight.T + bias)


def test_large_scores_do_not_overflow():
    edges = Edges.of(np.ones((3, 3)))
    share = edges.softmax(torch.full((9,), 500.0))
    torch.testing.assert_close(share, torch.full((9,), 1 / 3))


def test_duplicate_entries_are_one_edge_and_zeros_are_none():
    table = sparse.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    edges = Edges.of(table)
    assert (edges.source.tolist(), edges.target.tolist(), edges.weight.tolist()) == ([1], [0], [3.0])


@pytest.mark.parametrize("kind", [GraphConv, GraphAttention])
def test_same_generator_same_layer_and_the_global_one_is_left_alone(kind):
    state = torch.get_rng_state()
    one, two = (kind(D, 4, generator=torch.Generator().manual_seed(7)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input_is_told(weights, x):
    with pytest.raises(InputError, match=r"square .*\(2, 3\)"):
        Edges.of(np.ones((2, 3)))
    with pytest.raises(InputError, match="not negative"):
        Edges.of(-np.ones((2, 2)))
    with pytest.raises(InputError, match="one row for each node"):
        GraphConv(D, 2)(x[:-1].float(), Edges.of(weights))
    with pytest.raises(InputError, match="n_heads must divide"):
        GraphAttention(D, 4, n_heads=3)


def test_layers_agree_with_torch_geometric(weights, x):
    geometric = pytest.importorskip("torch_geometric.nn", reason="torch_geometric is optional")
    edges = Edges.of(weights, dtype=torch.float64)
    index = torch.stack([edges.source, edges.target])
    mine = GraphConv(D, 4).double()
    peer = geometric.GCNConv(D, 4).double()
    peer.load_state_dict({"lin.weight": mine.linear.weight, "bias": mine.linear.bias})
    other = edges.source != edges.target  # torch_geometric keeps an own loop's weight, Kipf's I does not
    torch.testing.assert_close(peer(x, index[:, other], edges.weight[other]), mine(x, edges))
    attention = GraphAttention(D, 6, n_heads=3).double()
    peer = geometric.GATConv(D, 2, heads=3).double()
    peer.load_state_dict(
        {
            "lin.weight": attention.linear.weight,
            "att_src": attention.score_source[None],
            "att_dst": attention.score_target[None],
            "bias": attention.bias,
        }
    )
    plain = Edges(edges.source, edges.target, torch.ones_like(edges.weight), N)
    torch.testing.assert_close(peer(x, index), attention(x, plain))
