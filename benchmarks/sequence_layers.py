"""Cost of the sequence layers by length: `python benchmarks/sequence_layers.py` (about a minute, 2 GB).

Two layers of 64 channels over one sequence, forward, one thread, the better of two runs in CPU seconds; and how much
more than linear the cost grew with every doubling. transformers' Mamba-2 without its CUDA kernels stands beside where
it is installed. All in one run: on a busy machine trust the ratios. Writes results/sequence_layers.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from _common import GOAL, table  # first: it sets the threads

from omicsfm import io

WIDTH, N_LAYERS, LONGEST = 64, 2, 131_072
LENGTHS = (2_048, 8_192, 32_768, LONGEST)
MOST = {"attention": 8_192, "transformers Mamba2": 2_048}  # quadratic, or too slow for more
GOAL_AT, GOAL_S = 8_192, 0.5


def layers() -> dict[str, Callable[[], object]]:
    """Give what makes one layer, by name."""
    from omicsfm.nn import SEQUENCE_LAYERS, make_sequence_layer

    made: dict[str, Callable[[], object]] = {
        name: lambda name=name: make_sequence_layer(name, WIDTH) for name in SEQUENCE_LAYERS
    }
    if find_spec("transformers"):
        from transformers import Mamba2Config
        from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

        config = Mamba2Config(hidden_size=WIDTH, num_heads=8, head_dim=16, state_size=16, n_groups=1, expand=2)
        made["transformers Mamba2"] = lambda: Mamba2Mixer(config, layer_idx=0)
    return made


def seconds(stack: list[object], length: int) -> float:
    """CPU seconds of one forward pass."""
    import torch

    torch.set_num_threads(1)
    x = torch.randn(1, length, WIDTH, generator=torch.Generator().manual_seed(0))
    found = []
    with torch.no_grad():
        for _ in range(2):
            start, y = time.process_time(), x
            for layer in stack:
                y = layer(y)
            found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    rows = []
    for name, make in layers().items():
        stack = [make() for _ in range(N_LAYERS)]
        for length in LENGTHS:
            if length <= MOST.get(name, LONGEST):
                rows.append({"layer": name, "length": length, "cpu_s": seconds(stack, length)})
                print(f"{name}, {length:,}: {rows[-1]['cpu_s']:.3f} s", flush=True)
    frame = pd.DataFrame(rows)
    out = Path(__file__).resolve().parent / "results" / "sequence_layers.csv"
    with io.atomic(out) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.4g")
    shown = []
    for name, part in frame.groupby("layer", sort=False):
        last = part.tail(2)
        power = np.diff(np.log(last["cpu_s"]))[0] / np.diff(np.log(last["length"]))[0] if len(last) > 1 else np.nan
        at = part.loc[part["length"] == GOAL_AT, "cpu_s"]
        goal = f"<= {GOAL_S} s: {GOAL[at.iloc[0] <= GOAL_S]}" if len(at) else "-"
        shown.append([name, *(part.set_index("length")["cpu_s"].reindex(LENGTHS).tolist()), float(power), goal])
    columns = ["layer", *(f"{n:,}" for n in LENGTHS), "grows as length^", f"at {GOAL_AT:,}"]
    table("Two layers, 64 channels, forward, CPU seconds", columns, shown)


if __name__ == "__main__":
    main()
