"""peak_to_gene: which regions are open where a gene nearby is expressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from scipy.stats import false_discovery_control

from omicsfm import _compat, contract
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.seq._intervals import read_intervals
from omicsfm.tl._cis_pairs import near_pairs, start_sites
from omicsfm.tl._model import need_mudata
from omicsfm.tl._pseudo_bulk import pooled_expression, state_of_cells
from omicsfm.tl._trans_null import judge

_MIN_CELLS = 5  # of each modality in a state
_MIN_STATES = 10
_CELLS_PER_STATE = 20
_GROUPINGS = 5  # a single one leaves it to chance which cells stand together


def peak_to_gene(
    mdata: MuData,
    *,
    peaks: str = "atac",
    genes: str = "rna",
    use_rep: str = "X_mosaic",
    max_distance: int = 250_000,
    contacts: str | None = None,
    n_states: int | None = None,
    level: float = 0.1,
    key_added: str = "peak_to_gene",
    seed: int = 0,
) -> pd.DataFrame:
    """Link peaks to genes nearby: by distance, by correlation over cell states, and by contact where a map is given.

    Cells are pooled by state, each modality over the cells that have it, so cells with one modality count too. What a
    correlation is worth is judged beside the same gene and peaks on other chromosomes: cell types make those correlate
    as well.

    Parameters
    ----------
    mdata
        Satisfies the contract. Peaks and genes have `chrom`, `start`, `end` in their `var` (peaks also by names such as
        ``"chr1:100-600"``); where genes have a `strand`, distance is counted from where transcription starts.
        Genes without a place are left out. Written to.
    peaks, genes
        The two modalities.
    use_rep
        State of cells in ``mdata.obsm``, as :func:`integrate` writes it.
    max_distance
        Bases between peak and gene.
    contacts
        Key of ``mdata.varp`` that :func:`omicsfm.seq.add_contacts` wrote for the whole `mdata`; told beside each link.
    n_states
        Number of states; None: one for 20 cells, 10 to 100.
    level
        Links up to this q-value are written.
    key_added
        Key of ``mdata.varp``.
    seed
        Of states and background.

    Returns
    -------
    DataFrame
        One row per pair nearby, the surest first: peak, gene, distance (bases, 0 where they overlap), correlation
        (Pearson, of log1p counts per 10,000 over states; mean of five groupings into states), contact (observed over
        expected; only with `contacts`; NaN where the map cannot tell), p (two-sided, among background pairs), q
        (Benjamini-Hochberg over all pairs). NaN for features that do not vary.

    Raises
    ------
    InputError
        If a modality, the state or intervals are missing, fewer than 10 states have 5 cells of both modalities, no pair
        is near, or all peaks are on one chromosome.

    Notes
    -----
    ``mdata.varp[key_added]``, CSR float32 over all features of `mdata` (a table of peaks and genes is not square, so no
    modality's `varp` holds it): the correlation at (peak, gene) for links with q <= `level`.

    References
    ----------
    Ma et al. (2020), Cell 183:1103 (correlation with genes nearby, background peaks of like accessibility); Stuart
    et al. (2021), Nat. Methods 18:1333 (background from other chromosomes); Benjamini & Hochberg (1995), J. R. Stat.
    Soc. B 57:289.
    """
    state_nk = _checked(mdata, peaks, genes, use_rep=use_rep, contacts=contacts)
    if max_distance < 0 or not 0 < level <= 1:
        raise InputError(
            f"peak_to_gene: max_distance must be 0 or more and level in (0, 1], found {max_distance} and {level}. "
            "Fix: such as 250_000 and 0.1."
        )
    peak_at = read_intervals("peak_to_gene", mdata.mod[peaks].var)
    gene_at, gene_row = _genes(mdata.mod[genes].var)
    pairs = near_pairs(peak_at, gene_at, max_distance)
    if pairs.empty:
        some = [", ".join(map(str, at["chrom"].unique()[:3])) for at in (peak_at, gene_at)]
        raise InputError(
            f"peak_to_gene: no peak is within {max_distance:,} bases of a gene; peaks are on {some[0]}, genes on "
            f"{some[1]}. Fix: give both the same assembly and names of chromosomes, or a larger max_distance."
        )
    n = n_states or int(np.clip(mdata.n_obs // _CELLS_PER_STATE, _MIN_STATES, 100))
    pooled: dict[str, list[np.ndarray]] = {peaks: [], genes: []}
    for i in progress(range(_GROUPINGS), desc="states of cells"):
        state_n = state_of_cells(state_nk, n, seed=seed + i)
        cells = [np.bincount(state_n[contract.rows(mdata, mod)], minlength=n) for mod in (peaks, genes)]
        full = np.minimum(*cells) >= _MIN_CELLS
        if full.sum() < _MIN_STATES:
            raise InputError(
                f"peak_to_gene: {_MIN_STATES} states or more with {_MIN_CELLS} cells of each modality are needed, "
                f"found {int(full.sum())} of {n}. Fix: more cells, other n_states, or a state that mixes modalities."
            )
        for mod, parts in pooled.items():
            parts.append(pooled_expression(mdata, mod, state_n, n)[full])
    found = judge(
        pooled[peaks],
        [x_sg[:, gene_row] for x_sg in pooled[genes]],
        pairs=(pairs["peak"].to_numpy(), pairs["gene"].to_numpy()),
        chroms=(peak_at["chrom"].to_numpy(dtype=object), gene_at["chrom"].to_numpy(dtype=object)),
        seed=seed,
    )
    q = np.full(len(pairs), np.nan)
    judged = np.isfinite(found.p)
    if judged.any():
        q[judged] = false_discovery_control(found.p[judged])
    table = pd.DataFrame(
        {
            "peak": peak_at.index.to_numpy(dtype=object)[pairs["peak"]],
            "gene": gene_at.index.to_numpy(dtype=object)[pairs["gene"]],
            "distance": pairs["distance"].to_numpy(),
            "correlation": found.correlation,
        }
    )
    at = [mdata.var_names.get_indexer(pd.Index(table[name], dtype=object)) for name in ("peak", "gene")]
    if contacts is not None:
        table["contact"] = _contact(mdata, contacts, at)
    table = table.assign(p=found.p, q=q)
    kept = (q <= level) & (table["correlation"] != 0).to_numpy()
    links = sparse.csr_matrix(
        (table["correlation"].to_numpy(dtype=np.float32)[kept], (at[0][kept], at[1][kept])),
        shape=(mdata.n_vars, mdata.n_vars),
    )
    with _compat.silent():  # mudata 0.3 about its own update()
        mdata.varp[key_added] = links
    contract.record(
        mdata,
        "peak_to_gene",
        slots=[key_added],
        use_rep=use_rep,
        max_distance=max_distance,
        n_states=n,
        level=level,
        n_pairs=len(table),
        n_links=int(kept.sum()),
        seed=seed,
    )
    return table.sort_values(["p", "distance"], kind="stable", ignore_index=True)


def _checked(mdata: Any, peaks: str, genes: str, *, use_rep: str, contacts: str | None) -> np.ndarray:
    """Give the states of cells (n_obs, n_latent)."""
    need_mudata(mdata, "peak_to_gene")
    for mod in (peaks, genes):
        if mod not in mdata.mod:
            raise InputError(f"peak_to_gene: there is no modality '{mod}'. Fix: choose of {', '.join(mdata.mod)}.")
    if use_rep not in mdata.obsm:
        raise InputError(
            f"peak_to_gene: a state of cells was needed, found no obsm[{use_rep!r}]. "
            "Fix: ofm.tl.integrate(mdata) first, or use_rep=."
        )
    if contacts is not None and (contacts not in mdata.varp or f"{contacts}_bin" not in mdata.var):
        raise InputError(
            f"peak_to_gene: mdata.varp has no contacts {contacts!r}. "
            f"Fix: ofm.seq.add_contacts(mdata, ..., key_added={contacts!r}) on the whole MuData."
        )
    state = np.asarray(mdata.obsm[use_rep], dtype=np.float64)
    if not np.isfinite(state).all():
        raise InputError(f"peak_to_gene: obsm[{use_rep!r}] has values that are not finite. Fix: integrate anew.")
    return state


def _genes(var: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Give where genes begin, and their positions in `var`; genes without a place are left out."""
    columns = [name for name in ("chrom", "chr", "Chromosome", "chromosome", "start", "end") if name in var]
    placed = var[columns].notna().all(axis=1).to_numpy() if columns else np.ones(len(var), dtype=bool)
    table = read_intervals("peak_to_gene", var[placed])
    told = np.zeros(len(table), dtype=bool)
    if "strand" in var:
        told = var[placed]["strand"].astype(str).isin(["+", "-", "1", "-1"]).to_numpy()
    return start_sites(table, stranded=told), np.flatnonzero(placed)


def _contact(mdata: MuData, key: str, at: list[np.ndarray]) -> np.ndarray:
    """Look up the contacts of pairs; NaN where a bin was not measured, or is that of both."""
    bins = mdata.var[f"{key}_bin"].to_numpy()
    first, second = bins[at[0]], bins[at[1]]
    value = np.asarray(sparse.csr_matrix(mdata.varp[key])[at[0], at[1]], dtype=np.float64).ravel()
    return np.where((first < 0) | (second < 0) | (first == second), np.nan, value)
