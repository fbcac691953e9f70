"""What a block of code costs: time, memory, torch FLOPs, estimated energy."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import psutil

from omicsfm._errors import InputError

if sys.platform != "win32":
    import resource

_NAN = float("nan")
_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class CostRecord:
    """Cost of one block. NaN = not measured, never "nothing". MB are 1e6 bytes.

    Attributes
    ----------
    wall_s
        Seconds that passed; on a shared machine trust `cpu_s`.
    cpu_s
        CPU seconds (user and system) of all threads of the process, and of child processes that ended in the block.
    peak_rss_mb
        Largest resident memory of the process (without children) during the block: absolute, with interpreter,
        libraries and data held before. Sampled every 10 ms; exact if it is the largest of the process so far.
    start_rss_mb
        Resident memory when the block began, so that peak less start is what the block added.
    peak_gpu_mb
        Largest memory that torch had allocated on CUDA devices during the block, summed over them.
    flops
        Floating-point operations that torch counted: a lower bound. Matrix products, convolutions and attention count;
        elementwise operations, numpy, scipy, scikit-learn, other threads and processes do not.
    kwh
        Energy as estimated by codecarbon from the processor's power figures and load; an estimate.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    start_rss_mb: float
    peak_gpu_mb: float
    flops: float
    kwh: float

    def to_dict(self) -> dict[str, float]:
        """Give the cost columns of the results table (all but `start_rss_mb`)."""
        columns = asdict(self)
        del columns["start_rss_mb"]
        return columns


class Cost:
    """Measure the block: ``with Cost() as cost: ...``, then ``cost.record``, also when the block raised.

    Parameters
    ----------
    flops
        Count torch FLOPs, if torch was imported before the block. Counting slows torch down (a small network took 4
        times the CPU time), so that times and FLOPs to be compared must come from two runs; hence off by default.
    energy
        Estimate energy, if the `energy` extra is installed. Adds seconds before the block, not to its time.

    Notes
    -----
    GPU memory is measured through torch's one peak counter per device: blocks that use a GPU must not be nested.
    """

    def __init__(self, *, flops: bool = False, energy: bool = False) -> None:
        self._want_flops = flops
        self._want_energy = energy
        self._record: CostRecord | None = None

    @property
    def record(self) -> CostRecord:
        """The cost measured."""
        if self._record is None:
            raise InputError("Cost.record: the block must have ended, found none. Fix: read it after `with Cost()`.")
        return self._record

    def __enter__(self) -> Cost:
        self._record = None
        self._tracker = _start_energy() if self._want_energy else None
        cuda = _cuda()
        for device in range(cuda.device_count() if cuda else 0):
            cuda.reset_peak_memory_stats(device)
        self._counter = _start_flops() if self._want_flops else None
        self._memory = _MemorySampler()
        self._memory.start()
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cuda = _cuda()
        for device in range(cuda.device_count() if cuda else 0):
            cuda.synchronize(device)  # the work asked for belongs to the block
        wall, cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu
        peak = self._memory.stop()
        flops = _NAN
        if self._counter is not None:
            self._counter.__exit__(kind, error, trace)
            flops = float(self._counter.get_total_flops()) or _NAN  # none counted is not "none done"
        gpu = sum(cuda.max_memory_allocated(device) for device in range(cuda.device_count())) / 1e6 if cuda else _NAN
        self._record = CostRecord(
            wall_s=wall,
            cpu_s=cpu,
            peak_rss_mb=peak / 1e6,
            start_rss_mb=self._memory.first / 1e6,
            peak_gpu_mb=gpu,
            flops=flops,
            kwh=_NAN if self._tracker is None else _stop_energy(self._tracker),
        )


class _MemorySampler:
    """Largest resident memory between start and stop, in bytes."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="omicsfm-memory", daemon=True)
        self._kernel = _kernel_peak_bytes()
        self.first = self._peak = self._process.memory_info().rss

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        self._sample()
        # The kernel knows the largest value in the life of the process: if it grew, it was reached in this block.
        kernel = _kernel_peak_bytes()
        return max(self._peak, kernel) if kernel > self._kernel else self._peak

    def _run(self) -> None:
        while not self._stopped.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)


def _kernel_peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_seconds() -> float:
    if sys.platform == "win32":
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _cuda() -> Any:
    """torch.cuda if torch is loaded and sees a GPU; torch is never loaded for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _start_flops() -> Any:
    if "torch" not in sys.modules:
        return None
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False).__enter__()


def _start_energy() -> Any:
    """Return a running codecarbon tracker that neither calls the network nor writes files; None without codecarbon."""
    if importlib.util.find_spec("codecarbon") is None:
        return None
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it logs each start otherwise
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="USA",  # needed for CO2, which we do not report; the energy does not depend on it
        output_methods=[],
        log_level="error",
        allow_multiple_runs=True,
        tracking_mode="process",
    )
    tracker.start()
    return tracker


def _stop_energy(tracker: Any) -> float:
    tracker.stop()
    # codecarbon swallows its own failures and then has no final data.
    data = getattr(tracker, "final_emissions_data", None)
    return _NAN if data is None else float(data.energy_consumed)
