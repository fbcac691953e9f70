"""Methods against each other: splits by donor, leak audit, statistics, cost, and a verdict in words."""

from __future__ import annotations

from omicsfm.bench._results import Results
from omicsfm.bench._run import run
from omicsfm.bench._suites import SUITES, Question
from omicsfm.bench.cost import Cost, CostRecord
from omicsfm.bench.stats import Comparison, holm, paired_bootstrap
from omicsfm.bench.verdict import Verdict, verdict

__all__ = [
    "SUITES",
    "Comparison",
    "Cost",
    "CostRecord",
    "Question",
    "Results",
    "Verdict",
    "holm",
    "paired_bootstrap",
    "run",
    "verdict",
]
