"""The simple answers against loops, and that a row which may not be used is as good as absent."""

from __future__ import annotations

import numpy as np
import pytest

from omicsfm.models._response import _simple
from omicsfm.models._response._rows import Rows

KNOWN = [
    ("A", "c1", 1.0),
    ("B", "c1", 1.0),
    ("C", "c1", 10.0),
    ("A", "c1", 100.0),
    ("A", "c2", 10.0),
    ("B", "c2", 1.0),
    ("D", "c2", 1.0),
    ("A+B", "c1", 1.0),
    ("A+C", "c1", 1.0),
    ("B+D", "c2", 1.0),
    ("B", "c3", 1.0),
    ("E", "c3", 1.0),
]
ASKED = [
    ("A", "c1", 1.0),
    ("A", "c2", 1.0),
    ("D", "c1", 1.0),
    ("Z", "c3", 1.0),
    ("Z", "new", 1.0),
    ("A", "new", 30.0),
    ("A+D", "c1", 1.0),
    ("A+Z", "c2", 1.0),
    ("B+E", "new", 1.0),
    ("A+B+D", "c1", 1.0),
    ("A+B", "c3", 1.0),
]
ANSWERS = ("mean_response", "matched", "transfer", "additive", "max_abs")


@pytest.fixture
def data(rows_of):
    rng = np.random.default_rng(0)
    known, asked = rows_of(*KNOWN), rows_of(*ASKED)
    return known, rng.normal(size=(len(known), 5)), asked, rng.random((len(asked), len(known))) < 0.7


def _mean(known, y, parts, context, use):
    size = [len(p) for p in known.parts]
    for same_context, same_size in ((True, True), (False, True), (True, False), (False, False)):
        rows = [
            j
            for j in use
            if (not same_context or known.contexts[j] == context) and size[j] == (len(parts) if same_size else 1)
        ]
        if rows:
            return y[rows].mean(axis=0) * (1 if same_size else len(parts))
    return np.zeros(y.shape[1])


def _matched(known, y, name, parts, context, dose, use):
    rows = [j for j in use if known.names[j] == name]
    if not rows:
        return _mean(known, y, parts, context, use)
    nearest = min(abs(known.dose[j] - dose) for j in rows)
    return y[[j for j in rows if abs(known.dose[j] - dose) <= nearest + 1e-9]].mean(axis=0)


def _members(known, y, parts, context, dose, use):
    out = []
    for t in parts:
        here = [j for j in use if known.contexts[j] == context and known.names[j] == t]
        out.append(_matched(known, y, t, (t,), context, dose, here or use))
    return np.stack(out)


def _by_hand(name, known, y, asked, allowed):
    out = []
    for i in range(len(asked)):
        use = list(np.flatnonzero(allowed[i]))
        parts, context, dose = asked.parts[i], asked.contexts[i], asked.dose[i]
        if name == "mean_response":
            out.append(_mean(known, y, parts, context, use))
        elif name == "matched":
            out.append(_matched(known, y, asked.names[i], parts, context, dose, use))
        elif name == "transfer":
            departs = [
                y[j] - _mean(known, y, known.parts[j], known.contexts[j], [k for k in use if k != j])
                for j in use
                if known.names[j] == asked.names[i] and known.contexts[j] != context
            ]
            out.append(_mean(known, y, parts, context, use) + (np.mean(departs, axis=0) if departs else 0))
        else:
            members = _members(known, y, parts, context, dose, use)
            if name == "additive":
                out.append(members.sum(axis=0))
            else:
                out.append(np.array([max(column, key=abs) for column in members.T]))
    return np.stack(out)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_a_loop_gives(data, name):
    known, y, asked, allowed = data
    everything = np.ones_like(allowed)
    found = getattr(_simple, name)(known, y, asked, everything)
    np.testing.assert_allclose(found, _by_hand(name, known, y, asked, everything), atol=1e-12)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_a_loop_gives_where_some_rows_may_not_be_used(data, name):
    known, y, asked, allowed = data
    found = getattr(_simple, name)(known, y, asked, allowed)
    np.testing.assert_allclose(found, _by_hand(name, known, y, asked, allowed), atol=1e-12)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_row_that_may_not_be_used_changes_nothing(data, name):
    known, y, asked, allowed = data
    answer = getattr(_simple, name)
    for i in range(len(asked)):
        one = asked.take(np.array([i]))
        before = answer(known, y, one, allowed[i : i + 1])
        changed = np.where(allowed[i][:, None], y, 1e6)
        np.testing.assert_allclose(answer(known, changed, one, allowed[i : i + 1]), before, atol=1e-9)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_do_not_depend_on_what_else_is_asked(data, name):
    known, y, asked, allowed = data
    answer = getattr(_simple, name)
    together = answer(known, y, asked, allowed)
    for i in range(len(asked)):
        alone = answer(known, y, asked.take(np.array([i])), allowed[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-12)


def test_where_nothing_may_be_used_the_answer_is_nothing(data):
    known, y, asked, allowed = data
    for name in ANSWERS[:2]:
        assert (getattr(_simple, name)(known, y, asked, np.zeros_like(allowed)) == 0).all()


def test_the_member_measured_here_comes_before_the_same_elsewhere(rows_of):
    known = rows_of(("A", "c1", 100.0), ("A", "c2", 1.0), ("B", "c2", 1.0))
    y = np.array([[1.0], [10.0], [100.0]])
    asked = rows_of(("A+B", "c1", 1.0))
    # A of c1 though its dose is further off; B from c2, there is none here
    assert _simple.additive(known, y, asked, np.ones((1, 3), dtype=bool)).item() == 101


def test_the_largest_member_keeps_its_sign(rows_of):
    known: Rows = rows_of(("A", "c1"), ("B", "c1"))
    y = np.array([[1.0, -3.0], [-2.0, 2.0]])
    assert _simple.max_abs(known, y, rows_of(("A+B", "c1")), np.ones((1, 2), dtype=bool)).tolist() == [[-2.0, -3.0]]
