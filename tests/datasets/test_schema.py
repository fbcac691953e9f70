from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omicsfm import InputError, datasets
from omicsfm.datasets._registry import read
from omicsfm.datasets._schema import parse


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]

    def change(entry: Any) -> None:
        for part in parts:
            entry = entry[part]
        entry[last] = value

    return change


def _drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.pop(key)


PYPI = {
    "kind": "pypi",
    "requirement": "scmidas==0.3.0",
    "archive": "wheel",
    "archive_sha256": "a" * 64,
    "member": "scmidas/x.h5mu",
}

BAD = {
    "no licence": (_drop("licence"), ["field 'licence'", "found nothing", "SPDX"]),
    "unknown licence": (_set("licence", "free for all"), ["field 'licence'", "'free for all'", "SPDX"]),
    "access": (_set("access", "secret"), ["field 'access'", "'secret'", "open, registered or controlled"]),
    "name": (_set("name", "Tiny Set"), ["field 'name'", "'Tiny Set'", "lower-case"]),
    "recipe": (_set("modalities", {"rna": "counts"}), ["field 'modalities.rna'", "'counts'", "continuous"]),
    "n_obs text": (_set("n_obs", "3"), ["field 'n_obs'", "'3'", "positive integer"]),
    "n_obs zero": (_set("n_obs", 0), ["field 'n_obs'", "found 0", "positive integer"]),
    "unknown field": (_set("license", "MIT"), ["field 'license'", "remove it", "licence"]),
    "unknown key": (_set("keys", {"batches": "donor"}), ["field 'keys.batches'", "remove it", "batch"]),
    "loader": (_set("loader", "magic"), ["field 'loader'", "'magic'", "rdata_counts"]),
    "no files": (_set("files", []), ["field 'files'", "a list of files"]),
    "sha256": (_set("files.0.sha256", "abc"), ["field 'files.0.sha256'", "'abc'", "64 lower-case hexadecimal"]),
    "bytes": (_set("files.0.bytes", -1), ["field 'files.0.bytes'", "found -1", "size of the file"]),
    "file name leaves the cache": (
        _set("files.0.name", "../../x"),
        ["field 'files.0.name'", "'../../x'", "without .."],
    ),
    "absolute data path": (
        _set("files.0.sources", [{"kind": "file", "path": "/etc/passwd"}]),
        ["field 'files.0.sources.0.path'", "'/etc/passwd'", "below $OMICSFM_DATA"],
    ),
    "plain http": (
        _set("files.0.sources", [{"kind": "url", "url": "http://example.org/x"}]),
        ["field 'files.0.sources.0.url'", "'http://example.org/x'", "https"],
    ),
    "member leaves the archive": (
        _set("files.0.sources", [PYPI | {"member": "scmidas/../../x"}]),
        ["field 'files.0.sources.0.member'", "'scmidas/../../x'", "without .."],
    ),
    "no version": (
        _set("files.0.sources", [PYPI | {"requirement": "scmidas"}]),
        ["field 'files.0.sources.0.requirement'", "'scmidas'", "package==version"],
    ),
    "option instead of a package": (
        _set("files.0.sources", [PYPI | {"requirement": "--index-url=x==1"}]),
        ["field 'files.0.sources.0.requirement'", "package==version"],
    ),
    "unknown source": (
        _set("files.0.sources", [{"kind": "ftp", "path": "x"}]),
        ["field 'files.0.sources.0'", "'ftp'", "pypi, url or file"],
    ),
    "container without modalities": (_drop("modalities"), ["loader 'mudata'", "modalities and n_obs are needed"]),
    "rename to nowhere": (_set("rename", {"adt": "protein"}), ["rename leads to ['protein']"]),
    "control of nothing": (_set("control", "ctrl"), ["control needs a perturbation column"]),
    "context of nothing": (_set("keys", {"context": "line"}), ["context needs a perturbation column"]),
    "dose of nothing": (_set("keys", {"dose": "nM"}), ["dose needs a perturbation column"]),
    "key of no text": (
        _set("keys", {"perturbation": "drug", "replicate": 3}),
        ["field 'keys.replicate'", "found 3", "such as donor"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_field_is_named_with_entry_finding_and_remedy(case: str, raw_entry: dict[str, Any]) -> None:
    change, words = BAD[case]
    change(raw_entry)
    with pytest.raises(InputError) as caught:
        parse({"version": 1, "datasets": [raw_entry]}, origin="test.yaml")
    message = str(caught.value)
    assert "1 bad field(s)" in message, message
    assert f"entry '{raw_entry.get('name', 'number 1')}'" in message
    for word in [*words, "Write: "]:
        assert word in message, message


def test_every_bad_field_gets_its_own_line(raw_entry: dict[str, Any]) -> None:
    other = copy.deepcopy(raw_entry) | {"name": "other", "access": "never"}
    del raw_entry["title"]
    with pytest.raises(InputError, match="2 bad field") as caught:
        parse({"version": 1, "datasets": [raw_entry, other]}, origin="test.yaml")
    _, first, second = str(caught.value).splitlines()
    assert "entry 'tiny', field 'title'" in first
    assert "entry 'other', field 'access'" in second


def test_names_occur_once(raw_entry: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="two entries have the name tiny"):
        parse({"version": 1, "datasets": [raw_entry, raw_entry]}, origin="test.yaml")
    raw_entry["files"] *= 2
    with pytest.raises(InputError, match="two files have the same name"):
        parse({"version": 1, "datasets": [raw_entry]}, origin="test.yaml")


@pytest.mark.parametrize("data", [None, [], "text", {"version": 2, "datasets": []}, {"datasets": []}])
def test_what_is_no_registry_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match=r"registry: test\.yaml has .*\n.*Write: "):
        parse(data, origin="test.yaml")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("datasets: [\n  - name: x", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.yaml must be YAML.*line 2") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_the_registry_is_valid_and_an_unknown_name_offers_the_nearest() -> None:
    names = datasets.registry().names()
    assert names[0] == "pbmc_mosaic"
    assert len(names) == 19
    with pytest.raises(InputError, match=r"no data set 'pbmc_mosaik'. Fix: choose one of pbmc_mosaic"):
        datasets.info("pbmc_mosaik")
    shown = str(datasets.info("pbmc_mosaic"))
    for word in ("MIT", "scmidas==0.3.0", "rna (rna), protein (protein)", "batch: batch", "1600"):
        assert word in shown


def test_only_converted_files_lack_a_public_source() -> None:
    for entry in datasets.registry().datasets:
        for file in entry.files:
            if all(source.kind == "file" for source in file.sources):
                assert entry.note, f"{entry.name}: {file.name} can only be had from $OMICSFM_DATA and no note says why"


def test_the_default_comes_from_its_package_first() -> None:
    (file,) = datasets.info("pbmc_mosaic").files
    assert file.sources[0].kind == "pypi"
