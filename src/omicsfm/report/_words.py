"""What the report says: plain sentences from verdicts, metrics and the audit."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from omicsfm.metrics import METRICS
from omicsfm.pl.facts import arrow, fact

QUESTIONS = {
    "integration": "Do cells of one type lie together, whatever was measured in them and whoever the donor is?",
    "imputation": "How well is a modality predicted that was never measured in these cells, and do its intervals hold?",
    "cell_state": "Does a joint state of all modalities keep types apart and mix batches better than a simple one?",
    "annotation": "Are the cells of a held-out donor given the right label, with a confidence that means what it says?",
    "unseen_target": "What does a perturbation do whose target was never perturbed in training?",
    "unseen_combination": "What do two perturbations do together, where the pair was never tried?",
    "unseen_context": "What does a perturbation do in cells of a kind in which it was never tried?",
    "unseen_donor": "What does a perturbation do in the cells of a donor in whom it was never tried?",
    "known_target_new_context": "What does a perturbation do here, where only others were tried here?",
    "unseen_dose": "What does a perturbation do at a dose that was never given?",
}
# Tasks whose section shows the joint embedding.
STATES = ("integration", "cell_state")
# favours -> CSS class and word.
TAGS = {"method": ("good", "better"), "baseline": ("bad", "worse"), "neither": ("none", "no evidence")}


def question(task: str) -> str:
    """Give what a task asks; a harder variety of one asks the same."""
    return next((words for name, words in QUESTIONS.items() if task.startswith(name)), "")


def title(task: str, dataset: str | None) -> str:
    """Name a section."""
    return task.replace("_", " ").capitalize() + (f" on {dataset}" if dataset else "")


def counts(verdicts: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Count the verdicts: (CSS class, word, number), each outcome also where it is zero."""
    return [(*tag, int((verdicts["favours"] == favours).sum())) for favours, tag in TAGS.items()]


def summary(verdicts: pd.DataFrame) -> list[str]:
    """Say in one sentence per method how it stands against the best baseline of every metric."""
    out = []
    for method, mine in verdicts.groupby("method", sort=False):
        better, worse, none = ((mine["favours"] == key).sum() for key in ("method", "baseline", "neither"))
        out.append(
            f"{method} against the best baseline of each of {len(mine)} metrics: "
            f"better on {better}, worse on {worse}, no evidence of a difference on {none}."
        )
    return out


def verdict_lines(verdicts: pd.DataFrame) -> list[dict[str, str]]:
    """One line per comparison, in the order of the metrics: nothing is moved up because it is good."""
    lines = []
    for row in verdicts.itertuples(index=False):
        kind, word = TAGS[str(row.favours)]
        p: Any = row.p_holm
        lines.append(
            {
                "kind": kind,
                "word": word,
                "text": str(row.words),
                "p": "" if pd.isna(p) else f"Holm-adjusted p = {p:.2g}",
            }
        )
    return lines


def shortfall(verdicts: pd.DataFrame) -> list[str]:
    """Name what was not better than the best baseline."""
    out = []
    for favours, words in (("baseline", "worse than the best baseline"), ("neither", "no evidence of a gain")):
        mine = verdicts[verdicts["favours"] == favours]
        if len(mine):
            named = ", ".join(f"{row.metric} ({row.baseline})" for row in mine.itertuples(index=False))
            out.append(f"{words}: {named}")
    return out


def main_metric(verdicts: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Choose the metric that stands for a task in the cost figure: of those compared, the registry's first."""
    names = list(dict.fromkeys((verdicts if len(verdicts) else scores)["metric"].astype(str)))
    rank = {name: i for i, name in enumerate(METRICS)}
    return min(names, key=lambda name: rank.get(name.partition(":")[0], len(rank)))


def metric_line(metric: str) -> dict[str, str]:
    """Explain a metric in half a line: its own definition and its direction."""
    known = fact(metric)
    if known is None:
        return {"name": metric, "arrow": "", "text": ""}
    first = (known.function.__doc__ or "").strip().split("\n\n")[0]
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", " ".join(first.split())).rstrip(".")
    more = {True: "higher is better", False: "lower is better", None: "not ranked: right is what was promised"}
    over = f", {known.reduce} over {known.per}s" if known.per != "set" and " over " not in text else ""
    return {"name": metric, "arrow": arrow(metric), "text": f"{text}{over} ({more[known.higher_is_better]})"}


def audit(table: pd.DataFrame) -> str:
    """Say what the leak audit found."""
    if not len(table):
        return "No leak audit was recorded with these results."
    failed = int((~table["ok"].astype(bool)).sum())
    if not failed:
        return f"{len(table)} checks were made before scoring; none found a leak."
    return f"{len(table)} checks were made before scoring; {failed} found something: read the scores with that in mind."
