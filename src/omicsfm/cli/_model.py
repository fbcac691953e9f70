"""omicsfm check, fit, embed, impute, annotate, info: the model on files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omicsfm import InputError
from omicsfm.cli._common import Force, Json, Names, recipes, say, tell, writable

if TYPE_CHECKING:
    from mudata import MuData

_SUFFIXES = (".h5mu", ".zarr")


def check(file: Path, /, *, modalities: Names = None, as_json: Json = False) -> None:
    """Check a file against the contract: every violation at once, each with its fix. Exit code 2 if there is one.

    Parameters
    ----------
    file
        MuData or AnnData: .h5mu, .zarr, .h5ad or 10x .h5.
    """
    import omicsfm as ofm

    report = ofm.contract.check(ofm.io.read(file), modalities=recipes(modalities))
    payload = {
        "file": str(file),
        "ok": report.ok,
        "violations": [
            {"modality": v.modality, "key": v.key, "found": v.found, "fix": v.fix} for v in report.violations
        ],
        "notes": list(report.notes),
    }
    say(payload, str(report), as_json=as_json)
    if not report.ok:
        raise InputError(f"check: {len(report.violations)} violation(s) in '{file}'. Fix: mend what is listed above.")


def fit(
    file: Path,
    /,
    *,
    out: Path,
    batch_key: str | None = None,
    label_key: str | None = None,
    donor_key: str | None = None,
    organism: str | None = None,
    modalities: Names = None,
    model: str = "LinearMosaic",
    seed: int = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit a model to a file of raw counts and save it.

    Parameters
    ----------
    file
        MuData or AnnData with raw counts: .h5mu, .zarr, .h5ad or 10x .h5.
    out
        Folder for the model.
    batch_key
        Column of obs: the batch to align over.
    label_key
        Column of obs: labels to learn; a missing one is an unlabelled cell.
    donor_key
        Column of obs: the donor.
    organism
        Such as human or mouse: gene names of another one are an error then.
    model
        Registered name: LinearMosaic (seconds), Mosaic (its learned correction, where it earns its place; minutes),
        or any other that can be saved.
    seed
        Same seed, same model to the bit.
    """
    import omicsfm as ofm

    writable(out, force=force)
    made = ofm.models.create(model, seed=seed)
    if not isinstance(made, ofm.models.Saves):
        raise InputError(f"fit: '{model}' cannot be saved. Fix: choose LinearMosaic, Mosaic or Stack.")
    declared = recipes(modalities)
    mdata = ofm.io.read(file)
    try:
        ofm.setup(
            mdata,
            batch_key=batch_key,
            label_key=label_key,
            donor_key=donor_key,
            modalities=declared,
            organism=organism,
        )
    except InputError as err:
        raise InputError(f"{err} (Here: --batch-key, --label-key, --donor-key, --modalities NAME=RECIPE.)") from err
    tell(f"fit: {mdata.n_obs:,} cells, {', '.join(mdata.mod)}")
    made.fit(mdata)
    made.save(out, overwrite=force)
    say({"model": str(out), **getattr(made, "fit_metrics_", {})}, f"model written to {out}", as_json=as_json)


def _query(
    model: Path, file: Path, out: Path | None, *, verb: str, force: bool
) -> tuple[Any, MuData, Path, dict[str, Any]]:
    """Read a model and a file once it is clear that the result may be written."""
    import omicsfm as ofm

    target = out if out is not None else file.with_name(f"{file.stem}.{verb}.h5mu")
    writable(target, force=force, suffixes=_SUFFIXES)
    made_by = {"model": str(model), "manifest_sha256": ofm.hub.manifest(model)["manifest_sha256"]}
    return ofm.load(model), ofm.io.read(file), target, made_by


def embed(model: Path, file: Path, /, *, out: Path | None = None, force: Force = False, as_json: Json = False) -> None:
    """Give every cell of a file its state: obsm["X_mosaic"], and obsm["X_mosaic_sd"] for its uncertainty.

    Parameters
    ----------
    model
        Folder that `omicsfm fit` wrote.
    file
        Cells, seen or new, in any subset of the model's modalities.
    out
        The file's data with the result, .h5mu or .zarr; default FILE with .embed.h5mu beside it.
    """
    import omicsfm as ofm
    from omicsfm.tl._integrate import states
    from omicsfm.tl._store import put_embedding

    fitted, mdata, target, made_by = _query(model, file, out, verb="embed", force=force)
    mean, sd = states(fitted, mdata)
    put_embedding(mdata, mean, sd, **made_by)
    ofm.io.write(mdata, target)
    payload = {"out": str(target), "n_obs": mean.shape[0], "n_latent": mean.shape[1]}
    say(payload, f"{mean.shape[0]:,} cells x {mean.shape[1]} written to {target}, obsm['X_mosaic']", as_json=as_json)


def impute(
    model: Path, file: Path, /, *, modality: str, out: Path | None = None, force: Force = False, as_json: Json = False
) -> None:
    """Predict a modality from the others: obsm["imputed_<modality>"] with _lower and _upper. X is never changed.

    Values are on the scale of the modality's recipe (rna: normalised, log; protein: CLR), and never mixed with measured
    ones.

    Parameters
    ----------
    model
        Folder that `omicsfm fit` wrote.
    file
        Cells, seen or new, in any subset of the model's modalities.
    modality
        The modality to predict, by its name in the model.
    out
        The file's data with the result, .h5mu or .zarr; default FILE with .impute.h5mu beside it.
    """
    import omicsfm as ofm
    from omicsfm.tl._store import put_imputation

    fitted, mdata, target, made_by = _query(model, file, out, verb="impute", force=force)
    imputation = fitted.impute(mdata, modality)
    put_imputation(mdata, modality, imputation, **made_by)
    ofm.io.write(mdata, target)
    n_obs, n_vars = imputation.mean.shape
    payload = {"out": str(target), "n_obs": n_obs, "n_vars": n_vars, "level": imputation.level}
    words = f"{n_obs:,} cells x {n_vars:,} features with {imputation.level:.0%} intervals written to {target}"
    say(payload, f"{words}, obsm['imputed_{modality}']", as_json=as_json)


def annotate(
    model: Path, file: Path, /, *, out: Path | None = None, force: Force = False, as_json: Json = False
) -> None:
    """Label every cell of a file: obs columns label_mosaic, label_mosaic_confidence, label_mosaic_unknown.

    Parameters
    ----------
    model
        Folder that `omicsfm fit` wrote, with --label-key.
    file
        Cells, seen or new, in any subset of the model's modalities.
    out
        The file's data with the result, .h5mu or .zarr; default FILE with .annotate.h5mu beside it.
    """
    import omicsfm as ofm
    from omicsfm.tl._store import put_labels

    fitted, mdata, target, made_by = _query(model, file, out, verb="annotate", force=force)
    labels = fitted.annotate(mdata)
    put_labels(mdata, labels, **made_by)
    ofm.io.write(mdata, target)
    counts = labels.loc[~labels["unknown"].astype(bool), "label"].value_counts()
    unknown = int(labels["unknown"].sum())
    payload = {"out": str(target), "n_obs": len(labels), "unknown": unknown, "labels": counts.to_dict()}
    told = ", ".join(f"{label} {n:,}" for label, n in counts.items())
    say(payload, f"{len(labels):,} cells written to {target}: {told}; unknown {unknown:,}", as_json=as_json)


def info(model: Path, /, *, as_json: Json = False) -> None:
    """Print what a saved model is: class, parameters, features, versions, seed, hashes. Every hash is checked.

    Parameters
    ----------
    model
        Folder that `omicsfm fit` wrote.
    """
    from omicsfm import hub

    found = hub.manifest(model)
    features = {modality: len(names) for modality, names in found["features"].items()}
    kept = ("class", "seed", "params", "metrics", "training_data", "versions", "python", "manifest_sha256")
    payload = {key: found[key] for key in kept} | {"features": features}

    def lines(key: str, value: Any) -> str:
        if isinstance(value, dict):
            return f"{key}: " + ", ".join(f"{name} {item}" for name, item in value.items())
        return f"{key}: {value}"

    say(payload, "\n".join(lines(key, value) for key, value in payload.items()), as_json=as_json)
