"""What is hidden must be hidden, and the audit must see it when it is not."""

import dataclasses

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm import contract
from omicsfm.tasks import Annotation, CellState, Imputation, MosaicIntegration
from omicsfm.tasks._splits import donors, duplicates, hide_labels, pseudo_cells
from omicsfm.testing import toy_mosaic


@pytest.fixture
def toy():
    mdata = toy_mosaic(160)
    ofm.setup(mdata, batch_key="batch", label_key="label")
    return mdata


TASKS = [MosaicIntegration(), Imputation(), Annotation(), CellState()]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_audit_is_clean_on_honest_splits(task, toy):
    splits = list(task.splits(toy))
    assert splits
    for split in splits:
        assert contract.check(split.train).ok
        assert all(finding.ok for finding in task.audit(split)), task.audit(split)
        assert list(split.query.obs_names)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_audit_sees_a_planted_leak(task, toy):
    split = next(iter(task.splits(toy)))
    if task.name == "integration":  # the donor as it was, paired and labelled, under the pseudo-cells' names
        names = split.query.obs_names.str.rsplit(":", n=1).str[0].unique()
        leaky = dataclasses.replace(split, train=toy, query=contract.subset(toy, np.isin(toy.obs_names, names)))
    elif task.name == "imputation":
        leaky = dataclasses.replace(split, train=toy, query=split.truth["source"])
    else:
        leaky = dataclasses.replace(split, train=toy)
    assert not all(finding.ok for finding in task.audit(leaky))


def test_duplicates_are_found_under_other_names(toy):
    split = next(iter(Annotation().splits(toy)))
    known = np.ones(toy.n_obs, dtype=bool)
    assert not duplicates(toy, split.query, known).ok
    assert duplicates(toy, split.query, ~known).ok


def test_pseudo_cells_keep_every_measurement_and_no_pair(toy):
    cells = (contract.modality_mask(toy).sum(axis=1) > 1).to_numpy() & (donors(toy) == donors(toy)[0])
    out, names = pseudo_cells(toy, cells)
    mask = contract.modality_mask(out)
    for mod, mine in names.items():
        assert mask.loc[mine, mod].all()
        assert (mask.loc[mine].sum(axis=1) == 1).all()
        original = toy.mod[mod][[n[: -len(mod) - 1] for n in mine]].X
        assert abs(out.mod[mod][mine].X - original).sum() == 0
    assert sum(a.n_obs for a in out.mod.values()) == sum(a.n_obs for a in toy.mod.values())
    assert contract.labels(out).notna().sum() >= contract.labels(toy).notna().sum()


def test_dropped_modality_leaves_no_trace(toy):
    """Whatever the hidden values were, training is the same."""
    cells = donors(toy) == donors(toy)[0]
    changed = contract.subset(toy, np.ones(toy.n_obs, dtype=bool))
    rows = np.flatnonzero(cells[contract.rows(changed, "protein")])
    x = changed.mod["protein"].X.toarray() if hasattr(changed.mod["protein"].X, "toarray") else changed.mod["protein"].X
    x = np.array(x)
    x[rows] += 7
    changed.mod["protein"].X = x.astype(np.float32)
    plain = contract.subset(toy, np.ones(toy.n_obs, dtype=bool))
    y = plain.mod["protein"].X
    plain.mod["protein"].X = np.array(y.toarray() if hasattr(y, "toarray") else y, dtype=np.float32)
    a, b = (contract.hide(m, "protein", cells) for m in (plain, changed))
    assert contract.fingerprint(a) == contract.fingerprint(b)
    assert contract.fingerprint(plain) != contract.fingerprint(changed)


def test_hidden_labels_are_gone_everywhere(toy):
    hidden = donors(toy) == donors(toy)[0]
    out = hide_labels(toy, hidden)
    assert contract.labels(out)[hidden].isna().all()
    assert contract.labels(out)[~hidden].equals(contract.labels(toy)[~hidden])
    for adata in out.mod.values():
        assert "label" not in adata.obs


def test_unseen_type_is_absent_from_training(toy):
    found = [s for s in Annotation().splits(toy) if "unseen" in s.truth]
    assert found
    for split in found:
        assert split.truth["unseen"] not in set(contract.labels(split.train).dropna())
        assert (split.truth["label"] == split.truth["unseen"]).sum() >= 20
    assert sum("unseen" in s.truth for s in Annotation(n_unseen=1).splits(toy)) == 1


def test_one_donor_is_refused_with_the_fix(toy):
    ofm.setup(toy, label_key="label")
    toy.uns["omicsfm"]["keys"].pop("batch")
    for task in (MosaicIntegration(), Annotation()):
        with pytest.raises(ofm.InputError, match="donor_key"):
            list(task.splits(toy))
