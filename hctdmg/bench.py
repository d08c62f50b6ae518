"""How fast the model is on this machine: items a second by device, precision, way of running, batch and length.

    python -m hctdmg.bench                                     # 32 x 50 steps, beside MulT
    python -m hctdmg.bench --device cuda --precision fp32 bf16 --execution eager compile graphs --batch 32 256
    python -m hctdmg.bench --profile                           # which operations the time goes into
    python -m hctdmg.bench --mixed                             # lengths as they come: padded whole, or in runs

All contenders are given the same inputs in turn (A B C A B C ...), so that a busy machine slows all alike: compare
within one run. Seconds are of the thread on a CPU (others' work does not count), of the clock on a GPU. Needs torch,
numpy and safetensors alone. Random weights: speed does not depend on them.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from hctdmg.baselines.mult import MulT, MulTConfig, Padding
from hctdmg.baselines.peer import PeerOutput
from hctdmg.batch import Batch
from hctdmg.config import ModalityConfig, ModelConfig
from hctdmg.mixed import measure_mixed
from hctdmg.model import HctDmg
from hctdmg.runner import Execution, Precision, Runner, keep_memory

INPUTS = (("text", 300), ("audio", 74), ("vision", 35))
"""MulT's features of CMU-MOSEI; what both papers state their sizes for."""
KERNEL_SIZE = 3
"""Of HCT-DMG's convolutions over audio and vision; text has 1, which makes 0.85 M parameters. MulT's are all 1."""
SMALL_SHARE = 0.02
"""Operations below it are not told apart in a profile."""
HCT_DMG = "HCT-DMG"
MULT = "MulT, our kernels and masks"
MULT_AS_WRITTEN = "MulT, as its reference is written"

Run = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """Samples in a batch, and steps of each modality of each."""

    batch: int
    steps: int


@dataclass(frozen=True)
class Timing:
    """One contender at one shape.

    Attributes:
        name: Who.
        precision: Of its transformers.
        execution: How it was run.
        seconds: Of each round.
        items_per_s: Of the median round.
        spread: From the 10th to the 90th percentile, as a share of the median.
    """

    name: str
    precision: Precision
    execution: Execution
    batch: int
    steps: int
    seconds: list[float]
    items_per_s: float
    spread: float


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    for name in ("batch", "steps", "rounds", "threads"):
        values = getattr(options, name)
        if wrong := [one for one in (values if isinstance(values, list) else [values]) if one < 1]:
            return _refuse(f"--{name} is {wrong[0]}, at least 1 is needed")
    if options.device == "cuda" and not torch.cuda.is_available():
        return _refuse("no CUDA device: take --device cpu")
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
        keep_memory()
        if "graphs" in options.execution:
            return _refuse("CUDA graphs need --device cuda")
    record: dict[str, object] = {
        "command": " ".join(["python -m hctdmg.bench", *(arguments or sys.argv[1:])])
    }
    record["machine"] = _machine(options.device, options.threads)
    if options.profile:
        record["profile"] = profile(options.device, Shape(options.batch[0], options.steps[0]), options.rounds)
    elif options.mixed:
        record["mixed"] = [asdict(one) for one in measure_mixed(_model, options.device, options.rounds)]
    else:
        timings = _measure(options)
        record["timings"] = [asdict(one) for one in timings]
        record["ratios"] = ratios(timings)
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"error: {why}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hctdmg.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--execution", nargs="+", choices=("eager", "compile", "graphs"), default=["eager"])
    parser.add_argument("--batch", nargs="+", type=int, default=[32])
    parser.add_argument("--steps", nargs="+", type=int, default=[50])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--profile", action="store_true", help="HCT-DMG's operations at the first shape")
    parser.add_argument("--mixed", action="store_true", help="mixed lengths instead of --batch and --steps")
    return parser


def _measure(options: argparse.Namespace) -> list[Timing]:
    timings = []
    for batch in options.batch:
        for steps in options.steps:
            shape = Shape(batch, steps)
            contenders = _contenders(options, shape)
            seconds = interleaved([run for *_, run in contenders], options.rounds, options.device)
            timings += [
                _timing(name, precision, execution, shape, spent)
                for (name, precision, execution, _), spent in zip(contenders, seconds, strict=True)
            ]
    return timings


def _contenders(options: argparse.Namespace, shape: Shape) -> list[tuple[str, Precision, Execution, Run]]:
    """The model in every way that is asked for, and MulT in both of its ways, in float32 and eagerly."""
    batch = random_batch(shape)
    found: list[tuple[str, Precision, Execution, Run]] = []
    for precision in options.precision:
        for execution in options.execution:
            runner = Runner(_model(), options.device, precision, execution)
            runner.warm_up(shape.batch)
            found.append((HCT_DMG, precision, execution, _run_by(runner, batch)))
    paddings: tuple[tuple[str, Padding], ...] = ((MULT, "masked"), (MULT_AS_WRITTEN, "paper"))
    for name, padding in paddings:
        found.append((name, "fp32", "eager", _run_mult(padding, batch, options.device)))
    return found


def _run_by(runner: Runner, batch: Batch) -> Run:
    return lambda: runner.run([batch])


def _run_mult(padding: Padding, batch: Batch, device: str) -> Run:
    """MulT, with the same copies to the device and back."""
    torch.manual_seed(0)
    modalities = tuple(ModalityConfig(name, width, 1) for name, width in INPUTS)
    mult = MulT(MulTConfig(modalities, num_outputs=2, padding=padding)).to(device).eval()

    @torch.inference_mode()
    def run() -> object:
        output: PeerOutput = mult(batch.pinned().to(device) if device == "cuda" else batch)
        return output.prediction_BK.cpu()

    return run


def _model() -> HctDmg:
    torch.manual_seed(0)
    modalities = tuple(
        ModalityConfig(name, width, 1 if name == "text" else KERNEL_SIZE) for name, width in INPUTS
    )
    return HctDmg(ModelConfig(modalities))


def random_batch(shape: Shape) -> Batch:
    """Every modality in every sample, without padding."""
    torch.manual_seed(1)
    return Batch(
        {name: torch.randn(shape.batch, shape.steps, width) for name, width in INPUTS},
        {name: torch.ones(shape.batch, shape.steps, dtype=torch.bool) for name, _ in INPUTS},
    )


def interleaved(runs: Sequence[Run], num_rounds: int, device: str) -> list[list[float]]:
    """Seconds of each run in each round, the runs in turn; two rounds before the first are not counted."""
    clock = time.perf_counter if device == "cuda" or torch.get_num_threads() > 1 else time.thread_time
    seconds: list[list[float]] = [[] for _ in runs]
    for number in range(-2, num_rounds):
        for spent, run in zip(seconds, runs, strict=True):
            begun_s = clock()
            run()  # brings its answer to the CPU, so nothing is left to wait for
            took_s = clock() - begun_s
            if number >= 0:
                spent.append(took_s)
    return seconds


def profile(device: str, shape: Shape, num_rounds: int) -> dict[str, float]:
    """Share of HCT-DMG's time that each operation takes by itself, largest first; small ones together."""
    runner, batch = Runner(_model(), device), random_batch(shape)
    runner.warm_up(shape.batch)
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA if device == "cuda" else activity.CPU]) as profiler:
        for _ in range(num_rounds):
            runner.run([batch])
    spent = {
        one.key: one.self_device_time_total if device == "cuda" else one.self_cpu_time_total
        for one in profiler.key_averages()
    }
    whole = sum(spent.values())
    shares = {name: time_us / whole for name, time_us in sorted(spent.items(), key=lambda one: -one[1])}
    large = {name: round(share, 4) for name, share in shares.items() if share >= SMALL_SHARE}
    return {**large, "others": round(1 - sum(large.values()), 4)}


def _timing(
    name: str, precision: Precision, execution: Execution, shape: Shape, spent: list[float]
) -> Timing:
    median_s = statistics.median(spent)
    low_s, *_, high_s = statistics.quantiles(spent, n=10) if len(spent) > 1 else spent * 2
    rounded = [round(one, 6) for one in spent]
    items_per_s = round(shape.batch / median_s, 1)
    spread = round((high_s - low_s) / median_s, 3)
    return Timing(name, precision, execution, shape.batch, shape.steps, rounded, items_per_s, spread)


def ratios(timings: Sequence[Timing]) -> list[dict[str, object]]:
    """How many times the items of each MulT HCT-DMG does, at each shape: the median over rounds, and its quartiles."""
    found: list[dict[str, object]] = []
    for ours in timings:
        for theirs in timings:
            same_shape = (ours.batch, ours.steps) == (theirs.batch, theirs.steps)
            if ours.name == HCT_DMG != theirs.name and same_shape:
                by_round = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
                low, median, high = statistics.quantiles(by_round, n=4) if len(by_round) > 1 else by_round * 3
                found.append(
                    {
                        "ours": f"{ours.name}, {ours.precision}, {ours.execution}",
                        "theirs": theirs.name,
                        "batch": ours.batch,
                        "steps": ours.steps,
                        "ratio": round(median, 3),
                        "quartiles": [round(low, 3), round(high, 3)],
                    }
                )
    return found


def _machine(device: str, num_threads: int) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, {num_threads} threads, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
