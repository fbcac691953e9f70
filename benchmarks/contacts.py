"""DNA and contacts: `python benchmarks/contacts.py` (5 minutes); writes benchmarks/results/contacts.csv.

Promoters of dm3 and its Hi-C map at 40 kb, one chromosome arm held out at a time, blocks of 5 Mb as units.

1. Does sequence predict how strongly two bins touch, beyond their distance (over which contacts are normalised), and
   beyond coverage and the density of promoters? Coverage is that of contacts with other chromosomes, which are no part
   of the question. Controls: features of other bins (permuted), nothing but the mean.
2. Does a graph of contacts improve what a promoter is described by? A ridge on the distal half of promoters predicts
   the k-mers of their proximal half; to it come the means over neighbours along the chromosome, over neighbours in the
   graph of contacts (weights observed over expected), and over those in a graph whose contacts were given to other bins
   of the same distance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import _common  # first: it sets the threads
import cooler
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import omicsfm as ofm
from omicsfm.bench import paired_bootstrap

OUT = Path(__file__).parent / "results" / "contacts.csv"
APART, SEEDS = 4000, 5


def promoters() -> tuple[object, list[str]]:
    """Give promoters at least 4 kb apart, so that none holds a part of another, with contacts, and their DNA."""
    path = ofm.datasets.fetch("drosophila_dm3_upstream2000")["dm3_upstream2000.fa.gz"]
    adata = ofm.seq.read_regions(path)
    place = adata.var.assign(row=np.arange(adata.n_vars), length=adata.var["end"] - adata.var["start"])
    place = place[place["length"] == 2000].sort_values(["chrom", "start"])
    kept, last = [], ("", -APART)
    for chrom, start, row in place[["chrom", "start", "row"]].itertuples(index=False, name=None):
        if chrom != last[0] or start - last[1] >= APART:
            kept.append(row)
            last = (chrom, start)
    adata = adata[:, np.sort(kept)].copy()
    dna = ofm.seq.read_fasta(path)
    return adata, [dna[name] for name in adata.var_names]


def trans_coverage(uri: str) -> np.ndarray:
    """Contacts of each bin of the map with other chromosomes."""
    found = cooler.Cooler(uri)
    chrom = found.bins()["chrom"][:].cat.codes.to_numpy()
    pixels = found.pixels()[:]
    trans = chrom[pixels["bin1_id"]] != chrom[pixels["bin2_id"]]
    return sum(np.bincount(pixels[end][trans], pixels["count"][trans], len(chrom)) for end in ("bin1_id", "bin2_id"))


def predict_contacts(adata, dna: list[str], uri: str) -> pd.DataFrame:
    """Score every description of bins, by block."""
    task = ofm.tasks.ContactPrediction("contacts:wt")
    found = task.pairs(adata)
    kmers = found.features @ ofm.seq.kmer(dna, k=4, canonical=True)
    kmers = np.asarray(kmers.todense() if sparse.issparse(kmers) else kmers)
    kmers = kmers / kmers.sum(axis=1, keepdims=True)
    surroundings = np.column_stack(
        [np.log1p(trans_coverage(uri)[found.bins.index]), np.log(found.bins["n_features"].to_numpy())]
    )
    # Parts are fitted one after the other, each to what the last left over: two columns would be lost among many.
    describe: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "coverage + density": lambda order: [surroundings],
        "k-mers": lambda order: [kmers],
        "k-mers, permuted": lambda order: [kmers[order]],
        "k-mers + coverage + density": lambda order: [surroundings, kmers],
        "permuted k-mers + coverage + density": lambda order: [surroundings, kmers[order]],
    }
    rows = []
    for split in task.splits(adata):
        if not all(finding.ok for finding in task.audit(split)):
            raise RuntimeError("training saw the question")
        blocks = np.unique(split.truth["block"])
        train, query = (split.train.low, split.train.high), (split.query.low, split.query.high)
        for name, make in describe.items():
            scores = []
            for seed in range(SEEDS if "permuted" in name else 1):
                left, predicted = split.train.value, np.zeros(len(query[0]))
                for x in make(np.random.default_rng(seed).permutation(len(kmers))):
                    fitted = ofm.models.ContactRidge().fit(x, train, left)
                    left, predicted = left - fitted.predict(x, train), predicted + fitted.predict(x, query)
                scores.append(task.score(predicted, split)["spearman_by_block"])
            rows += [
                {"question": "contact strength", "description": name, "unit": b, "value": v}
                for b, v in zip(blocks, np.mean(scores, axis=0), strict=True)
            ]
        rows += [
            {"question": "contact strength", "description": "distance alone", "unit": b, "value": v}
            for b, v in zip(blocks, task.score(np.zeros(len(split.query.low)), split)["spearman_by_block"], strict=True)
        ]
    return pd.DataFrame(rows)


def row_mean(graph: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale rows to sum 1; rows of zeros stay."""
    total = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.diags(np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)) @ graph


def graphs(adata, seed: int) -> dict[str, sparse.csr_matrix]:
    """Neighbours along the chromosome, by contact, and by contacts of other pairs of bins at the same distance."""
    bins = adata.var["contacts:wt_bin"].to_numpy()
    contact = sparse.coo_matrix(adata.varp["contacts:wt"])
    step = np.abs(bins[contact.row] - bins[contact.col])
    near = step <= 25
    i, j, x, step = contact.row[near], contact.col[near], contact.data[near].astype(np.float64), step[near]
    rng = np.random.default_rng(seed)
    shuffled = x.copy()
    for d in np.unique(step):
        at = np.flatnonzero(step == d)
        shuffled[at] = x[rng.permutation(at)]
    shape = contact.shape
    return {
        "neighbours along the chromosome": row_mean(sparse.csr_matrix((1.0 / step, (i, j)), shape=shape)),
        "neighbours by contact": row_mean(sparse.csr_matrix((x / step, (i, j)), shape=shape)),
        "neighbours by permuted contact": row_mean(sparse.csr_matrix((shuffled / step, (i, j)), shape=shape)),
    }


def improve_promoters(adata, dna: list[str]) -> pd.DataFrame:
    """Share of variance of the proximal half's k-mers that is explained, by block of 5 Mb."""
    halves = slice(0, 1000), slice(1000, 2000)
    distal, proximal = (ofm.seq.kmer([s[half] for s in dna], k=4, canonical=True).toarray() for half in halves)
    on = adata.var["contacts:wt_bin"].to_numpy() >= 0
    chrom = adata.var["chrom"].astype(str).to_numpy()
    block = np.array([f"{c}:{s // 5_000_000}" for c, s in zip(chrom, adata.var["start"], strict=True)])
    rows = []
    own = PCA(50, svd_solver="full").fit_transform(StandardScaler().fit_transform(distal))
    for seed in range(SEEDS):
        around = graphs(adata, seed)
        x = {"own": own}
        along = np.hstack([own, around["neighbours along the chromosome"] @ own])
        x["own + neighbours along the chromosome"] = along
        for name in ("neighbours by contact", "neighbours by permuted contact"):
            x[f"own + along + {name}"] = np.hstack([along, around[name] @ own])
        for held in np.unique(chrom[on]):
            train, test = on & (chrom != held), on & (chrom == held)
            scaler = StandardScaler().fit(proximal[train])
            target = PCA(10, svd_solver="full").fit(scaler.transform(proximal[train]))
            y_train, y = (target.transform(scaler.transform(proximal[rows_])) for rows_ in (train, test))
            for name, z in x.items():
                fitted = RidgeCV(alphas=np.logspace(0, 6, 13)).fit(z[train], y_train)
                error, total = (y - fitted.predict(z[test])) ** 2, (y - y_train.mean(axis=0)) ** 2
                for b in np.unique(block[test]):
                    mine = block[test] == b
                    value = 1 - error[mine].sum() / total[mine].sum()
                    rows.append({"question": "proximal half", "description": name, "unit": b, "value": value})
    return pd.DataFrame(rows).groupby(["question", "description", "unit"], sort=False, as_index=False)["value"].mean()


COMPARE = {
    "contact strength": [
        ("k-mers", "distance alone"),
        ("k-mers", "k-mers, permuted"),
        ("coverage + density", "distance alone"),
        ("k-mers + coverage + density", "coverage + density"),
        ("k-mers + coverage + density", "permuted k-mers + coverage + density"),
    ],
    "proximal half": [
        ("own + neighbours along the chromosome", "own"),
        ("own + along + neighbours by contact", "own + neighbours along the chromosome"),
        ("own + along + neighbours by contact", "own + along + neighbours by permuted contact"),
    ],
}


def main() -> None:
    adata, dna = promoters()
    uri = f"{ofm.datasets.fetch('hic_drosophila_dm3')['matrix.mcool']}::/4"
    ofm.seq.add_contacts(adata, uri, key_added="contacts:wt")
    n_on = int((adata.var["contacts:wt_bin"] >= 0).sum())
    n_contacts = adata.varp["contacts:wt"].nnz
    print(f"{adata.n_vars:,} promoters {APART:,} bp apart, {n_on:,} on the map, {n_contacts:,} contacts")
    table = pd.concat([predict_contacts(adata, dna, uri), improve_promoters(adata, dna)], ignore_index=True)
    lines = []
    for question, part in table.groupby("question", sort=False):
        wide = part.pivot(index="unit", columns="description", values="value")[part["description"].unique()]
        means = [[name, float(value)] for name, value in wide.mean().items()]
        _common.table(f"{question}, mean of {len(wide)} blocks", ["", "value"], means)
        lines += [{"question": question, "description": name, "value": value} for name, value in means]
        for a, b in COMPARE[str(question)]:
            c = paired_bootstrap(wide[a].to_numpy(), wide[b].to_numpy(), unit_name="blocks")
            print(f"{a} - {b}: {c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}]")
            found = {"value": c.difference, "lower": c.low, "upper": c.high, "n_blocks": c.n_units}
            lines.append({"question": question, "description": a, "minus": b, **found})
    pd.DataFrame(lines).round(5).to_csv(OUT, index=False)


if __name__ == "__main__":
    main()
