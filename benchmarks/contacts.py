"""DNA and contacts: `python benchmarks/contacts.py` (5 minutes); writes benchmarks/results/contacts.csv.

Promoters of dm3 and its Hi-C map at 40 kb, one chromosome arm held out at a time, blocks of 5 Mb as units.

1. Does sequence predict how strongly two bins touch, beyond their distance (over which contacts are normalised), and
   beyond coverage and the density of promoters? Coverage is that of contacts with other chromosomes, which are no part
   of the question. Controls: features of other bins (permuted), nothing but the mean.
2. Does a graph of contacts improve what a promoter is described by? A ridge on the distal half of promoters predicts
   the k-mers of their proximal half; to it come the means over neighbours along the chromosome, over neighbours in the
   graph of contacts (weights observed over expected), and over those in a graph whose contacts were given to other
   pairs of bins of the same distance. Then the same by trained layers, GraphConv and GraphAttention, on the 20
   strongest neighbours of each promoter.
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
APART, SEEDS, NETWORK_SEEDS = 4000, 5, 1
NETWORKS = [
    ("no graph", "GraphConv"),
    ("neighbours along the chromosome", "GraphConv"),
    ("neighbours by contact", "GraphConv"),
    ("neighbours by contact", "GraphAttention"),
    ("neighbours by permuted contact", "GraphAttention"),
]


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


def halves(dna: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count the 4-mers of the distal and of the proximal half of promoters."""
    parts = (slice(0, 1000), slice(1000, 2000))
    distal, proximal = (ofm.seq.kmer([s[part] for s in dna], k=4, canonical=True).toarray() for part in parts)
    return distal, proximal


def places(adata) -> tuple[np.ndarray, np.ndarray]:
    """Give the chromosome and the block of 5 Mb of each promoter."""
    chrom = adata.var["chrom"].astype(str).to_numpy()
    return chrom, np.array([f"{c}:{s // 5_000_000}" for c, s in zip(chrom, adata.var["start"], strict=True)])


def improve_promoters(adata, dna: list[str]) -> pd.DataFrame:
    """Share of variance of the proximal half's k-mers that is explained, by block of 5 Mb."""
    distal, proximal = halves(dna)
    on = adata.var["contacts:wt_bin"].to_numpy() >= 0
    chrom, block = places(adata)
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


def strongest(graph: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """Keep the n largest weights of each row, scaled to mean 1."""
    graph = graph.tocsr()
    rows, columns, data = [], [], []
    for i in range(graph.shape[0]):
        part = slice(graph.indptr[i], graph.indptr[i + 1])
        best = np.argsort(-graph.data[part], kind="stable")[:n]
        rows.append(np.full(len(best), i))
        columns.append(graph.indices[part][best])
        data.append(graph.data[part][best])
    x = np.concatenate(data)
    return sparse.csr_matrix((x / x.mean(), (np.concatenate(rows), np.concatenate(columns))), shape=graph.shape)


def train_networks(adata, dna: list[str]) -> pd.DataFrame:
    """Score one graph layer and a linear one, trained until a second held-out chromosome no longer gains from it."""
    import torch
    from torch.nn.functional import gelu

    from omicsfm.nn import Edges, GraphAttention, GraphConv

    torch.set_num_threads(1)
    distal, proximal = halves(dna)
    own = PCA(50, svd_solver="full").fit_transform(StandardScaler().fit_transform(distal))
    x = torch.from_numpy((own / own.std(axis=0)).astype(np.float32))
    on = adata.var["contacts:wt_bin"].to_numpy() >= 0
    chrom, block = places(adata)
    names = np.unique(chrom[on])
    rows = []
    for seed in range(NETWORK_SEEDS):
        graph = {name: strongest(g, 20) for name, g in graphs(adata, seed).items()} | {
            "no graph": sparse.csr_matrix((adata.n_vars, adata.n_vars))
        }
        edges = {name: Edges.of(g) for name, g in graph.items()}
        for name, kind in NETWORKS:
            for i, held in enumerate(names):
                check = on & (chrom == names[i - 1])
                test, train = on & (chrom == held), on & (chrom != held) & (chrom != names[i - 1])
                scaler = StandardScaler().fit(proximal[train])
                target = PCA(10, svd_solver="full").fit(scaler.transform(proximal[train]))
                y = torch.from_numpy(target.transform(scaler.transform(proximal)).astype(np.float32))
                generator = torch.Generator().manual_seed(seed)
                make = {"GraphConv": GraphConv, "GraphAttention": GraphAttention}[kind]
                layer = make(50, 32, generator=generator)
                head = torch.nn.Linear(82, 10)
                with torch.no_grad():
                    for parameter in head.parameters():
                        parameter.zero_()
                learnt = [*layer.parameters(), *head.parameters()]
                optimiser = torch.optim.AdamW(learnt, lr=1e-2, weight_decay=1e-2)
                best, kept = np.inf, None
                for _ in range(60):
                    predicted = head(torch.cat([x, gelu(layer(x, edges[name]))], dim=1))
                    loss = ((predicted - y) ** 2)[torch.from_numpy(train)].mean()
                    now = float(((predicted.detach() - y) ** 2)[torch.from_numpy(check)].mean())
                    if now < best:
                        best, kept = now, predicted.detach()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                error = ((kept - y) ** 2).numpy()[test]
                total = ((y[torch.from_numpy(train)].mean(dim=0) - y) ** 2).numpy()[test]
                for b in np.unique(block[test]):
                    mine = block[test] == b
                    value = 1 - error[mine].sum() / total[mine].sum()
                    rows.append({"description": f"{kind}, {name}", "unit": b, "value": value})
    table = pd.DataFrame(rows).assign(question="proximal half, trained")
    return table.groupby(["question", "description", "unit"], sort=False, as_index=False)["value"].mean()


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
    "proximal half, trained": [
        ("GraphConv, neighbours by contact", "GraphConv, no graph"),
        ("GraphConv, neighbours by contact", "GraphConv, neighbours along the chromosome"),
        ("GraphAttention, neighbours by contact", "GraphAttention, neighbours by permuted contact"),
    ],
}


def main() -> None:
    adata, dna = promoters()
    uri = f"{ofm.datasets.fetch('hic_drosophila_dm3')['matrix.mcool']}::/4"
    ofm.seq.add_contacts(adata, uri, key_added="contacts:wt")
    n_on = int((adata.var["contacts:wt_bin"] >= 0).sum())
    n_contacts = adata.varp["contacts:wt"].nnz
    print(f"{adata.n_vars:,} promoters {APART:,} bp apart, {n_on:,} on the map, {n_contacts:,} contacts")
    parts = [predict_contacts(adata, dna, uri), improve_promoters(adata, dna), train_networks(adata, dna)]
    table = pd.concat(parts, ignore_index=True)
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
