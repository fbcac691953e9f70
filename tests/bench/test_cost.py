from __future__ import annotations

import subprocess
import sys
import time
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from omicsfm import InputError
from omicsfm.bench.cost import Cost, CostRecord

COLUMNS = ["wall_s", "cpu_s", "peak_rss_mb", "peak_gpu_mb", "flops", "kwh"]
BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_columns_are_those_of_the_results_table():
    with Cost() as cost:
        pass
    assert list(cost.record.to_dict()) == COLUMNS


def test_sleep_costs_wall_time_but_no_cpu_time():
    with Cost() as cost:
        time.sleep(0.3)
    assert 0.29 < cost.record.wall_s < 5
    assert cost.record.cpu_s < 0.1


def test_work_costs_cpu_time():
    with Cost() as cost:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    assert 0.29 < cost.record.cpu_s < 1


def test_child_processes_count():
    with Cost() as cost:
        subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cost.record.cpu_s > 0.29


def test_peak_memory_is_absolute_and_seen_although_freed():
    with Cost() as cost:
        block = np.ones(25_000_000)  # 200 MB, written to
        time.sleep(0.05)
        del block
    record = cost.record
    assert record.peak_rss_mb > record.start_rss_mb > 20
    assert 190 < record.peak_rss_mb - record.start_rss_mb < 400
    with Cost() as after:
        pass
    assert after.record.peak_rss_mb < record.peak_rss_mb - 150  # the peak of another block is not ours


def test_a_block_that_raises_is_measured_and_its_error_passed_on():
    cost = Cost()
    with pytest.raises(KeyError), cost:
        raise KeyError("x")
    assert cost.record.wall_s > 0


def test_no_record_before_the_end():
    with pytest.raises(InputError, match="must have ended"), Cost() as cost:
        _ = cost.record


def test_flops_of_a_matrix_product():
    import torch

    a = torch.ones(10, 20)
    with Cost(flops=True) as cost:
        a @ torch.ones(20, 30)
    assert cost.record.flops == 2 * 10 * 20 * 30


def test_flops_are_unknown_unless_asked_for_and_counted():
    import torch

    with Cost() as cost:
        torch.ones(10, 20) @ torch.ones(20, 30)
    assert np.isnan(cost.record.flops)
    with Cost(flops=True) as cost:
        np.ones((10, 20)) @ np.ones((20, 30))
    assert np.isnan(cost.record.flops)


def test_torch_is_not_loaded_for_the_measurement():
    code = (
        "import sys\nfrom omicsfm.bench.cost import Cost\n"
        "with Cost(flops=True) as cost: pass\n"
        "assert 'torch' not in sys.modules\nprint(cost.record.flops, cost.record.peak_gpu_mb)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["nan", "nan"]


def test_gpu_memory_is_the_peak_of_the_block_over_all_devices(monkeypatch):
    peaks = {0: 9e9, 1: 9e9}
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=lambda device: peaks.update({device: 0}),
        max_memory_allocated=lambda device: peaks[device],
        synchronize=lambda device: None,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    with Cost() as cost:
        peaks.update({0: 3e6, 1: 4e6})
    assert cost.record.peak_gpu_mb == 7


class Tracker:
    """Stands for codecarbon's tracker."""

    broken = False

    def __init__(self, **options):
        assert options["output_methods"] == []

    def start(self):
        self.started = True

    def stop(self):
        if self.started and not self.broken:
            self.final_emissions_data = types.SimpleNamespace(energy_consumed=0.25)


@pytest.mark.parametrize("broken", [False, True])
def test_energy_by_codecarbon_if_asked_for(monkeypatch, broken):
    module = types.ModuleType("codecarbon")
    module.__spec__ = ModuleSpec("codecarbon", None)
    module.OfflineEmissionsTracker = type("Tracker", (Tracker,), {"broken": broken})
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    with Cost(energy=True) as cost:
        pass
    assert cost.record.kwh == 0.25 or (broken and np.isnan(cost.record.kwh))
    with Cost() as cost:
        pass
    assert np.isnan(cost.record.kwh)


def test_energy_is_unknown_without_codecarbon(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with Cost(energy=True) as cost:
        pass
    assert np.isnan(cost.record.kwh)


def test_energy_by_the_real_codecarbon():
    pytest.importorskip("codecarbon", reason="the `energy` extra is not installed")
    with Cost(energy=True) as cost:
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
    assert 0 < cost.record.kwh < 0.01
    assert cost.record.wall_s < 10


def test_the_record_cannot_be_changed():
    record = CostRecord(1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(AttributeError):
        record.wall_s = 0
