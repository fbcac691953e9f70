"""Do the gene names belong to the organism? Made to stay silent in doubt."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

_ALIASES = {
    "human": ("human", "homo sapiens", "h. sapiens", "hsapiens", "hs", "9606"),
    "mouse": ("mouse", "mus musculus", "m. musculus", "mmusculus", "mm", "10090"),
    "rat": ("rat", "rattus norvegicus", "10116"),
    "zebrafish": ("zebrafish", "danio rerio", "7955"),
}
_ENSEMBL = {"": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish"}
# Two-species references of 10x put the assembly before the id: 'mm10___ENSMUSG...'.
_ENSEMBL_ID = re.compile(r"^(?:\w+_+)?ENS([A-Z]{3,4})?G\d{11}(?:\.\d+)?$")
# 'Cd3e', 'Actb', 'mt-Co1' against 'CD3E'. 'C1orf112' and 'LINC00115' are human and match neither.
_MOUSE_SYMBOL = re.compile(r"^(?:mt-)?[A-Z][a-z][a-z0-9]*(?:[-.][A-Za-z0-9]+)*$")
_UPPER_SYMBOL = re.compile(r"^[A-Z][A-Z0-9]+(?:[-.][A-Z0-9]+)*$")
_FEWEST = 10


def canonical_organism(name: str) -> str:
    """Give ``human``, ``mouse`` ... for the usual ways to write it; other names lower-case."""
    text = " ".join(str(name).lower().replace("_", " ").split())
    return next((known for known, names in _ALIASES.items() if text in names), text)


def _species(names: pd.Index) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in names:
        match = _ENSEMBL_ID.match(name)
        if match:
            found[_ENSEMBL.get(match[1] or "", f"ENS{match[1]}G")] += 1
    return found


def organism_problem(names: pd.Index, organism: str | None) -> str | None:
    """Say what is wrong with gene names or ids for an organism, or None.

    Parameters
    ----------
    names
        Symbols or Ensembl gene ids.
    organism
        Canonical name, or None where nobody said: then only ids of several species at once are wrong.
    """
    names = pd.Index(names.dropna().astype(str))
    found = _species(names)
    total = found.total()
    # Under one in a hundred is a spiked-in gene or a typing error, not another species.
    seen = {species: n for species, n in found.items() if n >= 0.01 * total}
    if organism is None:
        if len(seen) < 2:
            return None
        return "Ensembl gene ids of several species: " + ", ".join(f"{n} {s}" for s, n in sorted(seen.items()))
    if organism not in _ALIASES:
        return None
    wrong = {species: n for species, n in seen.items() if species != organism}
    if wrong:
        what = ", ".join(f"{n} of {species}" for species, n in sorted(wrong.items()))
        return f"Ensembl gene ids {what} where the organism is {organism}"
    plain = [name for name in names if not _ENSEMBL_ID.match(name)]
    if len(plain) < _FEWEST:
        return None
    mouse = [name for name in plain if _MOUSE_SYMBOL.match(name)]
    if organism == "human" and len(mouse) > 0.5 * len(plain):
        return f"gene symbols written as in mouse (such as {', '.join(mouse[:3])}) where the organism is human"
    # Upper-case mouse symbols are common practice; HLA genes are not.
    upper = sum(bool(_UPPER_SYMBOL.match(name)) for name in plain)
    hla = [name for name in plain if name.startswith("HLA-")]
    if organism == "mouse" and hla and upper > 0.8 * len(plain):
        return f"human gene symbols (such as {', '.join(hla[:3])}) where the organism is mouse"
    return None
