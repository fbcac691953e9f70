"""What a benchmark found: one tidy table, and what is needed to read and repeat it, in one parquet file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from omicsfm import _html, io
from omicsfm._errors import InputError

COLUMNS = (
    ["task", "dataset", "method", "seed", "split", "unit", "metric", "value", "n"]
    + ["wall_s", "cpu_s", "peak_rss_mb", "peak_gpu_mb", "flops", "kwh"]
)  # fmt: skip
_KEY = b"omicsfm"
_SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Results:
    """Results of one run.

    Attributes
    ----------
    table : one row per task, data set, method, seed, unit and metric; `split` names what was held out, `unit` which
        one. Cost columns are NaN where not measured.
    verdicts : one row per comparison with the best baseline; `words` says it.
    audit : what the leak audit looked for and found.
    meta : suite, seeds, versions, data fingerprints, command, limits.
    pictures : data of the report's pictures.
    """

    table: pd.DataFrame
    verdicts: pd.DataFrame
    audit: pd.DataFrame
    meta: dict[str, Any]
    pictures: dict[str, Any]

    def save(self, path: str | Path) -> Path:
        """Write one parquet file, whole or not at all."""
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        rest = {
            "schema": _SCHEMA,
            "verdicts": json.loads(self.verdicts.to_json(orient="records", double_precision=15)),
            "audit": json.loads(self.audit.to_json(orient="records")),
            "meta": self.meta,
            "pictures": self.pictures,
        }
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: json.dumps(rest).encode()})
        with io.atomic(Path(path)) as temporary:
            pq.write_table(table, temporary)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is absent, not parquet, not results of ours, or written by a newer omicsfm.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"Results.load: no file at '{path}'. Fix: write one with `omicsfm bench --out {path}`.")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as err:
            raise InputError(
                f"Results.load: '{path}' is not a parquet file, or is cut short ({err}). Fix: run the bench again."
            ) from err
        found = (table.schema.metadata or {}).get(_KEY)
        if found is None:
            raise InputError(
                f"Results.load: '{path}' is parquet, but not ours. Fix: name a file that `omicsfm bench` wrote."
            )
        rest = json.loads(found)
        if rest["schema"] > _SCHEMA:
            raise InputError(f"Results.load: '{path}' was written by a newer omicsfm. Fix: upgrade omicsfm.")
        frame = table.replace_schema_metadata({}).to_pandas()
        return cls(frame, pd.DataFrame(rest["verdicts"]), pd.DataFrame(rest["audit"]), rest["meta"], rest["pictures"])

    def __repr__(self) -> str:
        n = self.table[["task", "dataset"]].drop_duplicates().shape[0]
        return (
            f"Results of suite '{self.meta.get('suite', '')}': {n} questions, {self.table['method'].nunique()} methods"
        )

    def _repr_html_(self) -> str:
        said = self.verdicts["words"].astype(str) if len(self.verdicts) else ["No method was compared with a baseline."]
        mean = self.table.groupby(["task", "dataset", "method", "metric"], sort=False)["value"].mean()
        return (
            _html.heading(repr(self))
            + _html.items(said)
            + _html.table(mean.unstack("metric").reset_index())
            + _html.items(str(words) for words in self.meta.get("limits", ()))
        )
