"""The model's speed on this machine, on the results page: `python -m hctdmg.bench` in three ways.

    taskset -c 1 python -m tests.bench.model_speed      # writes docs/results/model_speed.json and docs/results.md
    python -m tests.bench.model_speed --check           # says whether the page is what the committed results say

Knows the page. Does not know how anything is measured.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent.parent
PAGE = REPO / "docs" / "results.md"
RESULTS = REPO / "docs" / "results" / "model_speed.json"
BEGIN, END = (
    "<!-- model speed: written by python -m tests.bench.model_speed -->",
    "<!-- end of model speed -->",
)
RUNS = {
    "one shape": ("--rounds", "60", "--precision", "fp32", "bf16"),
    "mixed": ("--mixed", "--rounds", "20"),
    "profile": ("--profile", "--rounds", "20"),
}


def main() -> int:
    """Measure and write, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="measure and write nothing; 1 if the page differs"
    )
    if parser.parse_args().check:
        return int(_page(json.loads(RESULTS.read_text())) != PAGE.read_text())
    results = {name: _measure(options) for name, options in RUNS.items()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(_page(results))
    return 0


def _measure(options: tuple[str, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "hctdmg.bench", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def _page(results: dict[str, Any]) -> str:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{_tables(results)}{END}{rest.partition(END)[2]}"


def _tables(results: dict[str, Any]) -> str:
    shape, mixed = results["one shape"], results["mixed"]
    lines = [
        f"`{shape['command']}`: {shape['machine']}.",
        "",
        "| 32 samples of 50 steps of each modality | Items/s | Spread | HCT-DMG in float32 is |",
        "|---|---:|---:|---:|",
    ]
    for one in shape["timings"]:
        ratio = next(
            (
                f"{found['ratio']:.2f} times ({found['quartiles'][0]:.2f} to {found['quartiles'][1]:.2f})"
                for found in shape["ratios"]
                if found["theirs"] == one["name"] and ", fp32," in found["ours"]
            ),
            "",
        )
        lines.append(
            f"| {one['name']}, {one['precision']}, {one['execution']} | {one['items_per_s']:.0f} "
            f"| {100 * one['spread']:.0f} % | {ratio} |"
        )
    lines += [
        "",
        f"`{mixed['command']}`, on the same machine:",
        "",
        "| Lengths of 32 samples that wait | Batched | Padding | Runs a batch | Items/s |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {one['lengths']} | {one['way']} | {100 * one['padding']:.1f} % | {one['runs_per_batch']:.1f} "
        f"| {one['items_per_s']:.0f} |"
        for one in mixed["mixed"]
    ]
    profile = results["profile"]["profile"]
    lines += [
        "",
        f"Where HCT-DMG's time goes (`{results['profile']['command']}`, shares of the time of all operations):",
        "",
    ]
    lines.append(", ".join(f"`{name}` {100 * share:.0f} %" for name, share in profile.items()) + ".")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
