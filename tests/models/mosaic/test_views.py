"""Which of its modalities a training cell shows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm.models import Mosaic
from omicsfm.models._correction._views import FEWEST, Views


def drawn(views: Views, whole: int, n: int = 20_000) -> dict[int, float]:
    value, count = np.unique(views.draw(np.full(n, whole), np.random.default_rng(0)), return_counts=True)
    return dict(zip(value.tolist(), count / n, strict=True))


def test_views_are_as_frequent_as_the_patterns_met() -> None:
    """Of 1,000 cells 600 are whole, 300 lack the second modality and 100 the first."""
    share = drawn(Views(np.repeat([3, 1, 2], [600, 300, 100])), 3)
    total = 0.4 + 2 * FEWEST
    assert share == pytest.approx({1: (0.3 + FEWEST) / total, 2: (0.1 + FEWEST) / total}, abs=0.01)


def test_three_modalities() -> None:
    """A part that is never met is never shown, but for single modalities; nor is anything shown that is not there."""
    views = Views(np.repeat([7, 3, 1, 5], [400, 300, 200, 100]))
    share = drawn(views, 7)
    total = 0.6 + 3 * FEWEST
    expected = {3: 0.3, 1: 0.2 + FEWEST, 5: 0.1, 2: FEWEST, 4: FEWEST}
    assert share == pytest.approx({code: value / total for code, value in expected.items()}, abs=0.01)
    assert set(drawn(views, 5)) == {1, 4}


@pytest.mark.parametrize("code", [0, 1, 4])
def test_what_has_no_part_is_shown_as_it_is(code: int) -> None:
    assert drawn(Views(np.array([code, 7])), code, 10) == {code: 1.0}


def test_every_view_is_a_proper_part() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 16, 3000)
    shown = Views(code).draw(code, rng)
    several = np.array([bin(c).count("1") > 1 for c in code])
    assert (shown & ~code == 0).all()
    assert ((shown != code) & (shown > 0))[several].all()
    assert (shown == code)[~several].all()


def test_training_counts_the_cells_that_lack_something(tools: SimpleNamespace, monkeypatch) -> None:
    """Also those that teach nothing themselves: they say what queries will look like."""
    from omicsfm.models._correction import _training

    seen = []
    draw = Views.draw

    def spy(self: Views, code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(self.choice[3])
        return draw(self, code, rng)

    monkeypatch.setattr(_training.Views, "draw", spy)
    n = np.arange(300)
    mdata = tools.crossed(300, has={"protein": n % 3 == 0})  # 100 whole, 200 with RNA alone
    Mosaic(**tools.net, max_epochs=1).fit(mdata)
    parts, share = seen[0]
    rna = 2  # modalities in the order of their names
    assert parts.tolist() == [1, 2]
    assert share[parts.tolist().index(rna)] == pytest.approx((2 / 3 + FEWEST) / (2 / 3 + 2 * FEWEST))
