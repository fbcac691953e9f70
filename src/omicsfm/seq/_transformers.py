"""Any class of transformers that needs no code from elsewhere, as an encoder of DNA."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm._progress import progress
from omicsfm.seq._options import Options
from omicsfm.seq._states import Batch, forked_seed, windows_by_length

_TOKENS = 1 << 14  # of a batch
_HEADS = ("pooler.", "contact_head.")  # what no state that is looked at goes through
_NO_LIMIT = 1_000_000  # tokenizers without one say 1e30


class TransformersEncoder:
    """A model and its tokenizer, from a folder or from a pinned revision of a hub.

    Parameters
    ----------
    place
        A folder, or ``owner/name@revision`` with the 40 hexadecimal digits of a commit.
    options
        Of which `dtype`, `tokens`, `words`, `random` and `remote` are heeded.
    device
        Of torch.
    """

    def __init__(self, place: str, options: Options, device: str) -> None:
        self._transformers = require("transformers", extra="fm")
        self._words, self._device = options.words, device
        source, revision = _source(place, remote=options.remote)
        self._given: dict[str, Any] = {"revision": revision, "trust_remote_code": options.remote}
        config = self._load(self._transformers.AutoConfig, source)
        if getattr(config, "attention_type", None) == "block_sparse":
            # BigBird draws its blocks at random, and on short input switches them off for all input that follows.
            config.attention_type = "original_full"
        self.tokenizer = self._load(self._transformers.AutoTokenizer, source)
        self.net = self._net(source, config, options).to(device).eval().requires_grad_(False)
        self.n_layers: int = config.num_hidden_layers
        self._before, self._after = self._special()
        self.has_cls = len(self._before) > 0
        self._longest = options.tokens or _longest(config, self.tokenizer)
        if self._longest is not None:
            self._longest -= len(self._before) + len(self._after)
            if self._longest < 1:
                raise InputError(
                    f"seq.embedder: tokens={options.tokens} leaves no room beside the special tokens. Fix: allow more."
                )

    @property
    def tokenizer_sha256(self) -> str:
        """Hash of the vocabulary, of the special tokens and, where there are any, of the rules."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend is not None else ""
        told = [type(self.tokenizer).__name__, self._before, self._after, self.tokenizer.get_vocab(), rules]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def modules(self) -> tuple[str, ...]:
        """Where the code of the model and of its tokenizer is."""
        return (type(self.net).__module__, type(self.tokenizer).__module__)

    def states(self, sequences: list[str], layers: Sequence[int]) -> Iterator[Batch]:
        """Run the model window by window; no window is padded."""
        import torch

        inner = slice(len(self._before), -len(self._after) or None)
        every = not set(layers) <= {self.n_layers}
        for rows, ids in windows_by_length(self._windows(sequences), _TOKENS):
            tokens = torch.from_numpy(ids).to(self._device)
            out = self.net(input_ids=tokens, output_hidden_states=every)
            # The last one as the model gives it: in some classes the last of hidden_states lacks the final norm.
            states = [out.last_hidden_state if layer == self.n_layers else out.hidden_states[layer] for layer in layers]
            yield Batch(rows, states, inner)

    def _windows(self, sequences: list[str]) -> Iterator[tuple[int, np.ndarray]]:
        unknown = self.tokenizer.unk_token_id
        for row, sequence in enumerate(progress(sequences, desc="embed")):
            ids = np.array(self._ids(sequence), dtype=np.int64)
            bases = sum(map(sequence.upper().count, "ACGT"))
            if unknown is not None and 2 * (ids == unknown).sum() > len(ids) and 2 * bases > len(sequence):
                raise InputError(
                    f"seq.embedder: the tokenizer does not know most of sequence {row} ({sequence!r:.20}). Fix: use a "
                    "model of DNA; if its words overlap and stand between spaces, say how long they are, ':words=6'."
                )
            n = -(-len(ids) // (self._longest or max(len(ids), 1)))
            for part in np.array_split(ids, n) if n else []:
                yield row, np.array([*self._before, *part, *self._after], dtype=np.int64)

    def _text(self, sequence: str) -> str:
        """Write a sequence as the tokenizer wants it."""
        text, k = sequence.upper(), self._words
        return text if k is None else " ".join(text[i : i + k] for i in range(max(len(text) - k, 0) + 1))

    def _ids(self, sequence: str, *, special: bool = False) -> list[int]:
        # verbose: the warning that a sequence is longer than the model, which is cut into windows here.
        return self.tokenizer(self._text(sequence), add_special_tokens=special, verbose=False)["input_ids"]

    def _special(self) -> tuple[list[int], list[int]]:
        """Find what the tokenizer puts before and behind a sequence."""
        probe = "ACGT" * 8
        plain, full = self._ids(probe), self._ids(probe, special=True)
        n = len(plain)
        for start in range(len(full) - n + 1):
            if full[start : start + n] == plain:
                return full[:start], full[start + n :]
        raise InputError(
            f"seq.embedder: {type(self.tokenizer).__name__} changes a sequence when it adds special tokens, so that "
            "its bases cannot be told from them. Fix: use another tokenizer."
        )

    def _load(self, auto: Any, source: str, **given: Any) -> Any:
        try:
            return auto.from_pretrained(source, **self._given, **given)
        except (OSError, ValueError, KeyError, ImportError) as err:
            told = " ".join(str(err).split())[:300]
            fix = (
                "give the 40-hex revision and ':remote' if you trust the code that comes with it"
                if "custom code" in told or "trust_remote_code" in told
                else "save model and tokenizer there by save_pretrained"
            )
            raise InputError(f"seq.embedder: {auto.__name__} cannot load '{source}': {told}. Fix: {fix}.") from err

    def _net(self, source: str, config: Any, options: Options) -> Any:
        import torch

        dtype = getattr(torch, options.dtype)
        if options.random is not None:
            with forked_seed(options.random):
                return self._transformers.AutoModel.from_config(config, trust_remote_code=options.remote).to(dtype)
        # Seeded, because heads that the weights lack are drawn; and no pickle: only safetensors are read.
        with forked_seed(0):
            net, found = self._load(
                self._transformers.AutoModel,
                source,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
            )
        missing = sorted(name for name in found["missing_keys"] if not name.startswith(_HEADS))
        if missing:
            raise InputError(
                f"seq.embedder: '{source}' lacks {len(missing)} weights of {type(net).__name__}, such as "
                f"'{missing[0]}', which would be random. Fix: save the whole model, or ask for ':random'."
            )
        return net


def _source(place: str, *, remote: bool) -> tuple[str, str | None]:
    """Give a folder without revision, or the name on a hub with its commit."""
    if Path(place).is_dir():
        if remote:
            raise InputError(
                "seq.embedder: remote code runs only at a pinned revision, and a folder has none. "
                "Fix: 'hf:owner/name@<40 hexadecimal digits>:remote'."
            )
        return place, None
    name, _, revision = place.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError(
            f"seq.embedder: a folder, or a hub's owner/name@revision with the 40 hexadecimal digits of a commit, was "
            f"needed; found '{place}', which is no folder. Fix: mend the path, or pin the revision."
        )
    return name, revision


def _longest(config: Any, tokenizer: Any) -> int | None:
    """Give how many tokens the model takes at once; None where there is no limit."""
    limits = [] if tokenizer.model_max_length > _NO_LIMIT else [int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # Positions of the ESM family begin behind the padding token's.
        limits.append(int(positions) - (config.pad_token_id + 1 if config.model_type == "esm" else 0))
    return min(limits, default=None)
