"""Priors of perturbation targets: what was known of a gene before it was perturbed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract, datasets
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.contract._organism import organism_problem
from omicsfm.pp._gene_names import gene_symbols, plain_name
from omicsfm.pp._gene_sets import gene_set_prior, go_prior, regulon_prior, summary_prior, text_prior
from omicsfm.pp._prior_tables import reduce_prior
from omicsfm.pp._response_data import log_normalised
from omicsfm.pp._svd import SparseSVD

_IDS = "human_gene_ids_org.Hs.eg.db_3.16.csv.gz"
_GO = ("go_human_direct_org.Hs.eg.db_3.16.csv.gz", "go_dag_parents_GO.db_3.16.csv.gz")
_FILES: dict[str, tuple[Callable[..., pd.DataFrame], tuple[str, ...]]] = {
    # Apart, since a process, a function and a place say different things, and a model may weigh them.
    "go_bp": (partial(go_prior, ontologies=("bp",)), _GO),
    "go_mf": (partial(go_prior, ontologies=("mf",)), _GO),
    "go_cc": (partial(go_prior, ontologies=("cc",)), _GO),
    "pathways": (gene_set_prior, ("c2.cp.v7.5.1.symbols.gmt",)),
    "hallmark": (gene_set_prior, ("h.all.v7.5.1.symbols.gmt",)),
    "regulon": (regulon_prior, ("dorothea_hs.csv.gz",)),
    "summary": (summary_prior, ("ncbi_gene_summaries_1915.json.gz",)),
    "text": (text_prior, ("genept_adamson87_1536d.csv.gz",)),
}
_EXPRESSION = "expression"
ANNOTATIONS = ("go_bp", "go_mf", "go_cc", "pathways", "hallmark", "regulon")


def target_priors(targets: Iterable[str], names: Sequence[str] = ANNOTATIONS) -> dict[str, pd.DataFrame]:
    """Give what is known of the targets of perturbations, for data without cells.

    Parameters
    ----------
    targets
        Perturbations as in a design; "A+B" stands for its members. Human gene symbols or Ensembl ids.
    names
        Of "go_bp", "go_mf", "go_cc" (Gene Ontology: process, function, component), "pathways" (MSigDB C2.CP),
        "hallmark" (MSigDB H), "regulon" (DoRothEA A to C), "summary" (words of NCBI's gene summaries, of 1,915 genes),
        "text" (GenePT, 87 genes only).

    Returns
    -------
    Name -> DataFrame (known targets, at most 500 features) of float32 whose dot products are cosines, for
    ``ResponseModel().fit_effects(..., priors=...)``. A target of which nothing is known is not in the table, and a
    prior that knows none of them is left out; a warning names targets that no prior knows.

    Raises
    ------
    InputError
        If a name is none of these, or the files cannot be had.
    """
    _check_names("target_priors", names, tuple(_FILES))
    single = _members(targets)
    found = _from_files(single, names)
    _warn_of_unknown("target_priors", single, found)
    return {name: prior for name, prior in found.items() if len(prior)}


def add_priors(
    mdata: MuData,
    names: Sequence[str] = (*ANNOTATIONS, _EXPRESSION),
    *,
    seed: int = 0,
) -> None:
    """Write what is known of the targets into the guide modality, as ``varm["prior_<name>"]``.

    Each is float32 (guides, at most 500 features), NaN in the rows of controls and of targets of which nothing is
    known. A prior that knows none of the targets is not written. Source, sha256 and the number of known targets are
    recorded in ``uns["omicsfm"]["priors"]``.

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key`` and ``control``, human.
    names
        As in :func:`target_priors`, and "expression" (:func:`expression_prior` of modality "rna").
    seed
        Of the principal components of the controls.

    Raises
    ------
    InputError
        If a name is unknown, there is no guide modality, the organism is not human (but for "expression"), or, for
        "expression", there are no controls.
    """
    _check_names("add_priors", names, (*_FILES, _EXPRESSION))
    mod = contract.guide_modality(mdata)
    if mod is None:
        raise InputError(
            "add_priors: there is no guide modality to write to. "
            'Fix: ofm.setup(mdata, perturbation_key="...", control="..."), or pp.target_priors(targets) without cells.'
        )
    from_files = [name for name in names if name in _FILES]
    _check_human(mdata, from_files)
    target, single = _guide_targets(mdata, mod), _targets(mdata)
    found = _from_files(single, from_files)
    if _EXPRESSION in names:
        found[_EXPRESSION] = expression_prior(mdata, seed=seed)
    _warn_of_unknown("add_priors", single, found)
    sha256 = {file.name: file.sha256 for file in datasets.info("priors").files}
    known: dict[str, Any] = {}
    for name in [name for name in names if len(found[name])]:
        mdata.mod[mod].varm[f"prior_{name}"] = found[name].reindex(target).to_numpy(dtype=np.float32)
        files = _FILES[name][1] if name in _FILES else ()
        known[name] = {
            "kind": "gene annotation" if files else "principal components of the controls",
            "source": ", ".join(files) or "rna",
            "sha256": ", ".join(sha256[file] for file in files),
            "n_known": len(found[name]),
            "n_targets": len(single),
        }
    slot = mdata.uns["omicsfm"]
    mdata.uns["omicsfm"] = {**slot, "priors": {**slot.get("priors", {}), **known}}
    contract.record(mdata, "pp.add_priors", names=list(names), seed=seed, priors=known)


def expression_prior(mdata: MuData, modality: str = "rna", *, n_components: int = 50, seed: int = 0) -> pd.DataFrame:
    """Give the co-expression of each target's own gene, seen in unperturbed cells only.

    Principal components of the standardised log-normalised controls (of all contexts together). The dot product of two
    rows is the correlation of the two genes that these components hold.

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key`` and ``control``.
    modality
        Where expression was measured. Targets are compared with its names and the columns `gene_id`, `symbol` and
        `gene_name` of its `var`, whatever their case.
    n_components
        Number of components; fewer where there are fewer cells or genes.
    seed
        Of the decomposition.

    Returns
    -------
    DataFrame (targets that are among the genes and vary in controls, components).

    Raises
    ------
    InputError
        If there is no such modality, or it has fewer than 2 controls.
    """
    if modality not in mdata.mod:
        raise InputError(
            f"expression_prior: there is no modality '{modality}', found {list(mdata.mod)}. "
            f'Fix: leave "{_EXPRESSION}" out, or name the modality.'
        )
    var = mdata.mod[modality].var
    control = contract.perturbations(mdata)["is_control"].to_numpy()[contract.rows(mdata, modality)]
    if control.sum() < 2:
        raise InputError(
            f"expression_prior: 2 controls or more are needed, found {int(control.sum())}. "
            f'Fix: ofm.setup(mdata, control="..."), or leave "{_EXPRESSION}" out.'
        )
    x = sparse.csr_matrix(log_normalised(mdata, modality)[control])
    mean = np.asarray(x.mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(np.asarray(x.multiply(x).mean(axis=0)).ravel() - mean**2, 0.0))
    varies = np.flatnonzero(sd > 1e-6 * np.maximum(np.abs(mean), 1e-6))  # NaN (not measured in all) is no variation
    own: dict[str, int] = {}
    for names in (var.index, *(var[column] for column in ("gene_id", "symbol", "gene_name") if column in var)):
        for i, name in enumerate(np.asarray(names, dtype=str)[varies]):
            own.setdefault(plain_name(name), i)
    known = [target for target in _targets(mdata) if plain_name(target) in own]
    if not known:
        return pd.DataFrame(dtype=np.float32)
    svd = SparseSVD(min(n_components, len(varies)), seed=seed).fit(
        (x[:, varies] @ sparse.diags(1 / sd[varies])).tocsr()
    )
    loading = svd.components_.T * np.sqrt(svd.variance_)
    place = [own[plain_name(target)] for target in known]
    return pd.DataFrame(loading[place].astype(np.float32), index=pd.Index(known, dtype=object))


def _from_files(targets: Sequence[str], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Give the reduced priors, one row per known target, under the targets' own names."""
    if not names:
        return {}
    paths = datasets.fetch("priors", progress=False)
    symbol = gene_symbols(targets, paths[_IDS])
    out = {}
    for name in names:
        build, files = _FILES[name]
        # An older annotation may know a gene by the very name that was given.
        prior = build(list(dict.fromkeys([*symbol.values(), *targets])), *(paths[file] for file in files))
        row = {target: symbol[target] if symbol[target] in prior.index else target for target in targets}
        known = [target for target in targets if row[target] in prior.index]
        reduced = reduce_prior(prior.loc[list(dict.fromkeys(row[target] for target in known))])
        out[name] = reduced.loc[[row[target] for target in known]].set_axis(pd.Index(known, dtype=object), axis=0)
    return out


def _guide_targets(mdata: MuData, mod: str) -> pd.Series:
    """Target of every feature of the guide modality, NaN for a control."""
    var, control = mdata.mod[mod].var, contract.control_of(mdata)
    named = var["target"] if "target" in var else var.index.to_series().str.removeprefix("guide:")
    named = named.astype(str).astype(object)
    return named.where([bool(contract.members(name, control)) for name in named])


def _targets(mdata: MuData) -> list[str]:
    """All that was perturbed, once each."""
    mod = contract.guide_modality(mdata)
    if mod is not None:
        return list(dict.fromkeys(_guide_targets(mdata, mod).dropna()))
    return _members(contract.perturbations(mdata)["perturbation"].dropna().unique())


def _members(perturbations: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(part for name in perturbations for part in contract.members(str(name))))


def _warn_of_unknown(function: str, targets: Sequence[str], found: Mapping[str, pd.DataFrame]) -> None:
    known = {target for prior in found.values() for target in prior.index}
    missing = sorted(target for target in targets if target not in known)
    if missing:
        told = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        warnings.warn(
            f"{function}: nothing is known of {len(missing)} of {len(targets)} targets ({told}) in {', '.join(found)}.",
            OmicsfmWarning,
            stacklevel=3,
        )


def _check_human(mdata: MuData, names: Sequence[str]) -> None:
    organism = contract.organism_of(mdata)
    found = None if organism in (None, "human") else f"organism '{organism}'"
    if organism is None and "rna" in mdata.mod:
        found = organism_problem(mdata.mod["rna"].var_names, "human")
    if names and found:
        raise InputError(
            f"add_priors: {', '.join(names)} are priors on human genes, found {found}. "
            f'Fix: names=("{_EXPRESSION}",), or rename genes and targets to their human orthologues.'
        )


def _check_names(function: str, names: Sequence[str], allowed: tuple[str, ...]) -> None:
    if isinstance(names, str) or not names or set(names) - set(allowed):
        raise InputError(f"{function}: names needs a list of {list(allowed)}, found {names!r}. Fix: choose from these.")
