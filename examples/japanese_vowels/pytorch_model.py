"""The trained network in PyTorch, from the checkpoint: what every engine is compared with.

    python pytorch_model.py FOLDER

prints one JSON object: the median time of one step and the resident memory of a process that does nothing else.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgegru.checkpoint import NAME, load_checkpoint
from edgegru.configuration import load_config
from edgegru.network import Network

WARM_UP, STEPS = 200, 2000


def load_network(folder: Path) -> Network:
    """The network with the weights that were frozen into the artifact of a training folder."""
    weights = load_checkpoint(folder / NAME, torch.device("cpu")).best
    config = load_config(folder / "config.toml").model
    network = Network(config, weights["mean"], weights["std"], len(weights["dense.bias"]), seed=0)
    network.load_state_dict(weights)
    return network.eval()


@torch.inference_mode()
def probabilities(network: Network, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities (T, classes) of one recording (T, channels)."""
    outputs, _ = network(torch.from_numpy(x)[None], network.zero_state(1))  # (1, T, classes)
    return torch.softmax(outputs[0], dim=-1).numpy()


def weight_bytes(network: Network) -> int:
    """Size of the network's weights as ``torch.save`` writes them."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return len(buffer.getvalue())


@torch.inference_mode()
def median_step_microseconds(network: Network) -> float:
    """Median time of one step of one stream, the state carried on."""
    x = network.mean[None, None].clone()  # (1, 1, channels)
    state, times = network.zero_state(1), []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter_ns()
        outputs, state = network(x, state)
        torch.softmax(outputs, dim=-1)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times[WARM_UP:]) / 1000


def resident_bytes() -> int:
    """Memory of this process that is in RAM (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    torch.set_num_threads(1)  # as the other engines: one step is too small to share
    trained = load_network(Path(sys.argv[1]))
    print(json.dumps({"microseconds": median_step_microseconds(trained), "resident_bytes": resident_bytes()}))
