"""Pretrained networks: tiny ones with random weights, written as their authors would, against a direct forward pass."""

from __future__ import annotations

import json
import shutil
from itertools import product

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm.seq import pretrained

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra `fm`")
tokenizers = pytest.importorskip("tokenizers")

RNG = np.random.default_rng(0)
SEQUENCES = ["".join(RNG.choice(list("ACGT"), n)) for n in (30, 24, 30, 7, 61)] + ["ACGNNNACGTAC"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "pad_token_id": 1}
ATTENTION = {"num_attention_heads": 2, "intermediate_size": 20}


def bases_tokenizer(special: bool):
    """One token per base; with special tokens before and behind, as Bert has them, or without, as Mamba."""
    names = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", *"ACGTN"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    given = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if special:
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        given |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **given)


def save(folder, config, tokenizer) -> str:
    torch.manual_seed(1)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def configs() -> dict:
    t = transformers
    return {
        "bert": (t.BertConfig(vocab_size=9, max_position_embeddings=40, **SMALL, **ATTENTION), True),
        "modernbert": (
            t.ModernBertConfig(
                vocab_size=9,
                max_position_embeddings=40,
                bos_token_id=2,
                cls_token_id=2,
                eos_token_id=3,
                sep_token_id=3,
                **SMALL,
                **ATTENTION,
            ),
            True,
        ),
        "mamba": (t.MambaConfig(vocab_size=9, state_size=4, bos_token_id=2, eos_token_id=3, **SMALL), False),
        "mamba2": (
            t.Mamba2Config(
                vocab_size=9,
                state_size=4,
                num_heads=4,
                head_dim=8,
                n_groups=1,
                chunk_size=8,
                bos_token_id=2,
                eos_token_id=3,
                **SMALL,
            ),
            False,
        ),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("models")
    return {name: save(place / name, config, bases_tokenizer(special)) for name, (config, special) in configs().items()}


@pytest.fixture(scope="module")
def nucleotides(tmp_path_factory) -> str:
    """Words of 6 bases and single bases, as Nucleotide Transformer v1 has them."""
    place = tmp_path_factory.mktemp("nt")
    words = ["".join(w) for w in product("ACGT", repeat=6)]
    vocabulary = ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *words, *"ATCGN"]
    (place / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = transformers.EsmTokenizer(str(place / "vocab.txt"), eos_token=None, model_max_length=1000)
    config = transformers.EsmConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=12,
        mask_token_id=2,
        token_dropout=False,
        position_embedding_type="absolute",
        **SMALL,
        **ATTENTION,
    )
    return save(place, config, tokenizer)


def direct(folder: str, ids: list[int], layer: int = -1) -> np.ndarray:
    """(n_tokens, d) states of one window, by nothing of ours."""
    net = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        out = net(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return (out.last_hidden_state if layer == -1 else out.hidden_states[layer])[0].numpy()


def numbers(sequence: str) -> list[int]:
    return ["ACGTN".index(base) + 4 for base in sequence]


@pytest.mark.parametrize("name", list(configs()))
def test_a_vector_is_that_of_a_direct_forward_pass(folders, name):
    special = configs()[name][1]
    before, after = ([2], [3]) if special else ([], [])
    found = ofm.seq.embed_sequences(SEQUENCES[:4], f"hf:{folders[name]}:pooling=mean+max")
    middle = ofm.seq.embed_sequences(SEQUENCES[:4], f"hf:{folders[name]}:layer=1")
    assert found.dtype == np.float32
    for row, sequence in enumerate(SEQUENCES[:4]):
        inner = slice(len(before), len(before) + len(sequence))
        ids = before + numbers(sequence) + after
        states = direct(folders[name], ids)[inner]
        np.testing.assert_allclose(found[row], [*states.mean(0), *states.max(0)], atol=2e-5)
        np.testing.assert_allclose(middle[row], direct(folders[name], ids, 1)[inner].mean(0), atol=2e-5)
    # Neither neighbours nor the case of letters matter.
    alone = ofm.seq.embed_sequences([SEQUENCES[3].lower()], f"hf:{folders[name]}:pooling=mean+max")
    np.testing.assert_allclose(alone[0], found[3], atol=2e-5)


def test_a_long_sequence_is_cut_into_equal_windows(folders):
    (folder, sequence) = folders["bert"], SEQUENCES[4]  # 61 bases, and 40 positions of which 2 are special
    states, firsts = [], []
    for part in (sequence[:31], sequence[31:]):
        out = direct(folder, [2, *numbers(part), 3])
        states.append(out[1:-1])
        firsts.append(out[0])
    joined = np.concatenate(states)
    found = ofm.seq.embed_sequences([sequence], f"hf:{folder}:pooling=max+mean+cls")[0]
    np.testing.assert_allclose(found, [*joined.max(0), *joined.mean(0), *np.mean(firsts, axis=0)], atol=2e-5)
    whole = ofm.seq.embed_sequences([sequence], f"hf:{folders['mamba']}")[0]
    np.testing.assert_allclose(whole, direct(folders["mamba"], numbers(sequence)).mean(0), atol=2e-5)
    short = ofm.seq.embed_sequences([sequence], f"hf:{folders['mamba']}:tokens=31")[0]
    assert np.abs(short - whole).max() > 1e-3


def test_words_of_six_bases_and_what_is_left_of_them(nucleotides):
    vocabulary = transformers.AutoTokenizer.from_pretrained(nucleotides).get_vocab()
    sequence = "ACGTACGGGTTTAAN"
    words = ["ACGTAC", "GGGTTT", "A", "A", "N"]
    ids = [vocabulary[word] for word in words]
    states = direct(nucleotides, [vocabulary["<cls>"], *ids])[1:]
    found = ofm.seq.embed_sequences([sequence], f"hf:{nucleotides}")[0]
    np.testing.assert_allclose(found, states.mean(0), atol=2e-5)
    # 12 positions of which the first 2 are never used and one is special: 9 words of 6 bases fit, 10 do not.
    long = "ACGTAC" * 10
    halves = [direct(nucleotides, [vocabulary["<cls>"], *[vocabulary["ACGTAC"]] * 5])[1:]] * 2
    found = ofm.seq.embed_sequences([long], f"hf:{nucleotides}")[0]
    np.testing.assert_allclose(found, np.concatenate(halves).mean(0), atol=2e-5)


def test_overlapping_words_between_spaces(tmp_path):
    words = ["".join(w) for w in product("ACGT", repeat=3)]
    vocabulary = {name: i for i, name in enumerate(["[UNK]", "[PAD]", "[CLS]", "[SEP]", *words])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    folder = save(
        tmp_path / "k",
        transformers.BertConfig(vocab_size=68, max_position_embeddings=40, **SMALL, **ATTENTION),
        tokenizer,
    )
    with pytest.raises(ofm.InputError, match="does not know most of sequence 0.*':words=6'"):
        ofm.seq.embed_sequences(["ACGTT"], f"hf:{folder}")
    ids = [2, *(vocabulary[word] for word in ("ACG", "CGT", "GTT")), 3]
    found = ofm.seq.embed_sequences(["ACGTT"], f"hf:{folder}:words=3")[0]
    np.testing.assert_allclose(found, direct(folder, ids)[1:-1].mean(0), atol=2e-5)


def test_big_bird_does_not_depend_on_what_it_read_before(tmp_path):
    config = transformers.BigBirdConfig(
        vocab_size=9, max_position_embeddings=256, block_size=4, num_random_blocks=1, **SMALL, **ATTENTION
    )
    model = f"hf:{save(tmp_path / 'b', config, bases_tokenizer(True))}"
    long = "".join(np.random.default_rng(1).choice(list("ACGT"), 200))
    first = ofm.seq.embed_sequences([long], model)
    after_short = ofm.seq.embed_sequences(["ACGT", long], model)[1:]
    np.testing.assert_allclose(after_short, first, atol=2e-5)


def test_the_random_twin_has_other_weights_and_leaves_seeds_alone(folders):
    trained = pretrained(f"hf:{folders['bert']}")
    torch.manual_seed(5)
    twin, again, other = (pretrained(f"hf:{folders['bert']}:random{seed}") for seed in ("", "=0", "=3"))
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert (twin.name, other.name) == (f"hf:{folders['bert']}:random", f"hf:{folders['bert']}:random=3")
    assert again.name == twin.name
    hashes = [made.facts["weights_sha256"] for made in (trained, twin, again, other)]
    assert hashes[1] == hashes[2] and len(set(hashes)) == 3
    values = [ofm.seq.embed_sequences(SEQUENCES, made) for made in (trained, twin, again, other)]
    assert np.array_equal(values[1], values[2])
    assert min(np.abs(values[0] - values[1]).max(), np.abs(values[1] - values[3]).max()) > 1e-3


def test_layers_and_poolings_of_one_run_are_those_of_their_own_text(folders):
    many = ofm.seq.layer_embeddings(SEQUENCES, f"hf:{folders['bert']}", poolings=("mean", "cls+max"))
    assert len(many) == 8
    for text, values in many.items():
        np.testing.assert_allclose(values, ofm.seq.embed_sequences(SEQUENCES, text), atol=1e-6)
    last = ofm.seq.embed_sequences(SEQUENCES, f"hf:{folders['bert']}")
    np.testing.assert_allclose(many[f"hf:{folders['bert']}:layer=3"], last, atol=1e-6)
    assert ofm.seq.embed_sequences([], f"hf:{folders['bert']}:pooling=cls+max").shape == (0, 32)


def test_half_precision_is_near_and_named(folders):
    half = pretrained(f"hf:{folders['bert']}:dtype=bfloat16")
    values, full = (ofm.seq.embed_sequences(SEQUENCES, m) for m in (half, f"hf:{folders['bert']}"))
    assert values.dtype == np.float32
    assert 0 < np.abs(values - full).max() < 0.1
    assert half.name.endswith(":dtype=bfloat16") and half.params["dtype"] == "bfloat16"


def test_a_model_that_lacks_weights_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "lacks"
    shutil.copytree(folders["bert"], folder)
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layer.1." in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ofm.InputError, match="lacks 1 weights of BertModel"):
        pretrained(f"hf:{folder}")


@pytest.mark.parametrize("name", ["bert", "modernbert", "mamba"])
def test_a_model_with_a_head_for_another_task_is_read_the_same_each_time(name, tmp_path):
    config, special = configs()[name]
    auto = transformers.AutoModelForMaskedLM if special else transformers.AutoModelForCausalLM
    torch.manual_seed(1)
    net = auto.from_config(config).eval()
    net.save_pretrained(tmp_path)
    bases_tokenizer(special).save_pretrained(tmp_path)
    made = pretrained(f"hf:{tmp_path}")
    torch.manual_seed(7)
    again = pretrained(f"hf:{tmp_path}")  # Bert's pooler is not in the file, and is not drawn from the global seed
    assert made.facts == again.facts
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)
    ids = numbers(SEQUENCES[0])
    with torch.no_grad():
        out = net.base_model(input_ids=torch.tensor([[2, *ids, 3] if special else ids]))
    states = out.last_hidden_state[0].numpy()
    wanted = states[1:-1] if special else states
    np.testing.assert_allclose(ofm.seq.embed_sequences(SEQUENCES[:1], made)[0], wanted.mean(0), atol=2e-5)


def test_a_pickle_is_not_read(folders, tmp_path):
    folder = tmp_path / "pickle"
    shutil.copytree(folders["bert"], folder)
    (folder / "model.safetensors").unlink()
    torch.save(transformers.AutoModel.from_pretrained(folders["bert"]).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ofm.InputError, match="cannot load"):
        pretrained(f"hf:{folder}")


def test_remote_code_needs_a_pinned_revision(folders, tmp_path, monkeypatch):
    for place in ("owner/name", "owner/name@main", "owner/name@v1.0", str(tmp_path / "nothing")):
        with pytest.raises(ofm.InputError, match="40 hexadecimal digits"):
            pretrained(f"hf:{place}:remote")
    with pytest.raises(ofm.InputError, match="remote code runs only at a pinned revision"):
        pretrained(f"hf:{folders['bert']}:remote")
    folder = tmp_path / "own"
    shutil.copytree(folders["bert"], folder)
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told |= {"model_type": "nowhere", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "evil.py").write_text("raise SystemExit('this ran')", encoding="utf-8")
    with pytest.raises(ofm.InputError, match="give the 40-hex revision and ':remote'"):
        pretrained(f"hf:{folder}")
    asked = []

    def from_pretrained(source, **given):
        asked.append((source, given))
        raise OSError("no network")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    pin = "0123456789abcdef" * 2 + "01234567"
    for text in ("", ":remote"):
        with pytest.raises(ofm.InputError, match="cannot load 'owner/name'"):
            pretrained(f"hf:owner/name@{pin}{text}")
    wanted = [{"revision": pin, "trust_remote_code": trust} for trust in (False, True)]
    assert asked == [("owner/name", given) for given in wanted]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layer=x", "cannot take ':layer=x'"),
        ("layer=9", "layers 0 .* to 3, found 9"),
        ("pooling=sum", "cannot take ':pooling=sum'"),
        ("pooling=max+max", "a pooling stands twice"),
        ("layer=1:layer=1", "write each option once"),
        ("flank=4", "cannot take ':flank=4'"),
        ("tokens=2", "leaves no room"),
        ("dtype=int8", "cannot take"),
    ],
)
def test_an_option_that_means_nothing_is_told(folders, text, words):
    with pytest.raises(ofm.InputError, match=words):
        pretrained(f"hf:{folders['bert']}:{text}")


def test_no_special_token_no_cls(folders):
    with pytest.raises(ofm.InputError, match="pooling 'cls' needs a special token"):
        ofm.seq.embed_sequences(SEQUENCES, f"hf:{folders['mamba']}:pooling=cls")


def test_an_embedding_is_verified_by_its_weights(folders, tmp_path, genome_fa):
    import anndata as ad
    import pandas as pd

    folder = tmp_path / "mine"
    shutil.copytree(folders["bert"], folder)
    var = pd.DataFrame({"chrom": "chr1", "start": [0, 500, 900], "end": [60, 540, 990]}, index=list("abc"))
    adata = ad.AnnData(np.ones((1, 3), dtype=np.float32), var=var)
    ofm.seq.embed(adata, genome_fa, f"hf:{folder}", key_added="mine")
    told = adata.uns["omicsfm"]["embeddings"]["mine"]
    assert set(told["facts"]) == {"weights_sha256", "tokenizer_sha256"}
    assert {"torch", "transformers", "tokenizers"} <= set(told["versions"])
    report = ofm.seq.verify_embeddings(adata, genome_fa)
    assert report.loc["mine", "same_code"] and report.loc["mine", "n_recomputed"] == 3
    save(folder, configs()["bert"][0], bases_tokenizer(True))  # the same seed: the same weights in another file
    ofm.seq.verify_embeddings(adata, genome_fa)
    torch.manual_seed(2)
    transformers.AutoModel.from_config(configs()["bert"][0]).save_pretrained(folder)
    with pytest.raises(ofm.InputError, match="its weights_sha256 is"):
        ofm.seq.verify_embeddings(adata, genome_fa)
