"""Stack: several estimators, each with the weight that held-out cells give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.models._checks import check_query
from omicsfm.models._protocols import Imputation
from omicsfm.models._stack_data import hold_out, mask_of
from omicsfm.models._stack_judge import (
    MAX_HALVES,
    disagreement,
    embed_halves,
    judge,
    judged_kinds,
    mean_square,
)
from omicsfm.models._stack_mix import accepts, make_members, mixed_imputation, pooled_labels, said_once, shared_tokens
from omicsfm.models._token_model import TokenModel
from omicsfm.pp import Tokenizer, Tokens

AUTO = ("Mosaic", "LinearMosaic", "CCA", "MeanKNNRidge")
COLUMNS = ("task", "modality", "member", "weight", "score", "n", "note")


@hub.saveable
class Stack(TokenModel):
    """Estimators stacked by non-negative weights that are chosen on held-out cells, task by task.

    Every member is fitted twice: once without one modality of about one paired cell in `n_folds` (whole batches where
    there are enough) and without the label of as many labelled cells, to be judged; and once on all cells. The first
    member that can do a task does it alone unless others improve the held-out score by more than its noise: with
    nothing to gain the stack *is* its first member. Members without any weight are not fitted again.

    - embed: weights make the halves of held-out cells (one modality each) find each other: a conditional logit on
      squared distances. The state is the members' states side by side, each scaled to a mean squared distance of 1 and
      times the square root of its weight. Where every cell has every modality there is nothing to bring together, and
      the first member embeds.
    - impute: least squares on the modality taken away, weights that add up to 1, one set per modality; intervals are
      conformal, from the residuals of the weighted mean.
    - annotate: weights of probabilities by held-out log-loss.

    Parameters
    ----------
    members
        Registered names (made with `seed` and `level` where they have them) or estimators, which are copied. The order
        matters: the first that can do a task is the one to beat.
    n_folds
        One paired cell in `n_folds` is held out, and one labelled cell.
    level
        Nominal coverage of imputation intervals.
    n_tokens
        Tokens per modality, made once for all members that use as many.
    seed
        Seed of everything random.

    Attributes
    ----------
    members_ : name -> member fitted on all cells, for those with a weight.
    weights_ : task ("embed", "impute <modality>", "annotate") -> member -> weight.
    width_ : modality -> conformal factor per feature on the members' own intervals, where several impute it.
    scale_, spread_ : member -> root mean squared distance of its states, and the sd of one coordinate, taken where a
        member states none from how far the two halves of a cell lie apart.
    tokenizer_ : tokens of the members that share them.

    References
    ----------
    Wolpert (1992), Neural Netw. 5:241; Breiman (1996), Mach. Learn. 24:49; van der Laan, Polley & Hubbard (2007),
    Stat. Appl. Genet. Mol. Biol. 6:25.
    """

    _joint = False  # members that tie modalities together say for themselves what they need
    _needs_two = False

    def __init__(
        self,
        members: Sequence[Any] = ("LinearMosaic", "CCA", "MeanKNNRidge"),
        *,
        n_folds: int = 5,
        level: float = 0.9,
        n_tokens: int = 30,
        seed: int = 0,
    ) -> None:
        self.members = members
        self.n_folds = n_folds
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> Self:
        """Judge the members on held-out cells, then fit those that count on all cells.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer, and its tokens of exactly these cells, to save making them again; else made here.

        Raises
        ------
        InputError
            For a MuData that breaks the contract, no members, or what a member that counts refuses.
        """
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        self.probe_ = {
            f"{name}|{key}": value
            for name, member in self.members_.items()
            for key, value in getattr(member, "probe_", {}).items()
        }
        return self

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        if self.n_folds < 2 or not len(self.members):
            raise InputError(
                f"Stack.fit: at least 1 member and 2 folds are needed, found {len(self.members)} and {self.n_folds}. "
                'Fix: Stack(("LinearMosaic", "CCA"), n_folds=5).'
            )
        members = make_members(self.members, seed=self.seed, level=self.level)
        tasks = [
            (task, names)
            for task, names in judged_kinds(members)
            if (task != "impute" or len(mdata.mod) > 1) and (task != "annotate" or _has_labels(mdata))
        ]
        if not tasks:
            raise InputError(
                f"Stack.fit: none of {', '.join(members)} can do anything with these data. Fix: add a member that "
                "embeds, such as LinearMosaic; to impute two modalities are needed, to annotate labels."
            )
        labels = any(task == "annotate" and len(names) > 1 for task, names in tasks)
        held = hold_out(mdata, n_folds=self.n_folds, seed=self.seed, labels=labels)
        found = judge(mdata, held, members, tasks, tokenizer=self.tokenizer_, level=self.level, seed=self.seed)
        self.weights_ = {j.key: j.weights for j in found}
        self.table_ = [row for j in found for row in j.rows()]
        self.width_ = {j.modality: j.width for j in found if j.width is not None}
        self.classes_ = sorted(set(contract.labels(mdata).dropna())) if _has_labels(mdata) else []
        used = {name for weights in self.weights_.values() for name in weights}
        self.members_ = {name: member for name, member in members.items() if name in used}
        with said_once():
            for member in progress(list(self.members_.values()), desc="members"):
                member.fit(mdata, **shared_tokens(member, self.tokenizer_, tokens))
        self._measure(mdata)
        self.fit_metrics_ = {"n_obs": mdata.n_obs, "n_members": len(self.members_)}

    def _measure(self, mdata: MuData) -> None:
        """Scale states to one another."""
        self.scale_, self.spread_ = {}, {}
        several = np.sum(list(mask_of(mdata).values()), axis=0) > 1
        cells = np.random.default_rng(self.seed).permutation(np.flatnonzero(several))[:MAX_HALVES]
        used = self.weights_.get("embed", {})
        for name in used:
            if len(used) == 1 and accepts(self.members_[name].embed, "return_sd"):
                continue
            halves = embed_halves(self.members_[name], mdata, np.sort(cells))
            self.scale_[name] = mean_square(halves) ** 0.5 if halves else 1.0
            self.spread_[name] = disagreement(halves)

    def weights(self) -> pd.DataFrame:
        """Give who counts how much, and why.

        Returns
        -------
        DataFrame
            One row per task and member: task, modality (imputed, else ""), member, weight, score (held out, the member
            alone: log-likelihood per cell; for impute minus the squared error in units of the features' variance), n
            (held-out cells) and note (why the first member stands alone where there was no evidence).
        """
        check_is_fitted(self, "table_")
        return pd.DataFrame(self.table_, columns=list(COLUMNS))

    def embed(self, mdata: MuData, *, return_sd: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Give the cell state of any cells, seen or new, measured in any subset of the modalities.

        Returns
        -------
        float64 array (n_obs, n_latent), rows as ``mdata.obs_names``: that of the only member with a weight, or the
        members' states side by side. With `return_sd` also their sd; NaN where a member states none and no cell has two
        modalities.
        """
        weights, mdata = self._asked("embed", mdata)
        parts = []
        with said_once():
            for name, weight in weights.items():
                member = self.members_[name]
                if return_sd and accepts(member.embed, "return_sd"):
                    z, sd = member.embed(mdata, return_sd=True)
                else:
                    z = np.asarray(member.embed(mdata))
                    sd = np.full(z.shape, self.spread_[name]) if return_sd else z
                factor = weight**0.5 / self.scale_[name] if len(weights) > 1 else 1.0
                parts.append((z, sd) if len(weights) == 1 else (z * factor, sd * factor))
        mean, spread = parts[0] if len(parts) == 1 else tuple(np.hstack(both) for both in zip(*parts, strict=True))
        return (mean, spread) if return_sd else mean

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict a modality of every cell from its other modalities, by the weighted mean of the members.

        Returns
        -------
        Imputation
            Mean, sd and conformal interval on the recipe's scale (``model.tokenizer_.recipes_[modality]``).
        """
        weights, mdata = self._asked(f"impute {modality}", mdata)
        with said_once():
            found = {name: self.members_[name].impute(mdata, modality) for name in weights}
        if len(found) == 1:
            return next(iter(found.values()))
        return mixed_imputation(found, weights, self.width_[modality], self.level)

    def annotate(self, mdata: MuData, *, min_confidence: float = 0.5) -> pd.DataFrame:
        """Give labels with calibrated confidence.

        Parameters
        ----------
        min_confidence
            A cell below it is "unknown", as is one that members with more than half of the weight call so.

        Returns
        -------
        DataFrame
            Index ``mdata.obs_names``; label, confidence (probability), unknown (bool), and novelty where every member
            gives it.
        """
        weights, mdata = self._asked("annotate", mdata)
        found = {}
        with said_once():
            for name in weights:
                ask: Callable[..., pd.DataFrame] = self.members_[name].annotate
                lowest = min_confidence if len(weights) == 1 else 0.0
                found[name] = ask(mdata, min_confidence=lowest) if accepts(ask, "min_confidence") else ask(mdata)
        if len(found) == 1:
            return next(iter(found.values()))
        return pooled_labels(found, weights, self.classes_, min_confidence=min_confidence)

    def _asked(self, task: str, mdata: MuData) -> tuple[dict[str, float], MuData]:
        check_is_fitted(self, "training_data_")
        if task not in self.weights_:
            raise InputError(
                f"Stack: none of its members can '{task}'. Fix: choose one of {', '.join(self.weights_)}, or add a "
                "member that can (to annotate, labels are needed: ofm.setup(mdata, label_key=...) before fit)."
            )
        return self.weights_[task], check_query(mdata, self.tokenizer_)

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        parts = [np.zeros(0)]
        for name, member in self.members_.items():
            own = {k.split("|", 1)[1]: x for k, x in inputs.items() if k.split("|", 1)[0] == name}
            if own:
                parts.append(np.ravel(member._probe_output(own)))
        return np.concatenate(parts)


def auto_model(*, seed: int = 0) -> Stack:
    """Give what ``model="auto"`` stands for: the mosaic models, to be helped by baselines where these earn it."""
    from omicsfm.models._registry import MODELS

    return Stack(tuple(name for name in AUTO if name in MODELS), seed=seed)


def _has_labels(mdata: MuData) -> bool:
    return contract.keys(mdata).label is not None and bool(contract.labels(mdata).notna().any())
