"""omicsfm data: the registry of data sets."""

from __future__ import annotations

from omicsfm import InputError
from omicsfm.cli._common import Json, say, show


def list_(*, as_json: Json = False) -> None:
    """List the data sets of the registry."""
    from omicsfm import datasets

    registry = datasets.registry()
    if as_json:
        say([entry.model_dump(mode="json") for entry in registry.datasets], "", as_json=True)
        return
    table = registry.table()
    show(tuple(table.columns), list(table.itertuples(index=False, name=None)))


def info(name: str, /, *, as_json: Json = False) -> None:
    """Print all that the registry knows of a data set: source, licence, citation, files.

    Parameters
    ----------
    name
        Name of the data set, as `omicsfm data list` prints it.
    """
    from omicsfm import datasets

    entry = datasets.info(name)
    say(entry.model_dump(mode="json"), str(entry), as_json=as_json)


def fetch(name: str, /, *, as_json: Json = False) -> None:
    """Fetch a data set, verify every file of it, and print where the files are.

    Files below $OMICSFM_DATA are used where they lie; downloads go to $OMICSFM_CACHE, else to your cache folder.

    Parameters
    ----------
    name
        Name of the data set.
    """
    from omicsfm import datasets

    paths = datasets.fetch(name)
    say({file: str(path) for file, path in paths.items()}, "\n".join(map(str, paths.values())), as_json=as_json)


def verify(*names: str, as_json: Json = False) -> None:
    """Compare the files on this disk with the registry, without any download. Altered files end in exit code 2.

    Parameters
    ----------
    names
        Data sets to look at; all of them if none is given.
    """
    from omicsfm import datasets

    found = datasets.verify(names or None)
    fields = ("dataset", "file", "status", "path", "detail")
    if as_json:
        say([{field: str(getattr(status, field)) for field in fields} for status in found], "", as_json=True)
    else:
        show(("data set", "file", "status", "detail"), [(s.dataset, s.file, s.status, s.detail) for s in found])
    bad = [status for status in found if status.status in ("removed", "altered")]
    if bad:
        raise InputError(
            f"data verify: {len(bad)} of {len(found)} files are not the registered ones, first '{bad[0].path}'. "
            "Fix: run omicsfm data fetch for those that were removed; restore those that are yours."
        )
