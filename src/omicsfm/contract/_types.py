"""The small types of the contract."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from omicsfm import _html
from omicsfm._errors import InputError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Keys:
    """Columns of ``mdata.obs`` that `setup` was told about; None = not given."""

    batch: str | None = None
    label: str | None = None
    donor: str | None = None
    sample: str | None = None
    perturbation: str | None = None
    context: str | None = None
    replicate: str | None = None
    dose: str | None = None


@dataclass(frozen=True)
class Violation:
    """One way in which a MuData breaks the contract.

    Attributes
    ----------
    modality
        Name of the modality, or None where it concerns the whole.
    key
        Slot, column or argument at fault, such as ``X``, ``obs_names`` or ``batch_key``.
    found
        What was found, in words.
    fix
        What to do, where possible as a line of code.
    """

    modality: str | None
    key: str
    found: str
    fix: str

    def __str__(self) -> str:
        where = self.key if self.modality is None else f"modality '{self.modality}', {self.key}"
        return f"{where}: {self.found}. Fix: {self.fix}"


@dataclass(frozen=True)
class CheckReport:
    """All that `check` found.

    Attributes
    ----------
    violations
        What must be mended, none twice.
    notes
        What is allowed and worth knowing.
    """

    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no violation."""
        return not self.violations

    def raise_for_errors(self, caller: str = "check") -> None:
        """Raise one InputError that lists every violation; do nothing if there is none.

        Parameters
        ----------
        caller
            Name of the function, with which the message starts.
        """
        if self.ok:
            return
        if len(self.violations) == 1:
            raise InputError(f"{caller}: {self.violations[0]}")
        lines = "\n".join(f"  {i}. {violation}" for i, violation in enumerate(self.violations, start=1))
        raise InputError(f"{caller}: {len(self.violations)} problems with this MuData:\n{lines}")

    def __str__(self) -> str:
        lines = [f"{len(self.violations)} violation(s)" if self.violations else "ok: the MuData meets the contract"]
        lines += [f"  {i}. {violation}" for i, violation in enumerate(self.violations, start=1)]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if self.ok:
            return _html.heading("The MuData meets the contract") + _html.items(self.notes)
        rows = [(v.modality or "", v.key, v.found, v.fix) for v in self.violations]
        found = pd.DataFrame(rows, columns=["modality", "key", "found", "fix"])
        return _html.heading(f"{len(rows)} violation(s) of the contract") + _html.table(found) + _html.items(self.notes)
