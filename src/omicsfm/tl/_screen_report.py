"""Which perturbations of a screen are measurable at all, and whether the screen itself is in order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy.stats import false_discovery_control

from omicsfm import contract
from omicsfm._progress import progress
from omicsfm.tl._perturbation_effects import energy, perturbation_effects
from omicsfm.tl._screen_contrasts import UNIT, Screen, read_screen
from omicsfm.tl._screen_split import MIN_CONTROL, cells_for, null_split_half, spearman_brown, split_half

RELIABLE = 0.3  # below it more than two thirds of what varies over genes is noise
N_SPLITS, N_NULL, LEVEL = 20, 200, 0.05


@dataclass(frozen=True, repr=False)
class ScreenReport:
    """What can be measured in a screen.

    Attributes
    ----------
    perturbations : DataFrame, a row per perturbation, context and dose: n_cells, n_control, n_replicates, r (mean
        correlation of the effects of random halves, each with its own half of the controls), reliability
        (Spearman-Brown, of all cells), null_95, p and q (of r, against pseudo-perturbations of control cells),
        size, size_se and share (:func:`effect_size`), cells_for_80 (for a reliability of 0.8), measurable, why.
    targets : DataFrame: perturbation, context, target, effect, se, p, q, moved ("down", "up", "no"), for targets that
        are among the genes.
    controls : DataFrame, a row per context and replicate: n_control, n_perturbed, share (of controls), flag.
    replicates : DataFrame: perturbation, context, dose, n_replicates, r_mean, r_min (correlation of its effect between
        replicates, each against its own controls).
    """

    perturbations: pd.DataFrame
    targets: pd.DataFrame
    controls: pd.DataFrame
    replicates: pd.DataFrame

    @property
    def measurable(self) -> list[str]:
        """Perturbations that are measurable in one context at least."""
        table = self.perturbations
        return sorted(set(table.loc[table["measurable"], "perturbation"]))

    @property
    def verdict(self) -> str:
        """What to make of it, in words.

        The screen as a whole is not measurable where no measurable perturbation stands out from control cells once the
        number of perturbations is allowed for (q).
        """
        table = self.perturbations
        judged = table[table["p"].notna()]
        n, passed = len(judged), int(judged["measurable"].sum())
        typical = float(judged["reliability"].median()) if n else np.nan
        count = f"{passed} of {n} perturbations measurable, median reliability {typical:.2f}"
        if not n:
            return "not measurable: too few cells or no controls"
        if not (judged["measurable"] & (judged["q"] < LEVEL)).any():
            return f"not measurable: {count}, no more than chance would let pass"
        return f"measurable: {count}" if passed == n else f"measurable in part: {count}"

    def __str__(self) -> str:
        lines = [self.verdict]
        flags = self.controls.loc[self.controls["flag"] != "", "flag"].value_counts()
        if len(flags):
            found = ", ".join(f"{flag} in {n}" for flag, n in flags.items())
            lines.append(f"of {len(self.controls)} groups (context, replicate): {found}")
        if len(self.targets):
            moved = int((self.targets["moved"] != "no").sum())
            lines.append(f"own RNA moved in {moved} of {len(self.targets)} targets that are among the genes")
        if self.replicates["r_mean"].notna().any():
            lines.append(f"median correlation between replicates {self.replicates['r_mean'].median():.2f}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = {"Perturbations": self.perturbations, "Targets": self.targets, "Controls": self.controls}
        tables = "".join(
            f"<h4>{name}</h4>{table.to_html(index=False, max_rows=40, float_format='{:.3g}'.format)}"
            for name, table in parts.items()
        )
        return f"<p>{str(self).replace(chr(10), '<br>')}</p>{tables}"


def screen_report(mdata: MuData, *, modality: str = "rna", seed: int = 0) -> ScreenReport:
    """Tell which perturbations have an effect that can be measured, and check targets, controls and replicates.

    A perturbation is measurable where its effect comes out again in independent halves of the cells: with a reliability
    of 0.3 or more, and above 95 % of the pseudo-perturbations that are made of control cells, of its size to within a
    factor of 1.5 (and of half of the controls at most). Nothing should be concluded, and no model judged,
    on the others.

    Parameters
    ----------
    mdata, modality
        As for :func:`perturbation_effects`. Cells without a perturbation are left out.
    seed
        Seed of halves and pseudo-perturbations.

    Raises
    ------
    InputError
        If no perturbed cell has controls in its own context.

    References
    ----------
    Spearman (1910), Brown (1910), Br. J. Psychol. 3:271, 296.
    """
    screen = read_screen(mdata, modality=modality, caller="screen_report")
    rng = np.random.default_rng(seed)
    table = _reproducibility(screen, rng)
    sizes = energy(screen).rename(columns={"se": "size_se"})[["size", "size_se", "share"]]
    table = pd.concat([table, sizes], axis=1)
    table["cells_for_80"] = cells_for(table["reliability"].to_numpy(), table["n_cells"].to_numpy())
    table["why"] = [_why(row) for row in table.itertuples()]
    lost = screen.contrasts.without_control.assign(why="no controls in its context", n_control=0, n_replicates=0)
    table = pd.concat([table, lost], ignore_index=True) if len(lost) else table
    table["measurable"] = table["why"] == "reproducible"
    return ScreenReport(
        perturbations=table,
        targets=_targets(perturbation_effects(mdata, modality=modality)),
        controls=_controls(mdata, modality),
        replicates=_replicates(screen),
    )


def _reproducibility(screen: Screen, rng: np.random.Generator) -> pd.DataFrame:
    """Split-half correlation of every unit, and where it lies among pseudo-perturbations of the same size."""
    halves = screen.halvable()
    found = halves.design[UNIT].assign(
        r=split_half(screen.x, screen.code, halves.weight, n_splits=N_SPLITS, rng=rng).mean(axis=1)
    )
    table = screen.contrasts.design.merge(found, on=UNIT, how="left")
    table["reliability"] = spearman_brown(table["r"].to_numpy())
    group = screen.moments.design
    null: dict[tuple[str, float], np.ndarray] = {}
    share = np.minimum(2.0 ** np.round(np.log2(table["n_cells"] / table["n_control"])), 0.5)
    asked = pd.DataFrame({"context": table["context"], "share": share}).drop_duplicates()
    for context, size in progress(list(asked.itertuples(index=False, name=None)), desc="screen_report"):
        own = ((group["perturbation"] == contract.CONTROL) & (group["context"] == context)).to_numpy()
        cells = own[screen.code]
        if cells.sum() >= MIN_CONTROL:
            rep = group["replicate"].to_numpy()[screen.code[cells]].astype(str)
            null[context, size] = null_split_half(
                screen.x[cells], rep, max(size, 2 / len(rep)), n_draws=N_NULL, n_splits=N_SPLITS, rng=rng
            )
    table["null_95"], table["p"] = np.nan, np.nan
    for i, key in enumerate(zip(table["context"], share, strict=True)):
        drawn = null.get(key, np.empty(0))
        if len(drawn) and np.isfinite(table["r"].iloc[i]):
            table.loc[i, "null_95"] = np.quantile(drawn, 1 - LEVEL)
            table.loc[i, "p"] = (1 + (drawn >= table["r"].iloc[i]).sum()) / (1 + len(drawn))
    table["q"] = table["p"]
    judged = table["p"].notna()
    if judged.any():
        table.loc[judged, "q"] = false_discovery_control(table.loc[judged, "p"])
    return table


def _why(row: Any) -> str:
    if np.isnan(row.p):
        return "too few cells or controls"
    if row.r <= row.null_95:
        return "no more reproducible than control cells"
    return "reproducible" if row.reliability >= RELIABLE else f"reliability below {RELIABLE}"


def _targets(effects: pd.DataFrame) -> pd.DataFrame:
    """Give the effect of a perturbation on the RNA of its own targets."""
    parts = {name: contract.members(name) for name in effects["perturbation"].unique()}
    own = pd.DataFrame(
        [(name, gene) for name, genes in parts.items() for gene in genes], columns=["perturbation", "gene"]
    )
    found = effects.merge(own, on=["perturbation", "gene"]).rename(columns={"gene": "target"})
    if len(found):
        found["q"] = false_discovery_control(found["p"])
    sign = np.where(found["effect"] < 0, "down", "up")
    found["moved"] = np.where(found["q"] < LEVEL, sign, "no")
    dose = ["dose"] if "dose" in found else []
    return found[["perturbation", "context", *dose, "target", "effect", "se", "p", "q", "moved"]]


def _controls(mdata: MuData, modality: str) -> pd.DataFrame:
    """Cells per context and replicate, and where controls are lacking."""
    who = contract.perturbations(mdata).iloc[contract.rows(mdata, modality)]
    who = who.dropna(subset=["perturbation", "context", "replicate"])
    table = (
        who.groupby(["context", "replicate"], observed=True)["is_control"]
        .agg(n_control="sum", n_cells="size", share="mean")
        .reset_index()
    )
    in_context = table.groupby("context")["n_control"].transform("sum")
    table["flag"] = np.select(
        [in_context == 0, table["n_control"] == 0, table["n_control"] < MIN_CONTROL],
        ["no controls in the context", "no controls", f"fewer than {MIN_CONTROL} controls"],
        default="",
    )
    table["n_perturbed"] = table.pop("n_cells") - table["n_control"]
    return table


def _replicates(screen: Screen) -> pd.DataFrame:
    """How well the replicates of each perturbation agree."""
    mean, rows = screen.moments.mean, []
    for pairs in screen.contrasts.pairs:
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.corrcoef(mean[pairs[:, 0]] - mean[pairs[:, 1]]) if len(pairs) > 1 else np.ones((1, 1))
        found = np.array([r[i, j] for i, j in combinations(range(len(r)), 2)])
        found = found[np.isfinite(found)]
        rows.append((found.mean(), found.min()) if len(found) else (np.nan, np.nan))
    out = screen.contrasts.design[[*UNIT, "n_replicates"]]
    return out.assign(r_mean=[a for a, _ in rows], r_min=[b for _, b in rows])
