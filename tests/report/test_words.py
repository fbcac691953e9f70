"""The page's text: verdicts first, losses like gains, everything from data escaped, nothing from the network."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest

from omicsfm import report
from omicsfm._errors import InputError


class Page(HTMLParser):
    """Tags, ids, references and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self._hidden:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def results(example):
    return example()


@pytest.fixture(scope="module")
def html(results, tmp_path_factory):
    return report.build(results, tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_order_verdicts_come_before_tables(page):
    heads = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert heads[:2] == ["data", "verdicts"]
    assert heads[-3:] == ["audit-section", "limits", "reproduce"]
    assert len(heads) == 5 + 3
    assert page.words.index("LinearMosaic loses to WNN") < page.words.index("★")


def test_every_verdict_is_there_losses_like_gains(page, results):
    for words in results.verdicts["words"]:
        assert " ".join(words.split()) in page.words
    count = results.verdicts["favours"].value_counts()
    tally = re.search(r"(\d+) better (\d+) worse (\d+) no evidence", page.words)
    assert [int(n) for n in tally.groups()] == [count["method"], count["baseline"], count["neither"]]
    limits = page.words[page.words.index("Limits and negative results") :]
    worse = results.verdicts[results.verdicts["favours"] == "baseline"]
    assert len(worse) >= 2
    for row in worse.itertuples():
        assert f"{row.metric} ({row.baseline})" in limits


def test_table_marks_the_best_and_names_baselines(page, results):
    scores = results.table.query("task == 'integration' and metric == 'foscttm'").groupby("method")["value"].mean()
    assert scores.idxmin() == "LinearMosaic"
    assert f"★ {scores.min():.3f}" in page.words
    assert "Under test" in page.words
    assert "Baselines" in page.words
    assert "★ 0.888" not in page.words  # interval coverage is not ranked
    assert "CPU s ↓" in page.words


def test_metrics_are_explained_with_their_direction(page):
    assert (
        "Fraction of samples closer than the true match, for every cell, mean over cells (lower is better)"
        in page.words
    )
    assert "foscttm ↓" in page.words.replace("_\u200b", "_")
    assert ":func:" not in page.words


def test_what_is_needed_to_run_it_again(page, results):
    for value in (
        *results.meta["versions"].values(),
        results.meta["command"],
        results.meta["python"],
        results.meta["data"]["pbmc_mosaic"],
        results.meta["started"],
        "61 s",
    ):
        assert value in page.words


def test_failed_audit_is_told(page):
    assert "3 checks were made before scoring; 1 found something" in page.words
    assert page.words.index("2 cells have identical counts") < page.words.index("no training cell shares a name")


def test_coverage_in_words(page):
    assert "90% intervals of protein held 90.2%" in page.words
    assert "79% in other (23 cells)" in page.words


def test_self_contained_titled_and_described(page, html):
    for tag, attrs in page.tags:
        for key in ("src", "href", "srcset", "data", "action"):
            if key in attrs:
                assert attrs[key].startswith(("data:", "#")), (tag, attrs[key])
        assert tag not in ("script", "iframe", "object", "embed")
    assert not re.search(r"url\(|@import", html)
    assert page.all("html") == [{"lang": "en"}]
    assert "<title>omicsfm report: pbmc_mosaic</title>" in html
    pictures = page.all("img")
    assert len(pictures) >= 12
    assert all(len(picture["alt"]) > 30 for picture in pictures)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    anchors = [a["href"][1:] for a in page.all("a")]
    assert set(anchors) <= set(ids)
    assert len(html) < 1_500_000


def test_everything_from_data_is_escaped(example, tmp_path):
    hostile = Page(report.build(example(hostile=True), tmp_path / "r.html").read_text(encoding="utf-8"))
    assert not hostile.all("script")
    assert "<script>alert('x')</script>" in hostile.words  # as text


def test_same_results_same_page(results, html, tmp_path):
    assert report.build(results, tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_parts_may_be_missing(results, tmp_path):
    bare = SimpleNamespace(
        table=results.table[results.table["task"] == "annotation"],
        verdicts=results.verdicts.iloc[:0],
        audit=pd.DataFrame(),
        meta={},
        pictures={},
    )
    page = Page(report.build(bare, tmp_path / "bare.html").read_text(encoding="utf-8"))
    assert "No method was compared with a baseline here." in page.words
    assert "No leak audit was recorded" in page.words
    assert "Under test" not in page.words


def test_nothing_is_left_behind_when_it_fails(results, tmp_path):
    old = tmp_path / "report.html"
    old.write_text("old", encoding="utf-8")
    empty = SimpleNamespace(**{**vars(results), "table": results.table.iloc[:0]})
    with pytest.raises(InputError, match="found none"):
        report.build(empty, old)
    assert old.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_two_data_sets_are_told_apart_and_a_picture_shows_once(results, tmp_path):
    other = {"dataset": "other_data"}
    both = SimpleNamespace(
        **{
            **vars(results),
            "table": pd.concat([results.table, results.table.assign(**other)], ignore_index=True),
            "verdicts": pd.concat([results.verdicts, results.verdicts.assign(**other)], ignore_index=True),
        }
    )
    page = Page(report.build(both, tmp_path / "both.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("h2") == 5 + 6
    assert "Imputation on other_data" in page.words
    alts = [picture["alt"] for picture in page.all("img")]
    assert sum(alt.startswith("UMAP of the joint embedding") for alt in alts) == 3
    assert sum(alt.startswith("Density of predicted") for alt in alts) == 1
    assert "umap" in results.pictures  # the results themselves are left as they were
