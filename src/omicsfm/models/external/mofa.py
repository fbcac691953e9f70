"""MOFA: multi-omics factor analysis by mofapy2, under the contract of this package."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.models._checks import check_query
from omicsfm.models._token_model import PROBE_ROWS
from omicsfm.models.baselines._base import Embedder
from omicsfm.pp import Tokenizer, Tokens, dense_nan, vstack

BLOCK_ROWS = 1024


@hub.saveable
class MOFA(Embedder):
    """Bayesian factor model with sparse weights (MOFA+), fitted by mofapy2 (extra ``peers``).

    Every modality enters as Gaussian on its recipe's scale, with the features that make its tokens, centred and scaled
    to an average variance of 1; what a cell lacks is missing. Batches are not groups. mofapy2 cannot place a cell it
    was not trained on: `embed` is ours, the posterior mean of the factors given the learnt weights (first and second
    moment) and noise, for seen and new cells alike.

    What mofapy2 does besides and is kept from you: it prints on every step, seeds NumPy's global generator, switches
    off all warnings when it is imported, and ends the process (``sys.exit``) on a TypeError or Ctrl-C.

    Parameters
    ----------
    n_components
        Number of factors.
    max_features
        Features per modality, the most variable ones; mofapy2 holds them dense.
    max_iter
        Largest number of iterations; mofapy2's "fast" criterion usually stops before.
    seed
        Seed of everything random.

    Attributes
    ----------
    features_ : modality -> positions of the features used.
    mean_, scale_ : modality -> (n_features,) and factor.
    weights_, weights2_ : modality -> (n_features, n_components), first and second moment of the weights.
    precision_ : modality -> (n_features,), of the noise.

    References
    ----------
    Argelaguet et al. (2018), Mol. Syst. Biol. 14:e8124; Argelaguet et al. (2020), Genome Biol. 21:111.
    """

    n_tokens = 30  # of the tokenizer, which chooses the features

    def __init__(
        self, n_components: int = 15, *, max_features: int = 2000, max_iter: int = 1000, seed: int = 0
    ) -> None:
        self.n_components = n_components
        self.max_features = max_features
        self.max_iter = max_iter
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.features_: dict[str, np.ndarray] = {}
        self.mean_: dict[str, np.ndarray] = {}
        self.scale_: dict[str, float] = {}
        views = []
        for mod in tokens.values:
            x_ng = vstack([block for _, block in self.tokenizer_.scaled(mdata, mod)])
            self.features_[mod] = _most_variable(x_ng, self.tokenizer_.features_[mod], self.max_features)
            x_ng = dense_nan(x_ng[:, self.features_[mod]], None).astype(np.float64)
            self.mean_[mod] = np.nanmean(x_ng, axis=0)
            self.scale_[mod] = 1 / max(float(np.nanmean((x_ng - self.mean_[mod]) ** 2)), 1e-12) ** 0.5
            view = np.full((mdata.n_obs, x_ng.shape[1]), np.nan)
            view[tokens.rows[mod]] = (x_ng - self.mean_[mod]) * self.scale_[mod]
            views.append(view)
        nodes = _train(list(tokens.values), views, self.n_components, self.max_iter, self.seed)
        self.weights_, self.weights2_, self.precision_ = {}, {}, {}
        for i, mod in enumerate(tokens.values):
            moment = nodes["W"].nodes[i].getExpectations()
            self.weights_[mod] = np.asarray(moment["E"], dtype=np.float64)
            self.weights2_[mod] = np.asarray(moment["E2"], dtype=np.float64)
            noise = np.asarray(nodes["Tau"].nodes[i].getExpectations(expand=False)["E"], dtype=np.float64)
            self.precision_[mod] = noise.reshape(-1, len(self.mean_[mod]))[0]

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> MOFA:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer (its recipes and features are used), and its tokens of exactly these cells.

        Raises
        ------
        MissingDependency
            If mofapy2 is not installed.
        InputError
            For a MuData that breaks the contract, one modality, or no more cells than factors.
        """
        _import()
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        self.probe_ = {m: x[:PROBE_ROWS] for m, (_, x) in self._inputs(mdata).items()}
        return self

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the posterior mean of the factors of any cells, seen or new, in any subset of the modalities.

        Returns
        -------
        float64 array (n_obs, n_components), rows as ``mdata.obs_names``.
        """
        check_is_fitted(self, "training_data_")
        return self._project(self._inputs(check_query(mdata, self.tokenizer_)), mdata.n_obs)

    def _inputs(self, mdata: MuData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Rows in obs, and centred and scaled features, of every modality that is known."""
        known = [m for m in mdata.mod if m in self.mean_]
        if len(known) < len(mdata.mod):
            self.tokenizer_.transform(mdata)  # says what is wrong with the names, as every model does
        out = {}
        for mod in known:
            parts = [dense_nan(x[:, self.features_[mod]], None) for _, x in self.tokenizer_.scaled(mdata, mod)]
            x_ng = np.vstack([np.zeros((0, len(self.mean_[mod]))), *parts])
            out[mod] = contract.rows(mdata, mod), (x_ng - self.mean_[mod]) * self.scale_[mod]
        return out

    def _project(self, inputs: dict[str, tuple[np.ndarray, np.ndarray]], n_obs: int) -> np.ndarray:
        k = next(iter(self.weights_.values())).shape[1]
        gram = np.tile(np.eye(k), (n_obs, 1, 1))
        right = np.zeros((n_obs, k))
        for mod, (rows, x_ng) in inputs.items():
            w_gk, noise_g = self.weights_[mod], self.precision_[mod]
            outer_gkk = w_gk[:, :, None] * w_gk[:, None, :]
            outer_gkk[:, np.arange(k), np.arange(k)] = self.weights2_[mod]
            outer = outer_gkk.reshape(len(w_gk), -1)
            for start in range(0, len(rows), BLOCK_ROWS):
                part = slice(start, start + BLOCK_ROWS)
                seen = ~np.isnan(x_ng[part])
                gram[rows[part]] += ((seen * noise_g) @ outer).reshape(-1, k, k)
                right[rows[part]] += (np.where(seen, x_ng[part], 0) * noise_g) @ w_gk
        return np.linalg.solve(gram, right[:, :, None])[:, :, 0]

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self._project({m: (np.arange(len(x)), x) for m, x in inputs.items()}, max(map(len, inputs.values())))


def _most_variable(x_ng: Any, candidates: np.ndarray, n: int) -> np.ndarray:
    part = x_ng[:, candidates]
    if sparse.issparse(part):
        mean_g = np.asarray(part.mean(axis=0)).ravel()
        variance_g = np.asarray(part.multiply(part).mean(axis=0)).ravel() - mean_g**2
    else:
        variance_g = np.nanvar(part, axis=0)
    return np.sort(candidates[np.argsort(-variance_g, kind="stable")[:n]])


def _import() -> Any:
    with warnings.catch_warnings():  # the import itself ends in filterwarnings("ignore")
        warnings.simplefilter("ignore")
        return require("mofapy2.run.entry_point", extra="peers")


@contextlib.contextmanager
def _tamed() -> Iterator[None]:
    """Silence mofapy2, and put back NumPy's global generator, which it seeds."""
    state = np.random.get_state()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)


def _train(mods: list[str], views: list[np.ndarray], n_components: int, max_iter: int, seed: int) -> dict[str, Any]:
    """Run mofapy2 on views (n_obs, n_features) with NaN; gives its nodes."""
    entry_point = _import().entry_point
    n_obs = len(views[0])
    if n_obs <= n_components:
        raise InputError(
            f"MOFA.fit: more cells than factors are needed, found {n_obs} and {n_components}. Fix: lower n_components."
        )
    try:
        with _tamed():
            run = entry_point()
            run.set_data_options(scale_views=False, scale_groups=False, center_groups=True)
            run.set_data_matrix(
                [[view] for view in views],
                likelihoods=["gaussian"] * len(views),
                views_names=mods,
                groups_names=["all"],
                samples_names=[[str(i) for i in range(n_obs)]],
                features_names=[[f"{m}{j}" for j in range(v.shape[1])] for m, v in zip(mods, views, strict=True)],
            )
            run.set_model_options(factors=n_components)
            run.set_train_options(iter=max_iter, convergence_mode="fast", seed=seed, quiet=True)
            run.build()
            run.run()
    except SystemExit as err:
        if err.__context__ is not None:  # what mofapy2 caught before it ended the process
            raise err.__context__ from None
        raise InputError("MOFA.fit: mofapy2 gave up and did not say why. Fix: try fewer factors.") from err
    return run.model.nodes
