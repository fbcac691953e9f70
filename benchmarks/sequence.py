"""The sequence study: k-mers, small encoders trained on a CPU, and their stack on four sets of GUE.

    python benchmarks/sequence.py [--sets KEY ...] [--minutes M] [--collect]

Goes on where it was: what is done is kept in a cache. Writes results/sequence.csv: Matthews correlation on the official
test part with bootstrap intervals over clusters of similar sequences, AUROC, CPU seconds, parameters; beside the
controls (majority, composition, permuted labels, the random-initialised twin) and the published figures of large
models, which are marked as such and were not run. Training is train and dev, less what is also in the test part.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _common import GOAL, table  # first: it sets the threads

import omicsfm as ofm
from omicsfm import io
from omicsfm.bench import Cost
from omicsfm.models import SequenceModel
from omicsfm.models.sequence import LAYERS
from omicsfm.tasks import SequenceClassification, Split, matthews_interval, permuted

HERE = Path(__file__).resolve().parent
SETS = {"mouse/0": "mouse/0", "tf/0": "tf/0", "tf/1": "tf/1", "prom_core_all": "prom/prom_core_all"}
SMALL = "mouse/0"  # on which every encoder is trained
PERMUTED, TWIN = "kmer, permuted labels", "cnn, random weights"
# AUROC as published, of frozen embeddings (mean of tokens) and a classifier; not run here. Their "Human TFBS 1", "Human
# TFBS 2", "Mouse TFBS 1" and "Promoter All 70 bps" are taken to be these sets.
PUBLISHED = {
    "DNABERT-2": {"mouse/0": 0.711, "tf/0": 0.8382, "tf/1": 0.821, "prom_core_all": 0.8311},
    "Nucleotide Transformer v2": {"mouse/0": 0.704, "tf/0": 0.8315, "tf/1": 0.809, "prom_core_all": 0.8527},
    "HyenaDNA": {"mouse/0": 0.5899, "tf/0": 0.8301, "tf/1": 0.8205, "prom_core_all": 0.832},
    "Caduceus-Ph": {"mouse/0": 0.6841, "tf/0": 0.8796, "tf/1": 0.8687, "prom_core_all": 0.8748},
    "GROVER": {"mouse/0": 0.6947, "tf/0": 0.8618, "tf/1": 0.8495, "prom_core_all": 0.8506},
}
SOURCE = "published: Feng et al. 2025, Nat Commun 16:10780, tables 1 and 2"
# The same models fine-tuned, Matthews correlation; quoted from memory of the paper, which could not be read again.
FINE_TUNED = {
    "DNABERT-2, fine-tuned": {"mouse/0": 0.5676, "tf/0": 0.7199, "tf/1": 0.7606, "prom_core_all": 0.6937},
    "Nucleotide Transformer 2.5B, fine-tuned": {
        "mouse/0": 0.6331,
        "tf/0": 0.6664,
        "tf/1": 0.7028,
        "prom_core_all": 0.7033,
    },
}
SOURCE_FINE_TUNED = "published, from memory: Zhou et al. 2024, ICLR (arXiv:2306.15006), GUE"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="KEY", help="only these sets")
    parser.add_argument("--minutes", type=float, default=8, help="CPU minutes for the training of each network")
    parser.add_argument("--collect", action="store_true", help="only write the results anew from the cache")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache" / "sequence")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def load(key: str) -> pd.DataFrame:
    """Give a set with its published parts."""
    files = ofm.datasets.fetch("gue_sequences")
    parts = {part: pd.read_csv(files[f"{SETS[key]}/{part}.csv"]) for part in ("train", "dev", "test")}
    return pd.concat([data.assign(part=part) for part, data in parts.items()], ignore_index=True)


def units(sets: list[str]) -> Iterator[tuple[str, str]]:
    """Give set and method, what matters most first."""
    for method in ("majority", "composition", "kmer", "stack", PERMUTED, TWIN):
        yield from ((key, method) for key in sets)
    others = ["hybrid", *(layer for layer in LAYERS if layer not in ("cnn", "hybrid"))]
    yield from ((SMALL, layer) for layer in others if SMALL in sets)
    yield from ((key, "hybrid") for key in sets if key != SMALL)


def run(split: Split, method: str, minutes: float) -> dict[str, Any]:
    """Fit and ask one method; of a stack also its members, which are what they would be alone."""
    task = SequenceClassification()
    train = (permuted(split) if method == PERMUTED else split).train
    encoder = method.partition(",")[0]
    model = SequenceModel(encoder, max_minutes=minutes, frozen=method == TWIN)
    with Cost() as cost:
        model.fit(train["sequence"], train["label"])
    found: dict[str, Any] = {"cost": cost.record.to_dict(), "weights": model.weights_, "answers": {}}
    asked = split.query["sequence"].tolist()
    answers = {method: (task.predict(model, split), model.n_parameters_)}
    if method == "stack":
        network = model.members_["cnn"]
        answers["cnn"] = pd.DataFrame(network.probability(asked), columns=model.classes_), network.n_parameters
    for name, (prediction, n_parameters) in answers.items():
        scores = {k: float(np.mean(v)) for k, v in task.score(prediction, split).items()}
        given = prediction.columns.to_numpy()[prediction.to_numpy().argmax(axis=1)]
        found["answers"][name] = {"scores": scores, "given": given.tolist(), "n_parameters": int(n_parameters)}
    told = {name: m for name, m in model.members_.items() if hasattr(m, "stopped")}
    found["training"] = {
        n: {"stopped": m.stopped, "epochs": len(m.history), "best": m.best_epoch} for n, m in told.items()
    }
    found["both_strands"] = bool(model.both_strands_)
    return found


def work(args: argparse.Namespace) -> None:
    """Run what is not done."""
    splits: dict[str, Split] = {}
    for key, method in units(args.sets):
        path = args.cache / key.replace("/", "-") / f"{method.replace(', ', '-').replace(' ', '-')}.json"
        if path.is_file():
            continue
        if key not in splits:
            task = SequenceClassification()
            (splits[key],) = task.splits(load(key))
            leaks = [f"{f.check}: {f.found}" for f in task.audit(splits[key]) if not f.ok]
            if leaks:
                raise SystemExit(f"{key}: {leaks[0]}")
            facts = {k: np.asarray(splits[key].truth[k]).tolist() for k in ("label", "cluster")}
            facts |= {
                "removed": splits[key].truth["removed"],
                "n_train": len(splits[key].train),
                "similar": int(np.isin(splits[key].truth["cluster"], splits[key].truth["train_cluster"]).sum()),
            }
            _write(path.parent / "facts.json", facts)
        found = run(splits[key], method, args.minutes) | {"minutes": args.minutes}
        _write(path, found)
        scores = {name: round(answer["scores"]["matthews"], 3) for name, answer in found["answers"].items()}
        print(f"{key}, {method}: {scores}, {found['cost']['cpu_s']:.0f} CPU-s, {found['training']}", flush=True)


def _write(path: Path, facts: dict[str, Any]) -> None:
    with io.atomic(path) as temporary:
        temporary.write_text(json.dumps(facts))


def collect(args: argparse.Namespace) -> None:
    """Write results/sequence.csv from the cache, and print the figures to reach."""
    rows, goals = [], []
    for key in SETS:
        folder = args.cache / key.replace("/", "-")
        if not (folder / "facts.json").is_file():
            continue
        facts = json.loads((folder / "facts.json").read_text())
        label, cluster = np.array(facts["label"]), np.array(facts["cluster"])
        found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json")) if p.stem != "facts"]
        answers = {name: (unit, answer) for unit in found for name, answer in unit["answers"].items()}
        cost = {name: unit["cost"]["cpu_s"] for name, (unit, _) in answers.items()}
        if {"stack", "kmer"} <= set(cost):  # both were trained for the stack: what is not the k-mers' is the network's
            cost["cnn"] = cost["stack"] - cost["kmer"]
        base = np.array(answers["kmer"][1]["given"]) if "kmer" in answers else None
        for name, (unit, answer) in answers.items():
            given = np.array(answer["given"])
            value, low, high = matthews_interval(label, given, units=cluster)
            more = (np.nan,) * 3 if base is None else matthews_interval(label, given, other=base, units=cluster)
            training = unit["training"].get(name.partition(",")[0], {})
            rows.append(
                {
                    "set": key,
                    "method": name,
                    "matthews": value,
                    "low": low,
                    "high": high,
                    "over_kmer": more[0],
                    "over_kmer_low": more[1],
                    "over_kmer_high": more[2],
                    "macro_auroc": answer["scores"]["macro_auroc"],
                    "accuracy": answer["scores"]["accuracy"],
                    "cpu_s": round(cost[name], 1),
                    "n_parameters": answer["n_parameters"],
                    "epochs": training.get("epochs"),
                    "stopped": training.get("stopped", ""),
                    "weight_of_encoder": unit["weights"].get("cnn") if name == "stack" else None,
                    "both_strands": unit["both_strands"],
                    "n_train": facts["n_train"],
                    "n_test": len(label),
                    "removed": sum(facts["removed"].values()),
                    "similar": facts["similar"],
                    "minutes": unit["minutes"] if training else None,
                    "source": "measured",
                }
            )
        if "stack" in answers:
            mcc = {name: answer["scores"]["matthews"] for name, (_, answer) in answers.items()}
            best = max(mcc["kmer"], mcc["cnn"])
            goals.append([f"{key}: stack >= max(kmer, cnn) = {best:.3f}", mcc["stack"], GOAL[mcc["stack"] >= best]])
            worst = max(cost[name] for name in cost)
            goals.append([f"{key}: every fit <= 600 CPU-s", worst, GOAL[worst <= 600]])
        for name, values in PUBLISHED.items():
            rows.append({"set": key, "method": name, "macro_auroc": values[key], "source": SOURCE})
        for name, values in FINE_TUNED.items():
            rows.append({"set": key, "method": name, "matthews": values[key], "source": SOURCE_FINE_TUNED})
    frame = pd.DataFrame(rows)
    with io.atomic(args.out / "sequence.csv") as temporary:
        frame.to_csv(temporary, index=False, float_format="%.5g")
    for key, part in frame.groupby("set", sort=False):
        part = part.sort_values("macro_auroc")
        shown = part[["method", "matthews", "low", "high", "macro_auroc", "cpu_s", "epochs"]]
        table(str(key), list(shown.columns), shown.to_numpy().tolist())
    table("Figures to reach", ["figure", "value", ""], goals)


def main() -> None:
    args = arguments()
    if not args.collect:
        work(args)
    collect(args)


if __name__ == "__main__":
    main()
