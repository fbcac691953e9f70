"""Unseen peaks, and links of peaks to genes: `python benchmarks/peaks_and_genes.py` (6 minutes).

Writes benchmarks/results/peaks_and_genes.csv.

1. Mouse cortex (SNARE-seq). A LinearMosaic of RNA and half of the peaks, from nine libraries, annotates the chromatin
   of cells of three other libraries: with its own peaks; with peaks that overlap its own (moved by up to half their
   width, as another peak calling would); with the other half of the peaks, none of which it knows, through
   `LoadingMap("position")`; and with those through a map whose places were permuted. Beside them, the most frequent
   type, and a model fitted on the other half. Three halvings. There is no genome of this organism at hand, so loadings
   are not predicted from DNA here.
2. `tl.peak_to_gene` on blood (174 peaks, 45 genes) and mouse cortex (25,734 peaks; genes take the places of the regions
   that the authors linked to them), and with the places of peaks permuted: links found then are false.
"""

from __future__ import annotations

from pathlib import Path

import _common  # first: it sets the threads
import numpy as np
import pandas as pd
from _cortex import NAME, place_genes

import omicsfm as ofm
from omicsfm import _compat, contract
from omicsfm.bench import paired_bootstrap

OUT = Path(__file__).parent / "results" / "peaks_and_genes.csv"
HALVINGS, PERMUTED = 3, 5


def with_peaks(mdata, cells: np.ndarray, peaks: np.ndarray, *, rna: bool):
    """Give some cells with some of the peaks."""
    atac = mdata.mod["atac"][cells][:, peaks].copy()
    mods = ({"rna": mdata.mod["rna"][cells].copy()} if rna else {}) | {"atac": atac}
    out = _compat.make_mudata(mods, pd.DataFrame(mdata.obs)[cells])
    ofm.setup(out, batch_key="batch", label_key="celltype")
    return out


def moved(query, rng: np.random.Generator):
    """Move every peak by up to half its width, and name it anew."""
    var = query.mod["atac"].var.copy()
    shift = ((var["end"] - var["start"]) * rng.uniform(-0.5, 0.5, len(var))).astype(int)
    var["start"], var["end"] = np.maximum(var["start"] + shift, 0), var["end"] + shift
    var.index = [f"{c}:{a}-{b}" for c, a, b in var[["chrom", "start", "end"]].itertuples(index=False)]
    atac = query.mod["atac"].copy()
    atac.var = var
    atac.var_names_make_unique()
    return _compat.make_mudata({"atac": atac}, pd.DataFrame(query.obs))


def unseen_peaks() -> pd.DataFrame:
    """Accuracy of labels by cell, mean over halvings."""
    mdata = ofm.datasets.load(NAME)
    mdata = contract.subset(mdata, (mdata.obs["celltype"].astype(str) != "Mis").to_numpy())
    ofm.setup(mdata, batch_key="batch", label_key="celltype")
    library = mdata.obs["batch"].astype(str).to_numpy()
    held = np.isin(library, np.unique(library)[::4])
    truth = mdata.obs["celltype"].astype(str).to_numpy()
    top = pd.Series(truth[~held]).mode()[0]
    parts = [pd.DataFrame({"what": "most frequent type", "library": library[held], "right": truth[held] == top})]
    for seed in range(HALVINGS):
        rng = np.random.default_rng(seed)
        half = rng.random(mdata.mod["atac"].n_vars) < 0.5
        train = with_peaks(mdata, ~held, half, rna=True)
        model = ofm.models.LinearMosaic(seed=seed).fit(train)
        own, other = (with_peaks(mdata, held, peaks, rna=False) for peaks in (half, ~half))
        refitted = ofm.models.LinearMosaic(seed=seed).fit(with_peaks(mdata, ~held, ~half, rna=True))
        mapped = ofm.models.LoadingMap().fit(model, train.mod["atac"])
        wrong = train.mod["atac"].copy()
        wrong.var = wrong.var.iloc[rng.permutation(wrong.n_vars)].set_axis(wrong.var_names)
        permuted = ofm.models.LoadingMap().fit(model, wrong)
        print(
            f"halving {seed}: correlation of loadings with those of neighbours {np.round(mapped.correlation_[:5], 2)}"
        )
        overlapping = moved(own, rng)
        for what, answers, query in (
            ("own peaks", model, own),
            ("overlapping peaks", mapped.adapt(model, overlapping), overlapping),
            ("unseen peaks, by neighbours", mapped.adapt(model, other), other),
            ("unseen peaks, permuted map", permuted.adapt(model, other), other),
            ("refitted on the unseen peaks", refitted, other),
        ):
            label = answers.annotate(query)["label"].astype(str).to_numpy()
            parts.append(pd.DataFrame({"what": what, "library": library[held], "right": label == truth[held]}))
    table = pd.concat(parts)
    table["cell"] = table.groupby("what", sort=False).cumcount() % held.sum()
    return table.groupby(["what", "cell", "library"], sort=False, as_index=False)["right"].mean()


def links_of(name: str, mdata) -> list[dict[str, object]]:
    """Count links at q <= 0.1, and those with the places of peaks permuted."""
    ofm.setup(mdata)
    ofm.tl.integrate(mdata, "LinearMosaic")
    rows, places = [], mdata.mod["atac"].var[["chrom", "start", "end"]].copy()
    for i in range(PERMUTED + 1):
        order = np.arange(len(places)) if i == 0 else np.random.default_rng(i).permutation(len(places))
        for column in places:
            mdata.mod["atac"].var[column] = places[column].to_numpy()[order]
        table = ofm.tl.peak_to_gene(mdata, seed=0)
        found = table[table["q"] <= 0.1]
        rows.append(
            {
                "part": "links",
                "what": f"{name}, {'permuted' if i else 'as measured'}",
                "value": float(len(found)),
                "n": len(table),
                "positive": float((found["correlation"] > 0).mean()) if len(found) else np.nan,
                "p_below_0.05": float((table["p"] < 0.05).mean()),
            }
        )
        if i == 0:
            print(found.head(12).to_string(index=False))
    return rows


def main() -> None:
    lines = links_of("blood", ofm.datasets.load("pbmc10x_multiome_regions_muon"))
    lines += links_of("cortex", place_genes(ofm.datasets.load(NAME)))
    _common.table("Links at q <= 0.1", ["", "links", "of pairs"], [[r["what"], int(r["value"]), r["n"]] for r in lines])
    table = unseen_peaks()
    wide = table.pivot(index="cell", columns="what", values="right")[table["what"].unique()]
    library = table[table["what"] == "own peaks"].set_index("cell")["library"].reindex(wide.index).to_numpy()
    means = [[what, float(value)] for what, value in wide.mean().items()]
    _common.table(f"Accuracy of labels, {len(wide):,} cells of held-out libraries", ["", "accuracy"], means)
    lines += [{"part": "unseen peaks", "what": what, "value": value, "n": len(wide)} for what, value in means]
    for other in ("most frequent type", "unseen peaks, permuted map"):
        c = paired_bootstrap(
            wide["unseen peaks, by neighbours"].to_numpy(float),
            wide[other].to_numpy(float),
            units=library,
            unit_name="libraries",
        )
        print(f"unseen peaks, by neighbours - {other}: {c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}] ({c.covers})")
        found = {"value": c.difference, "lower": c.low, "upper": c.high, "n": c.n_members}
        lines.append({"part": "unseen peaks", "what": f"by neighbours - {other}", **found})
    pd.DataFrame(lines).round(4).to_csv(OUT, index=False)


if __name__ == "__main__":
    main()
