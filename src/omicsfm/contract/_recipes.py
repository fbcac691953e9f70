"""Recipes: what kind of numbers a modality holds."""

from __future__ import annotations

COUNTS = ("rna", "atac", "protein", "guide")
RECIPES = (*COUNTS, "methylation", "continuous")

# Names that need no declaration. Sample tags (HTO) and mutation calls are left out: their use is for the user to say.
_NAMES = {
    "rna": ("rna", "gex", "mrna", "gene_expression"),
    "atac": ("atac", "peaks"),
    "protein": ("protein", "proteins", "prot", "adt", "cite", "ab"),
    "guide": ("guide", "guides", "grna", "sgrna", "crispr"),
    "methylation": ("methylation", "cpg", "meth"),
    "continuous": ("metabolite", "metabolites", "drug", "drugs"),
}
_RECIPE_OF_NAME = {name: recipe for recipe, names in _NAMES.items() for name in names}


def recipe_for_name(name: str) -> str | None:
    """Give the recipe that a modality's name stands for, upper and lower case alike; None if the name says nothing."""
    return _RECIPE_OF_NAME.get(str(name).lower())
