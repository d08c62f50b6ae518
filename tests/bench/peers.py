"""Whether every model learns: each at its default size, trained the same way on the default synthetic world.

    python -m tests.bench.peers --out docs/results/peers.json   # and the table of docs/peers.md

One seed, few samples and few epochs: this shows that each learns, not which is best. Progress goes to stderr. A model
whose record is in the file already is not trained again; other settings need another file. Time of the processor is
given beside time on the clock, for the machine may have other work.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hctdmg.baselines.registry import NAMES
from hctdmg.data.dataset import Dataset
from hctdmg.data.synthetic import DEFAULT_WORLD, make_dataset
from hctdmg.training.build import build_network
from hctdmg.training.fit import FitConfig, FitEpoch, fit
from hctdmg.training.network import predict_split
from hctdmg.training.scores import sentiment_scores

PAGE = Path(__file__).parent.parent.parent / "docs" / "peers.md"
RESULTS = PAGE.parent / "results" / "peers.json"
NOT_RUN = "Not run yet: there is no result to show.\n"
BEGIN, END = "<!-- learning: written by python -m tests.bench.peers -->", "<!-- end of learning -->"
NUM_VALID, NUM_TEST, BATCH_SIZE, SEED = 150, 600, 32, 1


def main() -> int:
    """Train what is missing, write after each, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=600, help="training samples")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    settings = {
        "training_samples": arguments.samples,
        "validation_samples": NUM_VALID,
        "test_samples": NUM_TEST,
        "epochs": arguments.epochs,
        "batch_size": BATCH_SIZE,
        "seed": SEED,
    }
    record = begin(arguments.out, settings)
    data = make_dataset(DEFAULT_WORLD, arguments.samples, NUM_VALID, NUM_TEST, SEED)
    for name in NAMES:
        if name not in record["models"]:
            record["models"][name] = measure(name, data, arguments.epochs)
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    table = as_table(record)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}")
    print(table)
    return 0


def begin(out: Path, settings: Mapping[str, int]) -> dict[str, Any]:
    """The record so far, or an empty one."""
    if not out.exists():
        machine = f"{os.cpu_count()} cores, {platform.machine()}, shared with other work; one thread"
        return {
            "command": "python -m tests.bench.peers",
            "machine": machine,
            "settings": settings,
            "models": {},
        }
    record: dict[str, Any] = json.loads(out.read_text())
    if record["settings"] != settings:
        sys.exit(f"{out} was made with {record['settings']}, asked for is {settings}: name another file")
    return record


def measure(name: str, data: Dataset, num_epochs: int) -> dict[str, float]:
    """Train one model and judge it on the test split."""
    network = build_network(name, data, SEED)
    config = FitConfig(
        num_epochs=num_epochs, batch_size=BATCH_SIZE, seed=SEED, num_threads=1, unimodal_truth="sample"
    )

    def report(epoch: FitEpoch) -> None:
        print(f"{name}: epoch {epoch.epoch}/{num_epochs}, loss {epoch.valid_loss:.3f}", file=sys.stderr)

    begun_s = time.process_time()
    result = fit(network, data, config, report=report)
    spent_s = time.process_time() - begun_s
    test = data.splits["test"]
    predicted_N = predict_split(network, test)[:, 0].astype(np.float64)
    scores = sentiment_scores(predicted_N, test.labels_NK[:, 0].astype(np.float64))
    acc2, mae = scores["acc2_nonzero"], scores["mae"]
    assert acc2.floor is not None
    assert mae.floor is not None
    return {
        "parameters": sum(one.numel() for one in network.parameters()),
        "training_s": round(result.history[-1].seconds, 1),
        "training_cpu_s": round(spent_s, 1),
        "best_epoch": result.best.epoch,
        "acc2": round(acc2.value, 4),
        "acc2_floor": round(acc2.floor, 4),
        "acc2_margin": round(acc2.value - acc2.floor, 4),
        "mae": round(mae.value, 4),
        "mae_floor": round(mae.floor, 4),
    }


def as_table(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    settings, models = record["settings"], record["models"]
    how = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in settings.items() if name != "seed")
    lines = [
        f"`{record['command']}`: {how}, seed {settings['seed']}; {record['machine']}.",
        "",
        "| Model | Parameters here | Training, CPU s | Acc2 | Floor | Margin | MAE | Floor |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {one['parameters']:,} | {one['training_cpu_s']:.0f} | {one['acc2']:.3f} | {one['acc2_floor']:.3f} "
        f"| {one['acc2_margin']:+.3f} | {one['mae']:.3f} | {one['mae_floor']:.3f} |"
        for name, one in models.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
