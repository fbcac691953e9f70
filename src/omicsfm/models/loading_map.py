"""LoadingMap: what peaks that a model never saw say about a cell, from where they lie or from their DNA."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, io
from omicsfm._errors import InputError
from omicsfm.models._nearby import neighbours
from omicsfm.models.linear_mosaic import LinearMosaic
from omicsfm.pp import ATAC, SparseSVD
from omicsfm.seq._intervals import plain_chrom, read_intervals

_ALPHAS = np.logspace(0, 6, 13)
_POSITION = "position"
_MIN_KNOWN = 10  # peaks about which something is known, at least


class LoadingMap(BaseEstimator):
    """Loadings of chromatin tokens for peaks that a model was not fitted on.

    A model of chromatin reads its own peaks only. Its loadings (peaks x tokens) are a function of the peaks: of where
    they lie, or of what their DNA holds. Learnt from the model's peaks, it gives loadings of others, and with these the
    model reads data of another peak set without being refitted (`adapt`).

    Parameters
    ----------
    features
        "position": the loadings of overlapping peaks, else of peaks nearby. Or a key of ``varm``, such as an embedding
        of DNA that :func:`omicsfm.seq.embed` wrote: ridge regression on it.
    modality
        Whose peaks.
    reach
        Bases within which peaks count as nearby.

    Attributes
    ----------
    correlation_ : float64 (n_tokens,), over peaks, of loadings with what is said of them when they are left out (one by
        one for "position", in ten parts for ridge). Near 0 or below: nothing is known of the token from this, unless
        peaks overlap, which those of one model do not.
    n_peaks_ : number of peaks learnt from.

    References
    ----------
    Yuan & Kelley (2022), Nat. Methods 19:1088 (cells as directions in what is read of a peak's DNA); Hoerl & Kennard
    (1970), Technometrics 12:55.
    """

    def __init__(self, features: str = _POSITION, *, modality: str = "atac", reach: int = 200_000) -> None:
        self.features = features
        self.modality = modality
        self.reach = reach

    def fit(self, model: LinearMosaic, adata: ad.AnnData) -> Self:
        """Learn from the peaks of a fitted model.

        Parameters
        ----------
        model
            Fitted, with chromatin among its modalities.
        adata
            The modality that it was fitted on, or any with these peaks: only `var` and ``varm`` are read.

        Raises
        ------
        InputError
            If the model is not of this kind, lacks the modality, or peaks of it, their places or features are missing.
        """
        tokenizer = self._tokenizer(model)
        chosen = tokenizer.features_[self.modality]
        names = np.asarray(tokenizer.var_names_[self.modality], dtype=object)[chosen]
        at = adata.var_names.get_indexer(pd.Index(names))
        if (at < 0).any():
            raise InputError(
                f"LoadingMap.fit: {int((at < 0).sum()):,} of {len(at):,} peaks of the model are not in adata, first "
                f"'{names[np.argmax(at < 0)]}'. Fix: give the modality that the model was fitted on."
            )
        loading_gk = tokenizer.svd_[self.modality].components_.T
        self.n_train_vars_ = len(tokenizer.var_names_[self.modality])
        self.n_peaks_ = len(names)
        if self.features == _POSITION:
            self.places_ = self._places(adata).iloc[at]
            near = neighbours(self.places_, self.places_, self.reach, others=True)
            said = np.asarray(near @ loading_gk)
            told = np.diff(near.indptr) > 0
            self.loading_gk_ = loading_gk
        else:
            x = self._features(adata)[at]
            told = np.isfinite(x).all(axis=1)
            if told.sum() < _MIN_KNOWN:
                raise InputError(
                    f"LoadingMap.fit: {_MIN_KNOWN} peaks with finite varm[{self.features!r}] are needed, found "
                    f"{int(told.sum())}. Fix: embed their DNA by ofm.seq.embed."
                )
            self.scaler_ = StandardScaler().fit(x[told])
            self.ridge_ = RidgeCV(alphas=_ALPHAS).fit(self.scaler_.transform(x[told]), loading_gk[told])
            said = np.full_like(loading_gk, np.nan)
            # The penalty was chosen on all peaks; one number hardly adapts to the tenth that is left out.
            ridge = RidgeCV(alphas=[self.ridge_.alpha_])
            said[told] = cross_val_predict(
                ridge, self.scaler_.transform(x[told]), loading_gk[told], cv=KFold(min(10, int(told.sum())))
            )
        truth, said = (x - x.mean(axis=0) for x in (loading_gk[told], said[told]))
        length = np.sqrt((truth**2).sum(axis=0) * (said**2).sum(axis=0))
        self.correlation_ = (truth * said).sum(axis=0) / np.maximum(length, 1e-300)
        return self

    def loadings(self, adata: ad.AnnData) -> np.ndarray:
        """Give loadings of any peaks, float64 (n_vars, n_tokens); NaN for peaks of which nothing is known."""
        check_is_fitted(self, "correlation_")
        if self.features == _POSITION:
            near = neighbours(self._places(adata), self.places_, self.reach)
            said = np.asarray(near @ self.loading_gk_)
            said[np.diff(near.indptr) == 0] = np.nan
            return said
        x = self._features(adata)
        if x.shape[1] != self.scaler_.n_features_in_:
            raise InputError(
                f"LoadingMap: fitted on {self.scaler_.n_features_in_} columns of varm[{self.features!r}], found "
                f"{x.shape[1]}. Fix: embed both by the same model."
            )
        told = np.isfinite(x).all(axis=1)
        said = np.full((len(x), len(self.correlation_)), np.nan)
        if told.any():
            said[told] = self.ridge_.predict(self.scaler_.transform(x[told]))
        return said

    def accessibility(self, tokens_nk: np.ndarray, adata: ad.AnnData) -> np.ndarray:
        """Give how far peaks are more open than on average in cells, from their tokens alone.

        Parameters
        ----------
        tokens_nk
            (n_cells, n_tokens) chromatin tokens, measured or imputed, or their means over cell states.
        adata
            Peaks, seen or not.

        Returns
        -------
        float64 (n_cells, n_vars), TF-IDF minus the mean of the peak; NaN for peaks of which nothing is known.
        """
        return np.asarray(tokens_nk, dtype=np.float64) @ self.loadings(adata).T

    def adapt(self, model: LinearMosaic, mdata: MuData) -> LinearMosaic:
        """Give a copy of the model that reads the peaks of other data; the model itself is not changed.

        Parameters
        ----------
        model
            The model that `fit` was given.
        mdata
            The other data. How open peaks are on average is read from them, so they should hold the cell types that
            training held, in about the same shares; a single type among them would be taken for the average cell.

        Returns
        -------
        The copy; it embeds and annotates `mdata` and further cells with these peaks, and imputes all but chromatin.
        Peaks of which nothing is known are passed over.

        Raises
        ------
        InputError
            If fewer than ten peaks are known, or the modality is missing or was measured by panels.
        """
        check_is_fitted(self, "correlation_")
        tokenizer = self._tokenizer(model)
        if self.modality not in mdata.mod:
            raise InputError(f"LoadingMap.adapt: the data have no modality '{self.modality}'. Fix: name it so.")
        if contract.measured(mdata, self.modality) is not None:
            raise InputError(
                f"LoadingMap.adapt: all cells must have all peaks of '{self.modality}', found panels. "
                "Fix: adapt to each batch by itself."
            )
        adata = mdata.mod[self.modality]
        loading_gk = self.loadings(adata)
        known = np.flatnonzero(np.isfinite(loading_gk).all(axis=1))
        if len(known) < _MIN_KNOWN:
            raise InputError(
                f"LoadingMap.adapt: {_MIN_KNOWN} peaks or more of which something is known are needed, found "
                f"{len(known)} of {adata.n_vars:,}. Fix: give data of the same assembly, or a larger reach."
            )
        recipe = ATAC()
        for block in _blocks(adata, known):
            recipe.update(block)
        recipe.finish()
        # Rows have length 1 over however many peaks there are; loadings speak of values over those of training.
        scale = float(np.sqrt(self.n_train_vars_ / len(known)))
        svd = _projection(
            lambda: (recipe.scale(block) for block in _blocks(adata, known)),
            loading_gk[known] * scale,
            tokenizer.svd_[self.modality].variance_,
        )
        out = copy.copy(tokenizer)
        for name, value in (
            ("var_names_", [str(adata.var_names[i]) for i in known]),
            ("recipes_", recipe),
            ("features_", np.arange(len(known))),
            ("svd_", svd),
        ):
            setattr(out, name, {**getattr(tokenizer, name), self.modality: value})
        adapted = copy.copy(model)
        adapted.tokenizer_ = out
        adapted.decoders_ = {mod: part for mod, part in model.decoders_.items() if mod != self.modality}
        return adapted

    def _tokenizer(self, model: Any) -> Any:
        if not isinstance(model, LinearMosaic) or not hasattr(model, "tokenizer_"):
            raise InputError(
                f"LoadingMap: a fitted LinearMosaic was needed, found {type(model).__name__}. Fix: fit one first."
            )
        found = model.tokenizer_
        if self.modality not in found.svd_ or not isinstance(found.recipes_[self.modality], ATAC):
            raise InputError(
                f"LoadingMap: the model reads no chromatin called '{self.modality}', found "
                f"{', '.join(f'{mod} ({kind})' for mod, kind in found.recipe_names().items())}. Fix: modality=..."
            )
        return found

    def _places(self, adata: ad.AnnData) -> pd.DataFrame:
        table = read_intervals("LoadingMap", adata.var)
        return table.assign(chrom=[plain_chrom(name) for name in table["chrom"]])

    def _features(self, adata: ad.AnnData) -> np.ndarray:
        if self.features not in adata.varm:
            raise InputError(
                f"LoadingMap: varm[{self.features!r}] was needed, found {', '.join(adata.varm) or 'none'}. "
                "Fix: embed the peaks' DNA by ofm.seq.embed, or features='position'."
            )
        found = adata.varm[self.features]
        return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=np.float64)


def _blocks(adata: ad.AnnData, columns: np.ndarray) -> Iterator[Any]:
    for block in io.raw_blocks(adata.X):
        yield block[:, columns]


def _projection(blocks: Any, loading_gk: np.ndarray, variance_k: np.ndarray) -> SparseSVD:
    """Give what projects cells on loadings that are not orthonormal, as the fitted projection does on its own.

    Tokens are posterior means of a factor model with these loadings (Tipping & Bishop 1999), brought to the total
    variance that tokens had in training, since posterior means are shrunk.
    """
    n, total_g, square = 0, np.zeros(len(loading_gk)), 0.0
    for x_ng in blocks():
        n += x_ng.shape[0]
        total_g += np.asarray(x_ng.sum(axis=0)).ravel()
        square += float(x_ng.multiply(x_ng).sum())
    mean_g = total_g / n
    noise = max(square / n - float(mean_g @ mean_g), 1e-12) / len(mean_g)
    gram_kk = loading_gk.T @ loading_gk / noise + np.diag(1 / np.maximum(variance_k, 1e-12))
    map_kg = np.linalg.solve(gram_kk, loading_gk.T / noise)
    spread = 0.0
    for x_ng in blocks():
        spread += float(((np.asarray(x_ng @ map_kg.T) - mean_g @ map_kg.T) ** 2).sum())
    svd = SparseSVD(len(variance_k))
    svd.components_ = map_kg * np.sqrt(variance_k.sum() * max(n - 1, 1) / max(spread, 1e-300))
    svd.mean_, svd.variance_, svd.n_obs_ = mean_g, variance_k, n
    return svd
