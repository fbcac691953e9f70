"""omicsfm embed-sequence: the DNA of features as vectors, in the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omicsfm import InputError
from omicsfm.cli._common import Force, Json, say, writable

if TYPE_CHECKING:
    from mudata import MuData

_SUFFIXES = (".h5mu", ".zarr")
_FASTA = (".fa", ".fasta", ".fna")


def embed_sequence(
    file: Path,
    /,
    *,
    genome: Path,
    model: str = "kmer:4",
    modality: str | None = None,
    key: str | None = None,
    width: int | None = None,
    pad: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Embed the DNA of every feature into varm, with provenance. What was written is read again and verified.

    Parameters
    ----------
    file
        Data whose var holds chrom, start and end: .h5mu, .zarr, .h5ad; or a FASTA of regions, which become features.
    genome
        FASTA of the chromosomes or of the regions themselves; plain, bgzip or gzip.
    model
        composition, kmer:4, kmer:6:canonical, gapped:6:4, motifs:JASPAR2026, onehot:500, hf:FOLDER, spliceai,
        mtsplice, or a registered one.
    modality
        Whose features; default the only one, or atac.
    key
        Key of varm; default the model's, such as kmer_4.
    width
        Bases of every window, about the centre of its interval; default the interval.
    pad
        Write N for what lies outside of a chromosome.
    out
        The file's data with the embedding, .h5mu or .zarr; default FILE with .sequence.h5mu beside it.
    """
    import omicsfm as ofm
    from omicsfm.seq._embed import key_of

    target = out if out is not None else file.with_name(f"{file.stem}.sequence.h5mu")
    writable(target, force=force, suffixes=_SUFFIXES)
    made, opened = ofm.seq.embedder(model), ofm.seq.Genome(genome)
    slot = key or key_of(made.name)
    mdata = _read(file)
    name = _modality(mdata, modality)
    adata = mdata.mod[name]
    ofm.seq.embed(adata, opened, made, key_added=slot, width=width, pad=pad, overwrite=force)
    ofm.contract.record(mdata, "embed-sequence", modality=name, key=slot, model=made.name, genome=opened.sha256)
    with ofm.io.atomic(target) as temporary:
        ofm.io.write(mdata, temporary)
        found = ofm.seq.verify_embeddings(ofm.io.read(temporary).mod[name], opened, key=slot).loc[slot]
    n_vars, d = adata.varm[slot].shape
    payload = {
        "out": str(target),
        "modality": name,
        "key": slot,
        "n_vars": n_vars,
        "n_columns": d,
        "n_verified": found["n_recomputed"],
        "deviation": found["deviation"],
    }
    words = f"{n_vars:,} features x {d:,} written to {target}, mod['{name}'].varm['{slot}'], read again and verified"
    say(payload, words, as_json=as_json)


def _read(file: Path) -> MuData:
    import omicsfm as ofm
    from omicsfm import _compat

    if any(suffix in _FASTA for suffix in file.suffixes):
        return _compat.make_mudata({"regions": ofm.seq.read_regions(file)})
    return ofm.io.read(file)


def _modality(mdata: MuData, told: str | None) -> str:
    names = list(mdata.mod)
    name = told or ("atac" if "atac" in names else names[0])
    if name not in names or (told is None and "atac" not in names and len(names) > 1):
        raise InputError(
            f"--modality: one of {', '.join(names)} was needed, found {told or 'none'}. Fix: say which has intervals."
        )
    return name
