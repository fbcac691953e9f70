"""What an entry of `data_registry.yaml` may say, and one helpful line for every field that says something else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pandas as pd
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from omicsfm import _html
from omicsfm._errors import InputError

Recipe = Literal["rna", "atac", "protein", "guide", "methylation", "continuous"]
Loader = Literal["mudata", "mop", "cite", "rdata_counts", "csv_counts", "pbmc68k", "files"]


def _inside(path: str) -> str:
    """Accept only a relative POSIX path that stays where it starts."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in parts[0] or ".." in parts:
        raise ValueError("the path is empty, absolute or leaves its folder")
    return path


def _https(url: str) -> str:
    if urlsplit(url).scheme != "https" or not urlsplit(url).netloc:
        raise ValueError("the address is not https")
    return url


def _spdx(expression: str) -> str:
    try:
        return str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression as err:
        raise ValueError(str(err)) from err


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise ValueError("an empty list")
    return items


Sha256 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="64 lower-case hexadecimal digits, as `sha256sum` prints them")
]
RelativePath = Annotated[str, AfterValidator(_inside)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PypiSource(_Strict):
    """One member of a wheel or source archive of a Python package."""

    kind: Literal["pypi"]
    requirement: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+$",
        description="package==version: scmidas==0.3.0",
    )
    archive: Literal["wheel", "sdist"] = Field(description="wheel or sdist: the archive that holds the file")
    archive_sha256: Sha256
    member: RelativePath = Field(description="path inside the archive, without .. and not absolute")

    def __str__(self) -> str:
        return f"pypi {self.requirement} ({self.archive}, member {self.member})"


class UrlSource(_Strict):
    """A public address that serves the very bytes."""

    kind: Literal["url"]
    url: Annotated[str, AfterValidator(_https)] = Field(description="an https address that serves the file itself")

    def __str__(self) -> str:
        return f"url {self.url}"


class FileSource(_Strict):
    """A path below $OMICSFM_DATA."""

    kind: Literal["file"]
    path: RelativePath = Field(description="path below $OMICSFM_DATA, without .. and not absolute")

    def __str__(self) -> str:
        return f"file $OMICSFM_DATA/{self.path}"


Source = Annotated[PypiSource | UrlSource | FileSource, Field(discriminator="kind")]


class DataFile(_Strict):
    """One file of a data set and where it can be had, in the order in which the sources are tried."""

    name: RelativePath = Field(description="name of the file in the cache, a relative path without ..")
    bytes: int = Field(gt=0, description="size of the file in bytes, a positive integer")
    sha256: Sha256
    sources: Annotated[tuple[Source, ...], AfterValidator(_some)] = Field(
        strict=False,
        description="a list of sources, each with kind (pypi, url or file) and its fields",
    )


class DataKeys(_Strict):
    """Columns of obs with a known role: the defaults of `omicsfm.setup` for this data set."""

    batch: Text | None = None
    label: Text | None = None
    donor: Text | None = None
    sample: Text | None = None
    perturbation: Text | None = None
    context: Text | None = Field(
        default=None, description="the column that says in what a perturbation acts, such as cell_type or cell_line"
    )
    replicate: Text | None = Field(
        default=None, description="the column that tells independent repeats of a perturbation apart, such as donor"
    )
    dose: Text | None = Field(default=None, description="the column that says how much was given, of numbers")


class Entry(_Strict):
    """One data set of the registry."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits and _, such as pbmc_mosaic")
    title: Text = Field(description="one line that says what the data are")
    organism: Text = Field(description="the species, such as Homo sapiens")
    assembly: Text | None = Field(default=None, description="the genome assembly, such as GRCh38, or leave it out")
    modalities: dict[Text, Recipe] = Field(
        default_factory=dict,
        description="a mapping of modality name to rna, atac, protein, guide, methylation or continuous",
    )
    rename: dict[Text, Text] = Field(
        default_factory=dict, description="a mapping of the modality's name in the file to its name here"
    )
    n_obs: int | None = Field(default=None, gt=0, description="number of cells (or patients), a positive integer")
    keys: DataKeys = Field(
        default_factory=DataKeys,
        description="a mapping of batch, label, donor, sample, perturbation, context, replicate, dose to columns",
    )
    control: Text | None = Field(
        default=None, description="the value of the perturbation column that means control, or leave it out"
    )
    split_unit: Text = Field(description="what must not be shared by training and test data, such as a column of obs")
    licence: Annotated[str, AfterValidator(_spdx)] = Field(description="an SPDX expression, such as MIT or CC-BY-4.0")
    access: Literal["open", "registered", "controlled"] = Field(description="open, registered or controlled")
    citation: Text = Field(description="the publication, with its DOI")
    loader: Loader = Field(
        description="mudata, mop, cite, rdata_counts, csv_counts or pbmc68k, or files for data that are no MuData"
    )
    note: str | None = Field(default=None, description="how the file was made, if it was converted, and its caveats")
    files: Annotated[tuple[DataFile, ...], AfterValidator(_some)] = Field(
        strict=False, description="a list of files, each with name, bytes, sha256 and sources"
    )

    @field_validator("files")
    @classmethod
    def _distinct_files(cls, files: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
        names = [file.name for file in files]
        if len(set(names)) < len(names):
            raise ValueError("two files have the same name")
        return files

    @model_validator(mode="after")
    def _container_is_described(self) -> Self:
        if self.loader != "files" and (not self.modalities or self.n_obs is None):
            raise ValueError(f"loader '{self.loader}' makes a MuData: modalities and n_obs are needed")
        if unknown := set(self.rename.values()) - set(self.modalities):
            raise ValueError(f"rename leads to {sorted(unknown)}, which modalities does not hold")
        about = {"control": self.control, "context": self.keys.context, "replicate": self.keys.replicate}
        told = [name for name, value in (about | {"dose": self.keys.dose}).items() if value is not None]
        if told and self.keys.perturbation is None:
            raise ValueError(f"{told[0]} needs a perturbation column among the keys")
        return self

    def __str__(self) -> str:
        rows = {
            "name": self.name,
            "title": self.title,
            "organism": self.organism + (f" ({self.assembly})" if self.assembly else ""),
            "modalities": ", ".join(f"{mod} ({recipe})" for mod, recipe in self.modalities.items()),
            "n_obs": self.n_obs,
            "keys": ", ".join(f"{role}: {column}" for role, column in self.keys if column),
            "control": self.control,
            "split unit": self.split_unit,
            "licence": self.licence,
            "access": self.access,
            "citation": self.citation,
            "loader": self.loader,
            "note": self.note,
        }
        lines = [f"{key:<11} {value}" for key, value in rows.items() if value]
        for file in self.files:
            lines.append(f"file        {file.name} ({file.bytes:,} bytes, sha256 {file.sha256})")
            lines += [f"              {source}" for source in file.sources]
        return "\n".join(lines)


class Registry(_Strict):
    """All data sets that omicsfm knows, in the order of `data_registry.yaml`."""

    version: Literal[1] = Field(description="1, the version of this schema")
    datasets: tuple[Entry, ...] = Field(strict=False, description="a list of entries")

    @field_validator("datasets")
    @classmethod
    def _distinct_names(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = [entry.name for entry in entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two entries have the name {', '.join(twice)}")
        return entries

    def names(self) -> list[str]:
        """Names of all data sets, in the registry's order."""
        return [entry.name for entry in self.datasets]

    def table(self) -> pd.DataFrame:
        """Give a row per data set: name, modalities, cells, organism, licence, title."""
        rows = [
            (
                entry.name,
                " + ".join(entry.modalities) or "files",
                f"{entry.n_obs:,}" if entry.n_obs else "-",
                entry.organism,
                entry.licence,
                entry.title,
            )
            for entry in self.datasets
        ]
        return pd.DataFrame(rows, columns=["name", "modalities", "cells", "organism", "licence", "title"])

    def _repr_html_(self) -> str:
        return _html.heading(f"{len(self.datasets)} data sets, ofm.datasets.load(name)") + _html.table(self.table())

    def get(self, name: str) -> Entry:
        """Return the entry of one data set.

        Raises
        ------
        InputError
            If there is no such data set; the message offers the nearest names.
        """
        for entry in self.datasets:
            if entry.name == name:
                return entry
        near = difflib.get_close_matches(str(name), self.names(), n=3, cutoff=0.4) or self.names()
        raise InputError(f"datasets: there is no data set '{name}'. Fix: choose one of {', '.join(near)}.")


def parse(data: Any, *, origin: str) -> Registry:
    """Validate a registry read from YAML.

    Parameters
    ----------
    data
        What the YAML file holds.
    origin
        Name of the file, for the error.

    Raises
    ------
    InputError
        One line for each bad field: the entry, the field, what was found and what to write.
    """
    try:
        return Registry.model_validate(data)
    except ValidationError as err:
        lines = [_explain(data, error) for error in err.errors(include_url=False)]
        raise InputError(f"registry: {origin} has {len(lines)} bad field(s):\n" + "\n".join(lines)) from err


_SOURCES: dict[str, type[BaseModel]] = {"pypi": PypiSource, "url": UrlSource, "file": FileSource}
_NESTED: dict[str, type[BaseModel]] = {"datasets": Entry, "files": DataFile, "keys": DataKeys}


def _explain(data: Any, error: Mapping[str, Any]) -> str:
    """Say which entry and field an error of pydantic is about, what was found there and what to write."""
    model: type[BaseModel] = Registry
    fields: list[str | int] = []
    entry, hint = "the registry", "a mapping with version and datasets"
    for part in error["loc"]:
        if isinstance(part, int):
            item = _at(data, [*fields, part])
            label = item.get("name", f"number {part + 1}") if isinstance(item, dict) else f"number {part + 1}"
            if fields == ["datasets"]:
                entry = f"entry '{label}'" if isinstance(item, dict) and "name" in item else f"entry {label}"
            fields.append(part)
        elif part in _SOURCES and fields[-2:-1] == ["sources"] and model not in _SOURCES.values():
            model = _SOURCES[part]  # the tag of the union: not a field
        else:
            fields.append(part)
            if part in model.model_fields:
                hint = model.model_fields[part].description or hint
                model = _NESTED.get(part, model)
            elif error["type"] == "extra_forbidden":
                hint = f"remove it, or write one of {', '.join(model.model_fields)}"
    field = re.sub(r"^datasets\.\d+\.?", "", ".".join(str(part) for part in fields)) or "the entry"
    if error["type"] == "missing":
        found = "nothing"
    elif field == "the entry" or isinstance(error["input"], dict | list | tuple):
        found = error["msg"].removeprefix("Value error, ")
    else:
        found = f"{error['input']!r}" + (
            f" ({error['msg'].removeprefix('Value error, ')})" if error["type"] == "value_error" else ""
        )
    return f"  {entry}, field '{field}': found {found}. Write: {hint}."


def _at(data: Any, path: list[Any]) -> Any:
    for part in path:
        data = data[part]
    return data
