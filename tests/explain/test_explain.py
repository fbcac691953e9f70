"""Explanations of models whose truth is known: linear in k-mers, or a detector of one motif."""

from __future__ import annotations

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm.seq._sequences import BASES

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
SEQUENCES = ["".join(RNG.choice(list(BASES), 24)) for _ in range(4)]
WITH_N = ["ACGTNACGTTGCANNACGTACCCA", SEQUENCES[0]]


class Detector(torch.nn.Module):
    """Scores the best site of one word, as a convolution, a rectifier and a maximum."""

    def __init__(self, word: str = "TGACTCA", pooled: bool = True) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 2, len(word))
        self.relu, self.drop = torch.nn.ReLU(), torch.nn.Dropout(0.9)
        self.pool = torch.nn.AdaptiveMaxPool1d(1) if pooled else torch.nn.AdaptiveAvgPool1d(1)
        with torch.no_grad():
            self.conv.weight.zero_()
            for i, base in enumerate(word):
                self.conv.weight[0, BASES.index(base), i] = 1
            self.conv.bias.copy_(torch.tensor([2.0 - len(word), 0.1]))

    def forward(self, x):
        return self.drop(self.pool(self.relu(self.conv(x))))[:, :, 0]


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("sequences", [SEQUENCES, WITH_N])
def test_mutagenesis_of_a_linear_kmer_model_is_exact(sequences, canonical):
    weights = RNG.normal(size=len(ofm.seq.kmer_names(3, canonical=canonical)))

    def score(strings):
        return ofm.seq.kmer(strings, k=3, canonical=canonical) @ weights + 5

    wanted = ofm.explain.kmer_mutagenesis(weights, sequences, 3, canonical=canonical)
    found = ofm.explain.mutagenesis(score, sequences)
    assert found.shape == (len(sequences), 24, 4)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    # One change by hand.
    mutant = sequences[0][:7] + "G" + sequences[0][8:]
    np.testing.assert_allclose(found[0, 7, 2], score([mutant])[0] - score(sequences[:1])[0], atol=1e-5)
    contributions = ofm.explain.kmer_contributions(weights, sequences, 3, canonical=canonical)
    np.testing.assert_allclose(contributions.sum(axis=1) + 5, score(sequences), atol=1e-5)


def test_importance_is_what_the_loss_of_a_base_costs():
    effects = ofm.explain.mutagenesis(lambda s: np.array([x.count("A") for x in s]), ["ACNA"])
    assert effects[0].tolist() == [[0, -1, -1, -1], [1, 0, 0, 0], [1, 0, 0, 0], [0, -1, -1, -1]]
    np.testing.assert_allclose(ofm.explain.importance(effects, ["ACNA"])[0], [1, -1 / 3, 0, 1], atol=1e-6)


def test_a_module_and_an_estimator_and_a_function_are_asked_alike():
    net = Detector().train()

    class Estimator:
        classes_ = np.array(["no", "yes"])

        def predict_proba(self, sequences):
            x = torch.from_numpy(ofm.seq.one_hot(sequences)).transpose(1, 2).float()
            with torch.no_grad():
                return Detector().eval()(x)[:, [1, 0]].numpy()

    by_module = ofm.explain.mutagenesis(net, SEQUENCES, target=0)
    assert net.training  # it was asked without dropout, and is given back as it was
    np.testing.assert_allclose(by_module, ofm.explain.mutagenesis(Estimator(), SEQUENCES), atol=1e-6)
    np.testing.assert_allclose(by_module, ofm.explain.mutagenesis(Estimator(), SEQUENCES, target="yes"), atol=1e-6)
    function = Estimator().predict_proba
    np.testing.assert_allclose(by_module, ofm.explain.mutagenesis(function, SEQUENCES, target=1), atol=1e-6)
    with pytest.raises(ofm.InputError, match=r"target must be one of \['no', 'yes'\], found 'maybe'"):
        ofm.explain.mutagenesis(Estimator(), SEQUENCES, target="maybe")
    with pytest.raises(ofm.InputError, match="target must be one of 0 to 1, found 2"):
        ofm.explain.mutagenesis(net, SEQUENCES, target=2)


def test_gradient_of_a_linear_network_is_its_weights():
    weight = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))

    class Linear(torch.nn.Module):
        def forward(self, x):
            return (x.transpose(1, 2) * weight).sum(dim=(1, 2))

    found = ofm.explain.gradient(Linear(), WITH_N)
    x = ofm.seq.one_hot(WITH_N)
    centred = weight.numpy() - weight.numpy().mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, (x * centred).sum(axis=2), atol=1e-5)
    assert (found[0][[4, 13, 14]] == 0).all()
    # Of a linear score, losing a base costs just that, by 4/3: the mean is over the other three.
    effects = ofm.explain.mutagenesis(Linear(), SEQUENCES)
    np.testing.assert_allclose(
        ofm.explain.importance(effects, SEQUENCES), ofm.explain.gradient(Linear(), SEQUENCES) * 4 / 3, atol=1e-5
    )


def test_deeplift_shares_out_the_difference_to_shuffles():
    pytest.importorskip("tangermeme", reason="needs the extra `seq`")
    net = Detector(pooled=False)
    sequences = [s[:8] + "TGACTCA" + s[15:] for s in SEQUENCES]
    state = torch.random.get_rng_state()
    found = ofm.explain.deeplift(net, sequences, target=0, n_references=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    score = lambda s: net.eval()(torch.from_numpy(ofm.seq.one_hot(s)).transpose(1, 2).float())[:, 0].detach().numpy()  # noqa: E731
    # The first sequence's references are those of shuffled(seed=0); each further one has its own seed.
    references = ofm.explain.shuffled(sequences[:1], n=5, seed=0)
    np.testing.assert_allclose(found[0].sum(), score(sequences[:1])[0] - score(references).mean(), atol=1e-5)
    assert found[:, 8:15].sum() > 0.7 * found.sum()
    assert np.array_equal(found, ofm.explain.deeplift(net, sequences, target=0, n_references=5))
    assert not np.array_equal(found, ofm.explain.deeplift(net, sequences, target=0, n_references=5, seed=9))
    with pytest.raises(ofm.InputError, match="bases must be known"):
        ofm.explain.deeplift(net, WITH_N, target=0)

    class Hidden(torch.nn.Module):  # a product of inputs, which no rule of DeepLIFT sees
        def forward(self, x):
            return (x[:, 0].sum(dim=1) * x[:, 1].cumsum(dim=1).pow(3).mean(dim=1))[:, None]

    with pytest.warns(ofm.OmicsfmWarning, match="attributions miss the difference"):
        ofm.explain.deeplift(Hidden(), ["ACCA" * 6, "AACC" * 6, "CACAGTGACCAATTGACGTAGGCA"], n_references=5)


def test_shuffles_keep_pairs_of_bases():
    pytest.importorskip("tangermeme", reason="needs the extra `seq`")
    out = ofm.explain.shuffled(SEQUENCES, n=3, seed=1)
    assert len(out) == 12
    for i, shuffle in enumerate(out):
        assert (ofm.seq.kmer([shuffle], k=2) != ofm.seq.kmer([SEQUENCES[i // 3]], k=2)).nnz == 0
    assert set(out) - set(SEQUENCES)
    assert out == ofm.explain.shuffled(SEQUENCES, n=3, seed=1)


def test_a_motif_is_put_into_backgrounds():
    backgrounds = ["A" * 30, "C" * 30, *(s + s[:6] for s in SEQUENCES), "T" * 30]
    counts = np.zeros((4, 7))
    for i, base in enumerate("TGACTCA"):
        counts[BASES.index(base), i] = 9
    motifs = {"AP-1": "tgactca", "matrix": counts, "half": "TGA"}
    found = ofm.explain.marginal_effects(Detector(), motifs, backgrounds, target=0, position=3)
    assert found["n"].tolist() == [7, 7, 7]
    assert np.allclose(found.loc["AP-1"], found.loc["matrix"])  # a matrix of certain bases draws just them
    net = Detector().eval()

    def score(sequences):
        with torch.no_grad():
            return net(torch.from_numpy(ofm.seq.one_hot(sequences)).transpose(1, 2).float())[:, 0].numpy()

    wanted = score([b[:3] + "TGACTCA" + b[10:] for b in backgrounds]) - score(backgrounds)
    assert found.loc["AP-1", "effect"] == pytest.approx(wanted.mean(), abs=1e-6)
    assert found.loc["AP-1", "low"] > 0
    assert found.loc["half", "effect"] < found.loc["AP-1", "effect"]
    with pytest.raises(ofm.InputError, match="'AP-1' of 7 bases does not fit at position 28"):
        ofm.explain.marginal_effects(Detector(), motifs, backgrounds, target=0, position=28)
    with pytest.raises(ofm.InputError, match="must be a word over A, C, G, T"):
        ofm.explain.marginal_effects(Detector(), {"x": "TGANTCA"}, backgrounds, target=0)


def test_words_of_a_matrix_are_drawn_by_its_counts():
    seen = []

    def score(sequences):
        seen.append(list(sequences))
        return np.zeros(len(sequences))

    counts = np.array([[3.0, 0], [0, 1], [1, 1], [0, 0]])
    ofm.explain.marginal_effects(score, {"m": counts}, ["TTTT"] * 4000, position=1)
    words = np.array([list(s) for s in seen[1]])
    assert (words[:, [0, 3]] == "T").all()
    assert (words[:, 1] == "A").mean() == pytest.approx(0.75, abs=0.03)
    assert (words[:, 2] == "C").mean() == pytest.approx(0.5, abs=0.03)
    assert set(words[:, 1]) == {"A", "G"}


@pytest.mark.slow  # memelite compiles for a minute or two, once
def test_a_filter_is_found_in_jaspar():
    pytest.importorskip("memelite", reason="needs the extra `seq`")
    pytest.importorskip("pyjaspar", reason="needs the extra `seq`")
    known = ofm.seq.read_motifs("JASPAR2024")
    names = [name for name in known if name.endswith((" GATA1", " CTCF", " SPI1"))][:3]
    assert len(names) == 3
    width = 7
    net = torch.nn.Sequential(torch.nn.Conv1d(4, 4, width), torch.nn.ReLU())
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(BASES), 60)) for _ in range(300)]
    with torch.no_grad():
        net[0].weight.zero_()
        for i, name in enumerate(names):
            p = (known[name] + 0.2) / (known[name].sum(axis=0) + 0.8)
            best = np.argmax(np.convolve((p * np.log2(p / 0.25)).sum(axis=0), np.ones(width), "valid"))
            net[0].weight[i] = torch.from_numpy(np.log2(p / 0.25)[:, best : best + width])
            word = "".join(BASES[b] for b in known[name].argmax(axis=0))
            sequences[i::10] = [s[:20] + word + s[20 + len(word) :] for s in sequences[i::10]]
        net[0].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0]))  # the last one sees nothing
    found = ofm.explain.filter_motifs(net, sequences)
    assert list(found) == ["filter 0", "filter 1", "filter 2"]
    assert all(m.shape == (4, width) for m in found.values())
    matches = ofm.explain.match_motifs(found, "JASPAR2024", n_nearest=10)
    for i, name in enumerate(names):
        near = matches[matches["motif"] == f"filter {i}"]
        assert name in set(near["match"]), near
        assert near["p"].is_monotonic_increasing and near["q"].iloc[0] < 0.05
    itself = ofm.explain.match_motifs({names[0]: known[names[0]]}, "JASPAR2024")
    assert itself.loc[0, "match"] == names[0] and itself.loc[0, "strand"] == "+"
    other = ofm.explain.match_motifs({"rc": known[names[0]][::-1, ::-1]}, "JASPAR2024")
    assert other.loc[0, "match"] == names[0] and other.loc[0, "strand"] == "-"


def test_counts_of_a_filter_by_hand():
    net = torch.nn.Conv1d(4, 1, 2)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[0, 0, 0], net.weight[0, 2, 1], net.bias[0] = 1.0, 1.0, 0.0  # "AG" 2, "A?" and "?G" 1
    (counts,) = ofm.explain.filter_motifs(net, ["AGAAGC", "TTTTTT"]).values()
    assert counts.tolist() == [[2, 0], [0, 0], [0, 2], [0, 0]]
    (counts,) = ofm.explain.filter_motifs(net, ["AGAAGC", "TTTTTT"], threshold=0.4).values()
    assert counts.tolist() == [[3, 1], [0, 0], [0, 2], [0, 0]]
    with pytest.raises(ofm.InputError, match="first convolution reads 4 channels"):
        ofm.explain.filter_motifs(torch.nn.Linear(4, 2), SEQUENCES)


def test_a_true_explanation_is_faithful_and_its_opposite_is_not():
    weights = np.random.default_rng(3).normal(size=64)
    sequences = ["".join(np.random.default_rng(i).choice(list(BASES), 40)) for i in range(12)]

    def score(strings):
        return ofm.seq.kmer(strings, k=3) @ weights

    true = ofm.explain.kmer_contributions(weights, sequences, 3)
    found = ofm.explain.faithfulness(score, sequences, true, n_random=3)
    assert found.deletion.low > 0 and found.insertion.low > 0
    reverse = ofm.explain.faithfulness(score, sequences, -true, n_random=3)
    assert reverse.deletion.high < 0 and reverse.insertion.high < 0
    none = ofm.explain.faithfulness(score, sequences, np.zeros((12, 40)), n_random=3)
    assert none.deletion.low < 0 < none.deletion.high
    curves = found.curves.set_index(["curve", "order", "fraction"])["score"]
    start = score(sequences).mean()
    for order in ("attribution", "random"):
        assert curves["deletion", order, 0.0] == pytest.approx(start)
        assert curves["insertion", order, 1.0] == pytest.approx(start)
        # Deleting all is inserting none.
        assert curves["deletion", order, 1.0] == pytest.approx(curves["insertion", order, 0.0])
    assert curves["deletion", "attribution", 1.0] == pytest.approx(curves["deletion", "random", 1.0])
    again = ofm.explain.faithfulness(score, sequences, true, n_random=3)
    assert again.curves.equals(found.curves)
    with pytest.raises(ofm.InputError, match=r"finite attributions of shape \(12, 40\)"):
        ofm.explain.faithfulness(score, sequences, true[:, 1:])


def test_taken_away_means_another_base():
    seen = []

    def score(strings):
        seen.extend(strings)
        return np.zeros(len(strings))

    ofm.explain.faithfulness(score, ["ACGTNACGT"], np.zeros((1, 9)), steps=1, n_random=40)
    gone = {s for s in seen if s != "ACGTNACGT"}
    assert len(gone) > 10
    assert all(a != b for s in gone for a, b in zip(s, "ACGTNACGT", strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ofm.explain.mutagenesis(len, ["ACG", "AC"]), "sequences of one length"),
        (lambda: ofm.explain.mutagenesis("net", ["ACG"]), "found str"),
        (lambda: ofm.explain.mutagenesis(lambda s: np.zeros((1, 3)), ["ACG"]), "target must be one of 0 to 2"),
        (lambda: ofm.explain.mutagenesis(lambda s: np.zeros(7), ["ACG"]), r"must give \(1,\) or \(1, n_targets\)"),
        (lambda: ofm.explain.mutagenesis(len, ["AXG"]), "letters must be"),
        (lambda: ofm.explain.kmer_contributions(np.zeros(15), ["ACG"], 2), "16 coefficients"),
        (lambda: ofm.explain.gradient(len, ["ACG"]), "a torch module was needed"),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises(ofm.InputError, match=words):
        call()


def test_a_sequence_model_is_explained_by_what_it_was_taught():
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(BASES), 40)) for _ in range(200)]
    labels = np.array(["with", "without"] * 100)
    sequences[::2] = [s[:16] + "TGACTCA" + s[23:] for s in sequences[::2]]
    model = ofm.models.SequenceModel(encoder="kmer", both_strands=False).fit(sequences[:160], labels[:160])
    shown = sequences[160:180:2]
    effects = ofm.explain.mutagenesis(model, shown, target="with")
    opposite = ofm.explain.mutagenesis(model, shown)  # of two classes the second
    np.testing.assert_allclose(effects, -opposite, atol=1e-6)
    p = model.predict_proba([shown[0], shown[0][:18] + "T" + shown[0][19:]])[:, 0]
    assert effects[0, 18, BASES.index("T")] == pytest.approx(p[1] - p[0], abs=1e-6)
    found = ofm.explain.importance(effects, shown)
    assert found[:, 16:23].mean() > 5 * np.abs(found[:, :14]).mean()
    judged = ofm.explain.faithfulness(model, shown, found, target="with", steps=20, n_random=2)
    assert judged.deletion.low > 0
