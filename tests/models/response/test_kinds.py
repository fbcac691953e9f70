"""Which question a row is, and that a rehearsal asks it as it will be asked: without what would not be there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omicsfm import contract
from omicsfm.models._response._kinds import COMBINATION, CONTEXT, KNOWN, TARGET, kinds_of, rehearsals, ways_of


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (("A", "c1"), KNOWN),  # the very row
        (("B", "c2"), KNOWN),  # known elsewhere
        (("A", "new"), CONTEXT),
        (("Z", "c1"), TARGET),
        (("Z", "new"), TARGET),
        (("A+C", "c1"), COMBINATION),
        (("A+C", "new"), COMBINATION),
        (("A+B", "c2"), KNOWN),  # the combination was made elsewhere
        (("B+A", "c1"), KNOWN),  # another order is no other combination
        (("control+B", "c1"), KNOWN),  # B alone
        (("A+Z", "c1"), TARGET),  # a member that was never seen
        (("A+E", "c1"), TARGET),  # E was seen in a combination only
        (("A+B+C", "c1"), COMBINATION),
    ],
)
def test_the_kind_of_a_question(rows_of, row, kind):
    known = rows_of(("A", "c1"), ("B", "c1"), ("C", "c1"), ("A", "c2"), ("A+B", "c1"), ("C+E", "c1"), ("D", "c2"))
    assert kinds_of(rows_of((contract.canonical(row[0]), row[1])), known).tolist() == [kind]


def test_a_target_leaves_with_every_combination_that_holds_it(rows_of):
    known = rows_of(("A", "c1"), ("A", "c2"), ("A+B", "c1"), ("B", "c1"), ("C", "c1"), ("A+C", "c2"), ("D+E", "c1"))
    way = rehearsals(known)[TARGET]
    left = {known.names[asked[0]]: set(block) for block, asked in zip(way.blocks, way.asked, strict=True)}
    assert left == {"A": {0, 1, 2, 5}, "B": {2, 3}, "C": {4, 5}}
    assert sorted(way.rows) == [0, 1, 3, 4]


_ROW = st.tuples(
    st.sampled_from(["A", "B", "C", "D", "A+B", "A+C", "B+C+D", "A+E"]),
    st.sampled_from(["c1", "c2", "c3"]),
    st.sampled_from([1.0, 10.0]),
)


@settings(max_examples=80)
@given(rows=st.lists(_ROW, min_size=1, max_size=12, unique=True))
def test_in_a_rehearsal_nothing_of_the_asked_row_stays_and_the_question_is_of_its_kind(rows_of, rows):
    known = rows_of(*rows)
    for kind, way in rehearsals(known).items():
        assert len(set(way.rows)) == len(way.rows)  # once each
        for block, asked in zip(way.blocks, way.asked, strict=True):
            assert set(asked) <= set(block)
            rest = known.take(np.setdiff1d(np.arange(len(known)), block))
            there = set(zip(rest.names, rest.contexts, rest.dose, strict=True))
            part = known.take(asked)
            assert not there & set(zip(part.names, part.contexts, part.dose, strict=True))
            if kind == TARGET:
                assert not {t for p in rest.parts for t in p} & {t for p in part.parts for t in p}
            if kind == CONTEXT:
                assert not set(rest.contexts) & set(part.contexts)
            assert set(kinds_of(part, rest)) == {kind}


def test_data_that_cannot_be_left_out_are_not_rehearsed(rows_of):
    assert rehearsals(rows_of(("A", "c1"))) == {}
    assert rehearsals(rows_of(("A", "c1"), ("B", "c1"))) == {}
    # without its one row a context is not known
    assert rehearsals(rows_of(("A", "c1"), ("A", "c2"))) == {}
    assert set(rehearsals(rows_of(("A", "c1"), ("A", "c2"), ("B", "c2")))) == {KNOWN}
    assert set(rehearsals(rows_of(("A", "c1"), ("B", "c1"), ("A+B", "c1")))) == {COMBINATION}
    # two contexts do not tell how a third will be
    assert CONTEXT not in rehearsals(rows_of(*[(t, c) for t in "ABCD" for c in ("c1", "c2")]))
    assert CONTEXT in rehearsals(rows_of(*[(t, c) for t in "ABCD" for c in ("c1", "c2", "c3")]))


def test_a_combination_whose_members_were_never_alone_is_still_left_out_for_the_weights(rows_of):
    known = rows_of(("A", "c1"), ("B", "c1"), ("C", "c1"), ("D+E", "c1"))
    blocks = ways_of(known, rehearsals(known))[-1]
    assert [list(b) for b in blocks] == [[3]]
