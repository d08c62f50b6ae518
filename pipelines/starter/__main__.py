"""Trains, calibrates, judges and writes `hct-dmg-starter`: `python -m pipelines.starter` (`make starter`)."""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from hctdmg.checkpoint import SHIPPED, save_checkpoint
from hctdmg.manifest import Calibration, Manifest
from hctdmg.model import HctDmg
from hctdmg.training.trainer import EpochResult
from pipelines.prepare import DEFAULT_EXTRACTORS, extractor_contract
from pipelines.starter.calibrate import calibrate, make_predictor
from pipelines.starter.card import as_table, update_card
from pipelines.starter.corpus import Corpus, load_corpus
from pipelines.starter.evaluate import (
    Figures,
    judge_clips,
    judge_incongruity,
    judge_intervals,
    judge_plain_sentences,
    judge_ratings,
)
from pipelines.starter.measure import load_measured
from pipelines.starter.mixture import scenes_of
from pipelines.starter.ratings import CITATION, SDIST, SDIST_SHA256
from pipelines.starter.train import StarterConfig, train_starter
from pipelines.starter.world import World

NAME, VERSION = "hct-dmg-starter", "1"
DESCRIPTION = (
    "Weakly supervised: words are taught from sentences rated by people (Hutto & Gilbert 2014), faces and voices from "
    "made-up sequences whose direction follows published findings. Never validated on labelled video."
)
REPO = Path(__file__).parents[2]
NUM_THREADS = 2
CALIBRATE_SEED, TEST_SEED = 101, 102
PACKAGES = ("torch", "numpy", "scikit-learn", "wordllama", "vaderSentiment", "opencv-python-headless", "av")


def main() -> None:
    """Parse the command line and run."""
    arguments = _parse()
    console = Console(log_time_format="%H:%M:%S")
    torch.set_num_threads(arguments.threads)
    begun_s = time.perf_counter()
    config = StarterConfig(seed=arguments.seed)
    console.log("reading and composing sentences")
    corpus = load_corpus(arguments.cache, config.num_composed, config.seed)
    console.log(f"{sum(map(len, corpus.rated.values()))} rated sentences")
    model = train_starter(config, corpus, lambda stage, result: _report(console, stage, result))
    trained_s = time.perf_counter() - begun_s
    console.log("calibrating")
    calibration = calibrate_on(model, corpus)
    console.log("judging on the test split")
    figures = judge(model, calibration, corpus, arguments.media)
    record = _record(config, figures, trained_s, time.perf_counter() - begun_s)
    save_checkpoint(arguments.out, model, _manifest(model, calibration, record))
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record | {"calibration": asdict(calibration)}, indent=1, ensure_ascii=False)
    arguments.results.write_text(text + "\n")
    update_card(arguments.card, record["figures"])
    console.print(as_table(figures, NAME))
    console.log(f"{record['seconds']} s in all; written: {arguments.out}, {arguments.results}")


def calibrate_on(model: HctDmg, corpus: Corpus) -> Calibration:
    """Calibrate on scenes around the calibration split's sentences."""
    passages = corpus.rated["calibrate"]
    return calibrate(model, list(scenes_of(World(), passages, len(passages) // 4, CALIBRATE_SEED)))


def judge(model: HctDmg, calibration: Calibration, corpus: Corpus, media: Path) -> Figures:
    """Every figure, from the test split, the plain sentences and the checking clips."""
    predictor, passages = make_predictor(model, calibration), corpus.rated["test"]
    figures: Figures = {
        "ratings": judge_ratings(predictor, passages),
        "plain_sentences": judge_plain_sentences(predictor),
        "intervals": judge_intervals(predictor, passages, TEST_SEED),
        "incongruity": judge_incongruity(predictor, corpus.unseen, passages, TEST_SEED),
        "gate_weights": predictor.gate_weights,
        "parameters": model.num_parameters,
    }
    faces, stretches = media / "media" / "faces", REPO / "tests" / "pipelines" / "smile_stretches.json"
    if faces.is_dir() and stretches.is_file():
        figures["clips"] = judge_clips(predictor, faces, stretches)
    return figures


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipelines.starter", description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME, help="folder of the checkpoint")
    parser.add_argument("--results", type=Path, default=REPO / "docs" / "results" / "starter.json")
    parser.add_argument(
        "--card", type=Path, default=REPO / "docs" / "model-card.md", help="to put figures in"
    )
    parser.add_argument("--cache", type=Path, default=REPO / ".cache" / "ratings", help="downloaded ratings")
    media = Path(os.environ.get("HCTDMG_TEST_MEDIA", REPO.parent / "shared"))
    parser.add_argument("--media", type=Path, default=media, help="folder that holds media/, for the clips")
    parser.add_argument("--seed", type=int, default=StarterConfig.seed)
    parser.add_argument("--threads", type=int, default=NUM_THREADS, help="of torch")
    return parser.parse_args()


def _report(console: Console, stage: str, result: EpochResult) -> None:
    console.log(
        f"{stage:6} epoch {result.epoch}: loss {result.loss:.3f}, "
        f"selection {result.score:.3f}, {result.seconds:.0f} s"
    )


def _record(config: StarterConfig, figures: Figures, trained_s: float, seconds: float) -> Figures:
    measured = load_measured()
    return {
        "supervision": "weak: no video was ever labelled for it",
        "command": "python -m pipelines.starter",
        "config": asdict(config),
        "ratings": {"file": SDIST, "sha256": SDIST_SHA256, "citation": CITATION},
        "generator": {"measured_on": list(measured.measured_on), "extractors": measured.extractors},
        "splits": "by document: train, select, calibrate, test; every figure is from test",
        "seeds": {"train": config.seed, "calibrate": CALIBRATE_SEED, "test": TEST_SEED},
        "training_seconds": round(trained_s),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "figures": _rounded(figures),
    }


def _rounded(value: object) -> object:
    """JSON values with four decimals: more would claim too much."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _manifest(model: HctDmg, calibration: Calibration, record: Figures) -> Manifest:
    return Manifest(
        name=NAME,
        version=VERSION,
        description=DESCRIPTION,
        model=model.config,
        features=extractor_contract(DEFAULT_EXTRACTORS),
        calibration=calibration,
        training=record,
        weights_sha256="",
    )


if __name__ == "__main__":
    main()
