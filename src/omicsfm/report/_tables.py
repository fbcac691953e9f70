"""Tables of the report, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from omicsfm.pl.facts import arrow, direction, means

if TYPE_CHECKING:
    from great_tables import GT
    from markupsafe import Markup

_ABSENT = "–"


def _html(table: GT) -> Markup:
    """Give a great-tables table as HTML; it escapes what it was given."""
    from markupsafe import Markup

    styled = table.tab_options(table_font_size="0.9rem", data_row_padding="4px", table_font_color="#1a1a1a")
    return Markup(styled.as_raw_html())


def _number(value: float, digits: int = 3) -> str:
    return _ABSENT if np.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.000"


def _seconds(value: float) -> str:
    return _ABSENT if np.isnan(value) else f"{value:#.2g}" if value < 10 else f"{value:,.0f}"


def scores(table: pd.DataFrame, *, tested: Sequence[str], id: str) -> Markup:
    """Give methods x metrics: the mean of every metric, its best value marked, and what the method cost.

    Parameters
    ----------
    table
        Rows of ``Results.table`` of one task and data set.
    tested
        Methods under test, shown first; all others are named as baselines.
    id
        HTML id, unique on the page.
    """
    from great_tables import GT, loc, style

    mean = means(table)
    value = mean["value"].unstack("metric")
    metrics = [m for m in dict.fromkeys(table["metric"]) if m in value.columns]
    found = list(dict.fromkeys(table["method"]))
    methods = [m for m in tested if m in found] + [m for m in found if m not in tested]
    value = value.reindex(index=methods, columns=metrics)
    cpu = mean["cpu_s"].groupby(level="method").mean().reindex(methods)
    # A zero-width space where a long name may break.
    heads = {
        f"{metric} {arrow(metric)}".strip().replace("_", "_\u200b").replace(":", ":\u200b"): metric
        for metric in metrics
    }
    shown = pd.DataFrame({head: [_number(v) for v in value[metric]] for head, metric in heads.items()})
    best = {}
    for head, metric in heads.items():
        up = direction(metric)
        if up is not None and value[metric].notna().any():
            top = value[metric].max() if up else value[metric].min()
            best[head] = [i for i, v in enumerate(value[metric]) if v == top]
            for i in best[head]:
                shown.loc[i, head] = f"★ {shown.loc[i, head]}"
    shown.insert(0, "method", methods)
    shown.insert(1, "group", ["Under test" if m in tested else "Baselines" for m in methods])
    shown["CPU s ↓"] = [_seconds(v) for v in cpu]
    out = GT(shown, rowname_col="method", groupname_col="group", id=id)
    out = out.cols_align("right", columns=[*heads, "CPU s ↓"]).tab_stubhead("method")
    for head, rows in best.items():
        out = out.tab_style([style.text(weight="bold"), style.fill("#dcebf6")], loc.body(columns=head, rows=rows))
    return _html(out)


def audit(table: pd.DataFrame) -> Markup | None:
    """Give the leak audit, findings first; None where there was none."""
    from great_tables import GT, loc, style

    if not len(table):
        return None
    texts = table[["task", "dataset", "check", "found", "split"]].astype(str).assign(ok=table["ok"].astype(bool))
    # What was found alike on several splits stands on one line.
    keys = ["ok", "task", "dataset", "check", "found"]
    grouped = texts.groupby(keys, sort=False)["split"].agg(lambda split: ", ".join(dict.fromkeys(split))).reset_index()
    grouped = grouped.sort_values("ok", kind="stable", ignore_index=True)
    grouped["result"] = ["passed" if ok else "FOUND" for ok in grouped["ok"]]
    several = ["dataset"] if grouped["dataset"].nunique() > 1 else []
    shown = grouped[["result", "task", *several, "check", "found", "split"]].rename(columns={"split": "held out"})
    out = GT(shown, id="audit").cols_align("left", columns=list(shown.columns))
    leaks = [i for i, ok in enumerate(grouped["ok"]) if not ok]
    if leaks:
        out = out.tab_style([style.text(weight="bold"), style.fill("#fbe3d6")], loc.body(rows=leaks))
    return _html(out)
