"""The ports of SpliceAI and MTSplice, against numpy and against a splice site that is known."""

from __future__ import annotations

import json
from importlib.util import find_spec

import h5py
import numpy as np
import pytest

import omicsfm as ofm

torch = pytest.importorskip("torch")
from omicsfm.seq._keras_net import KerasNet, wheel_file  # noqa: E402
from omicsfm.seq._splice_nets import PUBLISHED  # noqa: E402

needs_spliceai = pytest.mark.skipif(not find_spec("spliceai"), reason="the wheel `spliceai` is not installed")
needs_mmsplice = pytest.mark.skipif(not find_spec("mmsplice"), reason="the wheel `mmsplice` is not installed")
not_commercial = pytest.mark.filterwarnings("ignore:seq.embedder. the weights of 'spliceai':omicsfm.OmicsfmWarning")


def keras_file(path, *, dilation: int = 2):
    """A model as Keras writes it: two convolutions, a normalisation, a sum."""
    rng = np.random.default_rng(0)

    def layer(kind, name, parents, **config):
        nodes = [[[parent, 0, 0, {}] for parent in parents]] if parents else []
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}

    conv = {"padding": "same", "use_bias": True}
    layers = [
        layer("InputLayer", "in", []),
        layer("Conv1D", "first", ["in"], kernel_size=[1], dilation_rate=[1], activation="linear", **conv),
        layer("BatchNormalization", "norm", ["first"], epsilon=1e-3),
        layer("Conv1D", "second", ["norm"], kernel_size=[3], dilation_rate=[dilation], activation="relu", **conv),
        layer("Add", "sum", ["second", "first"]),
    ]
    weights = {
        "first": {"kernel": rng.normal(size=(1, 4, 5)), "bias": rng.normal(size=5)},
        "norm": {
            "gamma": rng.normal(size=5),
            "beta": rng.normal(size=5),
            "moving_mean": rng.normal(size=5),
            "moving_variance": rng.uniform(0.5, 2, size=5),
        },
        "second": {"kernel": rng.normal(size=(3, 5, 5)), "bias": rng.normal(size=5)},
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        group = file.create_group("model_weights")
        for made in layers:
            stored = group.create_group(made["name"])
            values = weights.get(made["name"], {})
            stored.attrs["weight_names"] = [f"{made['name']}/{key}:0".encode() for key in values]
            for key, value in values.items():
                stored[f"{made['name']}/{key}:0"] = value.astype(np.float32)
    return weights


def test_a_keras_model_by_hand(tmp_path):
    w = keras_file(tmp_path / "net.h5")
    x = ofm.seq.one_hot(["ACGTNACCA"])[0].astype(float)
    first = x @ w["first"]["kernel"][0] + w["first"]["bias"]
    norm = (first - w["norm"]["moving_mean"]) / np.sqrt(w["norm"]["moving_variance"] + 1e-3)
    norm = np.pad(norm * w["norm"]["gamma"] + w["norm"]["beta"], ((2, 2), (0, 0)))  # "same": two steps of 2 beside
    second = sum(norm[2 * i : 2 * i + 9] @ w["second"]["kernel"][i] for i in range(3)) + w["second"]["bias"]
    wanted = np.maximum(second, 0) + first
    (found,) = KerasNet(tmp_path / "net.h5")(torch.tensor(x.T[None], dtype=torch.float32), ["sum"])
    np.testing.assert_allclose(found[0].numpy().T, wanted, atol=1e-5)


def test_the_random_twin_of_a_keras_model(tmp_path):
    keras_file(tmp_path / "net.h5")
    state = torch.random.get_rng_state()
    trained, twin, again, other = (KerasNet(tmp_path / "net.h5", seed).state_dict() for seed in (None, 0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in twin.items():
        assert torch.equal(value, again[name])
        if name.endswith("kernel"):
            assert not torch.equal(value, trained[name]) and not torch.equal(value, other[name])
            n_out, n_in, width = value.shape
            bound = (6 / ((n_in + n_out) * width)) ** 0.5
            assert 0.6 * bound < value.abs().max() <= bound
        else:
            assert (value == (1 if name.endswith(("gamma", "moving_variance")) else 0)).all()


# HBB, human chromosome 11: exon 1 from the start codon on, intron 1, the first bases of exon 2 (coding strand).
HBB = (
    "ACATTTGCTTCTGACACAACTGTGTTCACTAGCAACCTCAAACAGACACCATGGTGCATCTGACTCCTGAGGAGAAGTCTGCCGTTACTGCCCTGTGGGGCAAGGTGAACGTGGATGAAGTT"
    "GGTGGTGAGGCCCTGGGCAGGTTGGTATCAAGGTTACAAGACAGGTTTAAGGAGACCAATAGAAACTGGGCATGTGGAGACAGAGAAGACTCTTGGGTTTCTGATAGGCACTGACTCTCTC"
    "TGCCTATTGGTCTATTTTCCCACCCTTAGGCTGCTGGTGGTCTACCCTTGGACCCAGAGGTTCTTTGAGTCCTTTGGGGATCTGTCCACTCCTGATGCTGTTATGGGCAACCCTAAGGTG"
    "AAGGCTCATGGCAAGAAAGTGCTCGGTGCCTTTAGTGATGGCCTGGCTCACCTGGACAACCTCAAGGGCACCTTTGCCACACTGAGTGAGCTGCACTGTGACAAGCTGCACGTGGATCCT"
    "GAGAACTTCAGGGTGAGTCTATGGGACGCTTGATGTTTTCTTTCCCCTTCTTTTCTATGGTTAAGTTCATGTCATAGGAAGGGGATAAGTAACAGGGTACAGTTTAGAATGGGAAACAGA"
)


@needs_spliceai
@not_commercial
def test_spliceai_finds_the_first_intron_of_hbb():
    """The last states, through the published softmax: donor and acceptor lie where the exons end and begin."""
    from omicsfm.seq._options import Options
    from omicsfm.seq._splice_nets import SpliceEncoder

    encoder = SpliceEncoder("spliceai", "1", Options(), "cpu")
    with torch.inference_mode():
        (batch,) = encoder.states([HBB], [17])
    with h5py.File(wheel_file("spliceai", "spliceai/models/spliceai1.h5")) as file:
        (group,) = file["model_weights/conv1d_39"].values()
        kernel, bias = np.asarray(group["kernel:0"])[0], np.asarray(group["bias:0"])
    logits = batch.states[0][0].numpy() @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    donor = HBB.index("GTTGGTATCAAGG") - 1  # the last base of exon 1
    acceptor = HBB.index("GCTGCTGGTGGTC")  # the first base of exon 2
    assert np.argmax(p[:300, 2]) == donor and p[donor, 2] > 0.9
    assert np.argmax(p[:400, 1]) == acceptor and p[acceptor, 1] > 0.9


@needs_spliceai
def test_spliceai_as_an_embedder():
    sequences = ["ACGTTGCA" * 5, "GGGTAAGT"]
    with pytest.warns(ofm.OmicsfmWarning, match="CC-BY-NC-4.0: not for commercial use"):
        made = ofm.seq.embedder("spliceai:2:flank=50:pooling=mean+max")
    values = ofm.seq.embed_sequences(sequences, made)
    assert values.shape == (2, 64) and made.licence == "CC-BY-NC-4.0"
    twin = ofm.seq.embedder("spliceai:2:flank=50:pooling=mean+max:random")  # no warning: its weights are nobody's
    assert np.abs(ofm.seq.embed_sequences(sequences, twin) - values).max() > 0.01
    assert ofm.seq.embed_sequences(["ACGT"], "spliceai:flank=0:layer=0:random").shape == (1, 32)
    with pytest.raises(ofm.InputError, match="has the networks 1, 2, 3, 4, 5, found '7'"):
        ofm.seq.embedder("spliceai:7")


@needs_mmsplice
def test_mtsplice_has_both_towers():
    made = ofm.seq.embedder("mtsplice")
    assert made.licence == "MIT"
    values = ofm.seq.embed_sequences(["ACGTTGCA" * 5], made)[0]
    assert values.shape == (128,)
    path = wheel_file("mmsplice", "mmsplice/models/mtsplice_deep0.h5")
    net = KerasNet(path)
    x = torch.from_numpy(ofm.seq.one_hot(["ACGTTGCA" * 5]).transpose(0, 2, 1)).float()
    left, right = net(x, ["add_8", "add_16"])
    np.testing.assert_allclose(values, torch.cat([left, right], dim=1).mean(2)[0].numpy(), atol=1e-5)
    first = net(x, ["conv1d_1"])[0]
    with h5py.File(path) as file:
        kernel, bias = (np.asarray(file[f"model_weights/conv1d_1/conv1d_1/{what}:0"]) for what in ("kernel", "bias"))
    padded = np.pad(x[0].numpy().T, ((5, 5), (0, 0)))
    wanted = np.maximum(np.einsum("wc,wco->o", padded[3:14], kernel) + bias, 0)
    np.testing.assert_allclose(first[0, :, 3].numpy(), wanted, atol=1e-5)


def test_a_wheel_that_is_absent_is_told():
    with pytest.raises(ofm.InputError, match="pip install --no-deps no-such-package"):
        wheel_file("no-such-package", "x.h5")
    assert not PUBLISHED["spliceai"].commercial
