"""What held-out cells say of the members of a stack, task by task."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.base import clone

from omicsfm import contract
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.models._decoder import calibrate
from omicsfm.models._protocols import Annotates, Embeds, Imputation, Imputes
from omicsfm.models._stack_data import MIN_TARGET, HeldOut, chosen, mask_of
from omicsfm.models._stack_mix import class_probability, shared_tokens
from omicsfm.models._stack_weights import Evidence, Matching, Mixture, Regression, weigh
from omicsfm.pp import Tokenizer, dense_nan

MAX_CHOICES = 300  # cells among which a half looks for its own; distances are n x n
MAX_HALVES = 500
MAX_VALUES = 20_000_000  # held-out cells x features, per member
SHRINK_CELLS = 100.0  # cells' worth of evidence that a feature's interval is off as those of all features are

Members = Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """Weights of one task.

    Attributes
    ----------
    task, modality : "embed", "impute" or "annotate", and the modality imputed ("" else).
    weights : member -> weight; those that count for nothing are not named.
    score : member -> held-out score alone (embed, annotate: log-likelihood per cell; impute: minus the squared error
        in units of the features' variance).
    n : held-out cells behind it.
    note : why the first member stands alone, where it was not for the evidence.
    width : impute, several members: factor per feature on the weighted mean of their intervals' widths.
    """

    task: str
    modality: str
    weights: dict[str, float]
    score: dict[str, float]
    n: int
    note: str
    width: np.ndarray | None = None

    @property
    def key(self) -> str:
        """Name of the task, with the modality."""
        return f"{self.task} {self.modality}".strip()

    def rows(self) -> Iterator[list[Any]]:
        """One row per member, as in `Stack.weights`."""
        for name in {**self.score, **self.weights}:
            weight = float(self.weights.get(name, 0.0))
            yield [self.task, self.modality, name, weight, float(self.score.get(name, np.nan)), self.n, self.note]


def first_only(task: str, names: list[str], note: str, *, modality: str = "") -> Judgement:
    """Give the first member all the weight, and say why."""
    return Judgement(task, modality, {names[0]: 1.0}, {}, 0, note)


@contextmanager
def lenient() -> Iterator[None]:
    """Keep from the user what members say of data that were made poorer for the trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmicsfmWarning)
        yield


def able(members: Members, kind: type) -> list[str]:
    """Names of the members that keep a protocol, in order."""
    return [name for name, member in members.items() if isinstance(member, kind)]


def judge(
    mdata: MuData,
    held: HeldOut,
    members: Members,
    tasks: list[tuple[str, list[str]]],
    *,
    tokenizer: Tokenizer,
    level: float,
    seed: int,
) -> list[Judgement]:
    """Fit every member that has a rival without what is held out, and weigh them task by task."""
    rivals = {name for _, names in tasks if len(names) > 1 for name in names}
    fitted: dict[str, Any] = {}
    if len(held.cells) or len(held.unlabelled):
        tokens = tokenizer.transform(held.train)
        for name in progress([name for name in members if name in rivals], desc="members, judged"):
            model = clone(members[name])
            try:
                with lenient():
                    fitted[name] = model.fit(held.train, **shared_tokens(model, tokenizer, tokens))
            except InputError:
                continue  # too little is left for it: it is not judged
    out = []
    for task, names in tasks:
        if task == "embed":
            out.append(judge_embedding(mdata, held, names, fitted, seed=seed))
        elif task == "annotate":
            out.append(judge_labels(mdata, held, names, fitted, seed=seed))
        else:
            for mod in mdata.mod:
                found = judge_imputation(
                    mdata, held, names, fitted, modality=mod, tokenizer=tokenizer, level=level, seed=seed
                )
                out.append(found)
    return out


def judge_embedding(mdata: MuData, held: HeldOut, names: list[str], fitted: Members, *, seed: int) -> Judgement:
    """Weigh embeddings by whether the halves of held-out cells find each other among the others' halves."""
    if len(names) == 1:
        return first_only("embed", names, "the only member that embeds")
    has = mask_of(mdata)
    if all(cells.all() for cells in has.values()):
        return first_only("embed", names, "every cell has every modality: there are no halves to bring together")
    if not len(held.cells):
        return first_only("embed", names, "too few paired cells to hold some out")
    if names[0] not in fitted:
        return first_only("embed", names, "the first member could not be fitted without the held-out cells")
    names = [name for name in names if name in fitted]
    rng = np.random.default_rng(seed)
    batch = contract.batches(mdata).astype(str).to_numpy()
    sets = []
    for a, b in combinations(has, 2):
        for level in np.unique(batch[held.cells]):
            both = held.cells[(has[a] & has[b] & (batch == level))[held.cells]]
            if len(both) >= MIN_TARGET:
                sets.append((a, b, np.sort(rng.permutation(both)[:MAX_CHOICES])))
    if not sets:
        return first_only("embed", names, "too few held-out cells in any batch")
    distance = [np.empty((len(names), len(cells), len(cells))) for _, _, cells in sets]
    for i, name in enumerate(names):
        halves = embed_halves(fitted[name], mdata, held.cells)
        scale = mean_square(halves)
        for (a, b, cells), out in zip(sets, distance, strict=True):
            x, y = halves[a].loc[cells].to_numpy(), halves[b].loc[cells].to_numpy()
            out[i] = np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0) / scale
    return _judged("embed", "", names, Matching(distance), seed=seed)


def embed_halves(member: Any, mdata: MuData, cells: np.ndarray) -> dict[str, pd.DataFrame]:
    """Embed cells (positions) from each of their modalities alone; rows are named by position."""
    out = {}
    with lenient():
        for mod, has in mask_of(mdata).items():
            mine = has & chosen(cells, mdata.n_obs)
            if mine.any():
                z = np.asarray(member.embed(contract.select(mdata, {mod: mine})), dtype=np.float64)
                out[mod] = pd.DataFrame(z, index=np.flatnonzero(mine))
    return out


def mean_square(halves: Mapping[str, pd.DataFrame]) -> float:
    """Mean squared distance between two random halves."""
    return max(2 * float(np.vstack([z.to_numpy() for z in halves.values()]).var(axis=0).sum()), 1e-12)


def disagreement(halves: Mapping[str, pd.DataFrame]) -> float:
    """Give the sd of a coordinate of a state, from how far the halves of a cell lie apart."""
    apart = []
    for a, b in combinations(halves, 2):
        both = halves[a].index.intersection(halves[b].index)
        apart.append((halves[a].loc[both].to_numpy() - halves[b].loc[both].to_numpy()).ravel())
    values = np.concatenate([np.zeros(0), *apart])
    return float(np.sqrt((values**2).mean() / 2)) if len(values) else float("nan")


def judge_imputation(
    mdata: MuData,
    held: HeldOut,
    names: list[str],
    fitted: Members,
    *,
    modality: str,
    tokenizer: Tokenizer,
    level: float,
    seed: int,
) -> Judgement:
    """Weigh predictions of a modality by their squared error where it was taken away."""
    if len(names) == 1:
        return first_only("impute", names, "the only member that imputes", modality=modality)
    cells = held.lost.get(modality, np.zeros(0, dtype=np.int64))
    cells = cells[: max(200, MAX_VALUES // mdata.mod[modality].n_vars)]
    if len(cells) < MIN_TARGET:
        return first_only("impute", names, "too few paired cells to hold some out", modality=modality)
    asked = chosen(cells, mdata.n_obs)
    query = contract.select(mdata, {m: has & asked for m, has in mask_of(mdata).items() if m != modality})
    found: dict[str, Imputation] = {}
    for name in names:
        if name in fitted:
            try:
                with lenient():
                    found[name] = fitted[name].impute(query, modality)
            except InputError:
                continue  # it does not predict this modality
    if names[0] not in found:
        return first_only("impute", names, "the first member could not be judged", modality=modality)
    source = contract.select(mdata, {modality: asked})
    blocks = [dense_nan(block, None) for _, block in tokenizer.scaled(source, modality)]
    order = source.mod[modality].obs_names.get_indexer(query.obs_names)
    truth = np.vstack(blocks).astype(np.float64)[order]
    mean = np.array([f.mean.to_numpy(dtype=np.float64) for f in found.values()])
    out = _judged("impute", modality, list(found), Regression.of(truth, mean), seed=seed)
    if len(out.weights) == 1:
        return out
    weight = np.array([out.weights.get(name, 0.0) for name in found])
    half = np.array([(f.upper - f.lower).to_numpy(dtype=np.float64) / 2 for f in found.values()])
    ratio = (truth - np.tensordot(weight, mean, 1)) / np.maximum(np.tensordot(weight, half, 1), 1e-9)
    # Cells of known batches say nothing of what a new batch may shift, which the members' own widths may count.
    narrow = held.by_batch or contract.batches(mdata).nunique() == 1
    return replace(out, width=interval_width(ratio, level, narrow=narrow))


def interval_width(ratio_ng: np.ndarray, level: float, *, narrow: bool) -> np.ndarray:
    """Give the conformal factor per feature on the members' own widths, held towards the common one with few cells.

    Parameters
    ----------
    ratio_ng
        Held-out residual / half the weighted width; NaN: not measured.
    narrow
        Whether the common factor may be less than 1.
    """
    spread, quantile = calibrate(ratio_ng, np.ones((len(ratio_ng), 1)), level)
    own_g = np.maximum(np.sqrt(spread[0]) * quantile, 1e-6)
    common = max(float(np.nanquantile(np.abs(ratio_ng), level)), 1e-6)
    trust_g = (~np.isnan(ratio_ng)).sum(axis=0) / ((~np.isnan(ratio_ng)).sum(axis=0) + SHRINK_CELLS)
    return (own_g / common) ** trust_g * (common if narrow else max(common, 1.0))


def judge_labels(mdata: MuData, held: HeldOut, names: list[str], fitted: Members, *, seed: int) -> Judgement:
    """Weigh labels by the log-loss of held-out cells, from label and confidence."""
    if len(names) == 1:
        return first_only("annotate", names, "the only member that annotates")
    if not len(held.unlabelled):
        return first_only("annotate", names, "too few labelled cells to hold some out")
    if names[0] not in fitted:
        return first_only("annotate", names, "the first member could not be fitted without the held-out cells")
    names = [name for name in names if name in fitted]
    label = contract.labels(mdata)
    asked = held.train.obs_names.isin(mdata.obs_names[held.unlabelled])
    query = contract.subset(held.train, asked)
    truth = label[query.obs_names].to_numpy()
    n_classes = label.nunique()
    probability = np.empty((query.n_obs, len(names)))
    with lenient():
        for j, name in enumerate(names):
            table = fitted[name].annotate(query)
            probability[:, j] = class_probability(table, truth, n_classes)
    return _judged("annotate", "", names, Mixture(probability), seed=seed)


def _judged(task: str, modality: str, names: list[str], evidence: Evidence, *, seed: int) -> Judgement:
    weight, score = weigh(evidence, len(names), seed=seed)
    weights = {name: float(w) for name, w in zip(names, weight, strict=True) if w > 0}
    scores = {name: float(s) for name, s in zip(names, score, strict=True)}
    return Judgement(task, modality, weights, scores, evidence.n, "")


def judged_kinds(names: Members) -> list[tuple[str, list[str]]]:
    """Give each task with the members that can do it."""
    kinds: tuple[tuple[str, type], ...] = (("embed", Embeds), ("impute", Imputes), ("annotate", Annotates))
    return [(task, found) for task, kind in kinds if (found := able(names, kind))]
