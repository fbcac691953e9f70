"""Write a MuData to disk."""

from __future__ import annotations

import os
from pathlib import Path

from mudata import MuData

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.io._atomic import atomic
from omicsfm.io._slashes import slash_keys


def write(mdata: MuData, path: str | os.PathLike[str]) -> Path:
    """Write a MuData to an ``.h5mu`` file or a ``.zarr`` folder; the old one stays whole until the new one is done.

    Parameters
    ----------
    mdata
        The data; as in anndata's own writers, string columns of its tables become categorical.
    path
        Where to; the suffix decides the format.

    Returns
    -------
    The path written to.

    Raises
    ------
    InputError
        If `mdata` is no MuData, the suffix is unknown, or something in it cannot be stored.
    """
    target = Path(path)
    if not isinstance(mdata, MuData):
        raise InputError(
            f"write: needed a MuData, found {type(mdata).__name__}. "
            'Fix: wrap an AnnData as mudata.MuData({"rna": adata}), with its modality\'s name.'
        )
    if target.suffix not in {".h5mu", ".zarr"}:
        raise InputError(
            f"write: unknown suffix '{target.suffix}' of '{target}'. Fix: end it in .h5mu (file) or .zarr (folder)."
        )
    for mod, places in slash_keys(mdata, columns=True).items():
        where = "" if mod is None else f" of modality '{mod}'"
        raise InputError(
            f"write: keys must not hold '/', found {', '.join(places[:5])}{where}. Fix: rename with '.' or '_'."
        )
    with atomic(target) as temporary:
        try:
            _compat.write(mdata, temporary)
        except (OSError, MemoryError):
            raise  # a full disk is not a matter of what is written
        except Exception as err:  # anndata's own error for this is a plain Exception and not public
            reason = " ".join([str(err).strip("\"' "), *getattr(err, "__notes__", [])]).split()
            raise InputError(
                f"write: could not store this MuData in '{target}': {' '.join(reason)}. "
                "Fix: remove or convert the entry named here (text, numbers, arrays, tables; one type per column)."
            ) from err
    return target
