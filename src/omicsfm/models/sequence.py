"""SequenceModel: labels of DNA sequences; k-mers first, and an encoder where it earns its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from omicsfm import hub
from omicsfm._errors import InputError
from omicsfm.models._sequence._data import Labelled
from omicsfm.models._sequence._kmer import N_TUNED, KmerModel, choose_strands, tune
from omicsfm.models._sequence._network import Network
from omicsfm.models._sequence._simple import CompositionModel, MajorityModel
from omicsfm.models._stack_weights import Mixture, weigh
from omicsfm.seq._sequences import as_list

SIMPLE = ("majority", "composition", "kmer")
LAYERS = ("attention", "cnn", "hierarchical", "hybrid", "hyena", "local", "ssm")  # of nn, which is loaded when needed
STACKED = "cnn"  # the encoder of a stack: the cheapest on a CPU
ENCODERS = (*SIMPLE, *LAYERS, "stack")
N_PROBE = 4

Member = MajorityModel | CompositionModel | KmerModel | Network


@hub.saveable
class SequenceModel(BaseEstimator):
    """Labels of DNA sequences, by a linear model on k-mers, a small network, or both.

    - "majority", "composition": controls that know the labels' frequencies, or also bases, CpG and length.
    - "kmer": logistic regression on k-mers; their lengths, strands, scaling and the penalty are chosen by
      cross-validation on the training sequences. The baseline.
    - "cnn", "attention", "local", "hyena", "ssm", "hierarchical", "hybrid": a `nn.SequenceEncoder` of that layer, of
      0.1 to 0.2 M parameters; one trainer for all, its weights averaged over steps and stopped on held-out sequences.
    - "stack": the k-mer model, and the "cnn" where it improves the held-out log-likelihood by more than 2 standard
      errors; then the weighted mean of their probabilities. With nothing to gain the stack *is* the k-mer model.

    Held out are a tenth to a fifth of the training sequences; copies of a sequence, of either strand, are never on both
    sides. Sequences may be of any lengths, in either case, with N.

    Parameters
    ----------
    encoder
        One of the above.
    both_strands
        True: a sequence and its reverse complement are the same thing: words count on both strands, a network sees
        either in training and averages both when asked, so that predictions for both agree up to rounding. False: the
        strand counts. None: what k-mers say, cross-validated on the training sequences.
    max_minutes
        CPU minutes that the training of a network may take. A network that this stops, and not the held-out
        sequences, depends on the speed of the machine: ``members_[...].stopped`` says "budget".
    frozen
        Leave the network as it starts and fit only its linear head: the random-initialised twin of an encoder, which
        shows what its architecture knows before training.
    seed
        Seed of everything random: the same seed gives the same bits.

    Attributes
    ----------
    classes_ : labels, sorted: the columns of `predict_proba`.
    weights_ : member -> its weight; they add up to 1.
    members_ : member -> what was fitted: `KmerModel`, `Network` (weights, history, why it stopped), and so on.
    both_strands_ : what was chosen.
    n_parameters_ : learnt numbers of the members with a weight.

    References
    ----------
    Zhou et al. (2023), arXiv:2306.15006 (GUE); Ghandi et al. (2014), doi:10.1371/journal.pcbi.1003711 (k-mers);
    Zhou, Shrikumar & Kundaje (2022), PMLR 165:1 (both strands); Wolpert (1992), Neural Netw. 5:241 (stacking).
    """

    def __init__(
        self,
        encoder: str = "stack",
        *,
        both_strands: bool | None = None,
        max_minutes: float = 10.0,
        frozen: bool = False,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.both_strands = both_strands
        self.max_minutes = max_minutes
        self.frozen = frozen
        self.seed = seed

    def fit(self, sequences: Any, y: Any) -> Self:
        """Learn from labelled sequences.

        Parameters
        ----------
        sequences
            (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case, any lengths.
        y
            (n_seq,) labels, at least 2 different ones, each of at least 5 different sequences.

        Raises
        ------
        InputError
            For an unknown encoder, a budget that is not above 0, or sequences and labels that are not as above.

        Warns
        -----
        OmicsfmWarning
            If the training of a network was stopped by a loss that is not finite; its last good state is kept.
        """
        self._check_parameters()
        data = Labelled.of(sequences, y)
        self.classes_ = data.classes
        self.both_strands_ = (
            choose_strands(data.sample(N_TUNED, self.seed), seed=self.seed)
            if self.both_strands is None and self.encoder not in ("majority", "composition")
            else bool(self.both_strands)
        )
        if self.encoder == "stack":
            self._fit_stack(data)
        else:
            self.members_ = {self.encoder: self._fit_one(data)}
            self.weights_ = {self.encoder: 1.0}
        self.n_parameters_ = sum(_n_parameters(self.members_[name]) for name, weight in self.weights_.items() if weight)
        self.probe_ = np.array([sequence[:2000] for sequence in data.sequences[:N_PROBE]])
        return self

    def predict_proba(self, sequences: Any) -> np.ndarray:
        """Give the probability of each class.

        Parameters
        ----------
        sequences
            (n_seq,) as in `fit`.

        Returns
        -------
        float64 (n_seq, n_classes), columns as `classes_`, rows add up to 1.
        """
        check_is_fitted(self, "members_")
        found = as_list("SequenceModel.predict_proba", sequences)
        return sum(
            (weight * self.members_[name].probability(found) for name, weight in self.weights_.items() if weight),
            start=np.zeros((len(found), len(self.classes_))),
        )

    def predict(self, sequences: Any) -> np.ndarray:
        """Give the most probable label of each sequence."""
        return self.classes_[self.predict_proba(sequences).argmax(axis=1)]

    def embed(self, sequences: Any) -> np.ndarray | sparse.csr_matrix:
        """Give a vector per sequence: what the member with the largest weight hands to its linear head.

        Returns
        -------
        float32 (n_seq, d): a dense array from a network or the composition, CSR of scaled words from k-mers.
        """
        check_is_fitted(self, "members_")
        best = max(self.weights_, key=lambda name: self.weights_[name])
        return self.members_[best].features(as_list("SequenceModel.embed", sequences))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model to a folder that ``ofm.models.load`` reads; no pickle, checked on load."""
        check_is_fitted(self, "members_")
        probe = {"sequences": self.probe_}
        return hub.save(
            self,
            path,
            overwrite=overwrite,
            extra={"seed": self.seed, "metrics": {"weights": self.weights_}},
            probe=(probe, self._probe_output(probe)),
        )

    def _check_parameters(self) -> None:
        if self.encoder not in ENCODERS:
            raise InputError(
                f"SequenceModel: no encoder is called {self.encoder!r}. Fix: choose one of {', '.join(ENCODERS)}."
            )
        if not self.max_minutes > 0:
            raise InputError(f"SequenceModel: max_minutes must be above 0, found {self.max_minutes}. Fix: 10.")

    def _fit_one(self, data: Labelled) -> Member:
        if self.encoder == "majority":
            return MajorityModel.fit(data)
        if self.encoder == "composition":
            return CompositionModel.fit(data)
        if self.encoder == "kmer":
            return KmerModel.fit(data, *tune(data, both_strands=self.both_strands_, seed=self.seed))
        return self._fit_network(data, self.encoder, data.hold_out(self.seed))

    def _fit_network(self, data: Labelled, layer: str, held: tuple[np.ndarray, np.ndarray]) -> Network:
        from omicsfm.models._sequence._trainer import train, untrained

        if self.frozen:
            return untrained(data, held, layer, both_strands=self.both_strands_, seed=self.seed)
        return train(data, held, layer, both_strands=self.both_strands_, seed=self.seed, cpu_s=60 * self.max_minutes)

    def _fit_stack(self, data: Labelled) -> None:
        """Judge both on the held-out sequences; then fit the k-mer model, with the same settings, on all of them.

        The network has stopped on the same sequences: one number, the epoch, was chosen there.
        """
        train_rows, held_rows = held = data.hold_out(self.seed)
        known, asked = data.take(train_rows), data.take(held_rows)
        words, strength = tune(known, both_strands=self.both_strands_, seed=self.seed)
        network = self._fit_network(data, STACKED, held)
        judged = (KmerModel.fit(known, words, strength), network)
        truth = np.arange(len(asked)), asked.y
        evidence = Mixture(np.stack([member.probability(asked.sequences)[truth] for member in judged], axis=1))
        weights, score = weigh(evidence, 2, seed=self.seed)
        self.members_ = {"kmer": KmerModel.fit(data, words, strength), STACKED: network}
        self.weights_ = dict(zip(self.members_, weights.tolist(), strict=True))
        self.held_out_ = dict(zip(self.members_, score.tolist(), strict=True))

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.predict_proba(inputs["sequences"].tolist())


def _n_parameters(member: Member) -> int:
    if isinstance(member, Network):
        return member.n_parameters
    if isinstance(member, MajorityModel):
        return len(member.frequency)
    return member.linear.coef.size + member.linear.intercept.size
