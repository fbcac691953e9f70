from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from omicsfm import InputError
from omicsfm.models import ContactRidge


def make(n: int = 60, seed: int = 0):
    """Places with a type of two; those of one type touch more. Half of the twelve features tell the type."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    x = rng.normal(size=(n, 12)) * 0.3
    x[:, :6] += 4 * kind[:, None]
    i, j = np.triu_indices(n, 1)
    return x, (i, j), (kind[i] == kind[j]) + 0.1 * rng.normal(size=len(i))


def test_it_finds_that_like_touches_like_in_places_it_has_not_seen():
    x, (i, j), value = make()
    new = (i >= 40) & (j >= 40)
    old = (i < 40) & (j < 40)
    model = ContactRidge(5).fit(x, (i[old], j[old]), value[old])
    assert np.corrcoef(model.predict(x, (i[new], j[new])), value[new])[0, 1] > 0.8


def test_the_order_of_two_places_does_not_matter_and_sparse_is_the_same():
    x, (i, j), value = make()
    model = ContactRidge().fit(x, (i, j), value)
    np.testing.assert_allclose(model.predict(x, (j, i)), model.predict(x, (i, j)))
    other = clone(model).fit(sparse.csr_matrix(x), (i, j), value)
    np.testing.assert_allclose(other.predict(sparse.csr_matrix(x), (i, j)), model.predict(x, (i, j)))


def test_places_outside_of_the_pairs_change_nothing():
    x, (i, j), value = make()
    old = (i < 40) & (j < 40)
    spoilt = x.copy()
    spoilt[40:] = 1e6
    pairs = i[old], j[old]
    one, two = (ContactRidge().fit(z, pairs, value[old]).predict(x, (i, j)) for z in (x, spoilt))
    np.testing.assert_array_equal(one, two)


def test_a_prediction_does_not_depend_on_what_else_is_asked():
    x, (i, j), value = make()
    model = ContactRidge().fit(x, (i, j), value)
    np.testing.assert_allclose(model.predict(x, (i[:1], j[:1])), model.predict(x, (i, j))[:1])


def test_bad_input_is_told():
    x, (i, j), value = make()
    with pytest.raises(InputError, match="one finite value each"):
        ContactRidge().fit(x, (i, j), value[:-1])
    with pytest.raises(InputError, match="one finite value each"):
        ContactRidge().fit(x, (i, j), np.full(len(i), np.nan))
    with pytest.raises(InputError, match="features must be finite"):
        ContactRidge().fit(np.full_like(x, np.nan), (i, j), value)
    with pytest.raises(InputError, match="fitted on 12 features, found 3"):
        ContactRidge().fit(x, (i, j), value).predict(x[:, :3], (i, j))
