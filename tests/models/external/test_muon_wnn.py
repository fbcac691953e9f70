"""MuonWNN against muon itself. muon compiles for twenty seconds in every run, so that all tests here share one."""

import random

import numpy as np
import pytest

from omicsfm import InputError, OmicsfmWarning, contract, testing
from omicsfm.models.external import muon_wnn
from omicsfm.models.external.muon_wnn import MuonWNN

pytest.importorskip("muon", reason="muon is not installed", exc_type=ImportError)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_run():
    """Remember what muon said of the same input; the second fit of `check_seed` is not muon's but everything else."""
    told = {}
    run = muon_wnn._muon_graph

    def remember(x, *args):
        key = (*(np.round(v, 6).tobytes() for v in x.values()), *args)
        if key not in told:
            told[key] = run(x, *args)
        return told[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon_wnn, "_muon_graph", remember)
        yield told


def test_quiet_and_the_graph_is_muons(one_run, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    mdata = testing.toy_mosaic()
    before = random.getstate(), np.random.get_state()[1].copy()
    model = MuonWNN(6).fit(mdata)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert random.getstate() == before[0] and (np.random.get_state()[1] == before[1]).all()
    ((graph, weights),) = one_run.values()
    n = int(contract.modality_mask(mdata).all(axis=1).sum())
    assert graph.shape == (n, n) and abs(graph - graph.T).max() < 1e-6
    np.testing.assert_allclose(sum(weights.values()), 1, atol=1e-6)
    kind = np.flatnonzero(contract.modality_mask(mdata).to_numpy().all(axis=1)) % 3
    coo = graph.tocoo()
    assert (kind[coo.coords[0]] == kind[coo.coords[1]]).mean() > 0.7
    assert model.states_.shape == (n, 6)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(lambda: MuonWNN(6))


def test_too_few_complete_cells_is_an_error(make_mosaic):
    mdata = make_mosaic(60, has={"protein": np.arange(60) >= 36})
    with pytest.warns(OmicsfmWarning, match="only 24 cells"), pytest.raises(InputError, match="at least 25 cells"):
        MuonWNN(3).fit(mdata)
