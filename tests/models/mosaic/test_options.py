"""Every way to build and train the network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm.models import Mosaic


@pytest.mark.parametrize(
    "options",
    [{"mixer": "mlp"}, {"mixer": "ssm"}, {"precision": "bf16-mixed"}, {"contrast": 0.0}, {"n_layers": 0}],
    ids=str,
)
def test_it_learns(tools: SimpleNamespace, options: dict) -> None:
    mdata = tools.crossed(300)
    model = Mosaic(**{**tools.net, "max_epochs": 4, **options}).fit(mdata)
    assert model.gate_["rna->protein"] > 0.3
    assert np.isfinite(model.embed(mdata)).all()
    assert model.correction_.sizes["mixer"] == options.get("mixer", "attention")


def test_a_label_loss_draws_labels_apart(tools: SimpleNamespace, monkeypatch) -> None:
    """Labels reach the network only where asked; where all are missing it is as if none were asked for."""
    from omicsfm.models._correction import _trainer

    seen: list[dict] = []
    step = _trainer.Training.training_step

    def spy(self, data, index):
        seen.append({k: float(v.detach()) for k, v in self.losses(data).items()})
        return step(self, data, index)

    monkeypatch.setattr(_trainer.Training, "training_step", spy)
    mdata = tools.crossed(150)
    mdata.obs["kind"] = mdata.obs["kind"].astype(object).where(np.arange(150) % 3 > 0)
    model = Mosaic(**tools.net, max_epochs=6, label_weight=1.0).fit(mdata)
    label = [terms["label"] for terms in seen]
    assert label[0] > 1.0  # four labels, nothing learnt: about log 4
    assert np.mean(label[-2:]) < 0.9 * label[0]
    assert set(model.annotate(mdata)["label"]) <= {"p", "q", "r", "s"}
    seen.clear()
    plain = Mosaic(**tools.net, max_epochs=2).fit(mdata)
    assert not any("label" in terms for terms in seen)
    mdata.obs["kind"] = np.full(150, np.nan, dtype=object)
    blind = Mosaic(**tools.net, max_epochs=2, label_weight=1.0).fit(mdata)
    assert blind.labels_ is None
    np.testing.assert_array_equal(blind.embed(mdata)[:, : plain.n_shared_], plain.embed(mdata)[:, : plain.n_shared_])


@pytest.mark.parametrize("penalty", ["mmd", "adversary", "none"])
def test_batch_penalty(tools: SimpleNamespace, penalty: str) -> None:
    batch = np.random.default_rng(5).choice(["a", "b"], 150)
    mdata = tools.crossed(150, batch=batch, shift=batch == "b")
    model = Mosaic(**tools.net, max_epochs=1, batch_penalty=penalty).fit(mdata)
    assert ("batches" in model.gate_) == (penalty != "none")
    assert np.isfinite(model.embed(mdata)).all()


class Enough(Exception):
    """Training has been seen."""


def test_two_processes(tools: SimpleNamespace, monkeypatch) -> None:
    """Each takes half of the cells of every epoch; what is learnt is about what one process learns."""
    from omicsfm.models._correction import _run

    seen = {}
    train = _run.train

    def twice(module, options, **more):
        seen["one"] = train(deepcopy(module), options, **more)
        seen["two"] = train(module, replace(options, devices=2, strategy="ddp_spawn", batch_size=32), **more)
        raise Enough

    monkeypatch.setattr(_run, "train", twice)
    with pytest.raises(Enough):
        Mosaic(**tools.net, max_epochs=2, accelerator="cpu").fit(tools.crossed(200))
    one, two = seen["one"].weights, seen["two"].weights
    assert seen["two"].best_epoch == seen["one"].best_epoch == 2
    assert one.keys() == two.keys()
    heads = [name for name in one if name.startswith("to_tokens") and name.endswith("weight")]
    a, b = (np.concatenate([w[name].ravel() for name in heads]) for w in (one, two))
    assert np.corrcoef(a, b)[0, 1] > 0.5 and 0.5 < np.linalg.norm(b) / np.linalg.norm(a) < 2


def test_the_best_epoch_is_kept() -> None:
    """Counting the weights before the first step as epoch 0, and never one whose loss is no number."""
    import torch

    from omicsfm.models._correction._trainer import _KeepBest

    def best(*losses: float) -> tuple[float, int]:
        module, keep = torch.nn.Linear(1, 1), _KeepBest()
        module.register_buffer("best_epoch", torch.zeros((), dtype=torch.int64))
        for epoch, loss in enumerate(losses):
            with torch.no_grad():
                module.weight.fill_(epoch)
            metrics = {"held_out": torch.tensor(loss)}
            trainer = SimpleNamespace(
                callback_metrics=metrics, sanity_checking=epoch == 0, current_epoch=max(epoch - 1, 0)
            )
            keep.on_validation_end(trainer, module)
        keep.on_train_end(trainer, module)
        return module.weight.item(), int(module.best_epoch)

    assert best(5.0, 3.0, float("nan"), 4.0, 2.0, 2.5) == (4.0, 4)
    assert best(1.0, 3.0, 2.0) == (0.0, 0)
