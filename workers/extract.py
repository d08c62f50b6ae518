"""The command `hctdmg extract`: labelled videos into features that `hctdmg train` reads.

Knows the order of the steps and what is told of them. Does not know how rows are read, cut or extracted.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hctdmg.contract import Alignment, FeatureContract
from hctdmg.data.dataset import SPLITS
from hctdmg.data.own import Example, FeatureSet, forget_features, save_features
from pipelines.errors import ConfigError, SegmentError
from pipelines.extraction import ExtractionPlan, Outcome, versions
from pipelines.labelled import BadRow, Labelled, Video, read_labelled
from pipelines.labels import LEAST, MOST
from pipelines.videos import identified, read_video
from workers.config import Settings
from workers.counting import counting
from workers.extract_pool import extract_here
from workers.folders import make_folder
from workers.output import EXIT_USER, note, print_json, working

REPORT = "report.json"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        manifest: The CSV file.
        out: Where features go.
        alignment: Of the features.
        seed: Of the split, where the manifest has none.
        num_processes: At a time; None is one for each core.
        address: Of a Ray cluster; None is this machine, without Ray.
        as_json: A line for each row instead of tables.
    """

    manifest: Path
    out: Path
    alignment: Alignment
    seed: int
    num_processes: int | None
    address: str | None
    as_json: bool


def extract(request: Request) -> int:
    """Run the command.

    Returns:
        The exit status: 2 when rows were left out.

    Raises:
        ConfigError: The manifest can't be used, no row could be extracted, or there is no room for features.
    """
    begun_s = time.monotonic()
    settings = Settings()
    manifest = read_labelled(request.manifest)
    make_folder(request.out)
    manifest = identified(manifest, _videos(request, manifest), request.seed)
    plan = ExtractionPlan(
        request.out.resolve(), request.alignment, settings.media, settings.flow.segment_deadline_s
    )
    contract = plan.contract  # here, so that what can't be loaded is one error, not one of each process
    forget_features(request.out)
    for warning in manifest.warnings:
        note(f"warning: {warning}")
    for row in manifest.bad:
        _tell(request, row.line, row.path, "skipped", row.reason)
    outcomes = _outcomes(request, manifest, plan)
    features = _feature_set(request, manifest, contract, outcomes)
    skipped = _skipped(manifest, outcomes)
    report = _report(request, manifest, outcomes, features, skipped, time.monotonic() - begun_s)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (request.out / REPORT).write_text(text + "\n", encoding="utf-8")
    if not features.examples:
        raise ConfigError(f"none of the {len(skipped)} rows could be extracted: see {request.out / REPORT}")
    save_features(request.out, features)
    if request.as_json:
        print_json({"status": "done", "out": str(request.out), **report})
    else:
        _show(request, manifest, features, report)
    return EXIT_USER if skipped else 0


def _videos(request: Request, manifest: Labelled) -> dict[Path, Video | SegmentError]:
    """What is at each path; read here and not beside the extraction, which has little time for each row."""
    paths = list(dict.fromkeys(row.path for row in manifest.rows))
    videos = dict[Path, Video | SegmentError]()
    with (
        counting("reading videos", len(paths)) as count,
        ThreadPoolExecutor(request.num_processes or len(os.sched_getaffinity(0))) as threads,
    ):
        for path, found in zip(paths, threads.map(_video, paths), strict=True):
            videos[path] = found
            count()
    return videos


def _video(path: Path) -> Video | SegmentError:
    try:
        return read_video(path)
    except SegmentError as error:
        return error


def _outcomes(request: Request, manifest: Labelled, plan: ExtractionPlan) -> dict[int, Outcome]:
    """Each row's, by its line."""
    rows = {row.line: row for row in manifest.rows}
    outcomes = {}
    with counting("extracting rows", len(rows)) as count:
        for outcome in _extracted(request, manifest, plan):
            outcomes[outcome.line] = outcome
            row = rows[outcome.line]
            status = "skipped" if outcome.stored is None else "reused" if outcome.is_reused else "extracted"
            _tell(request, row.line, row.id, status, outcome.reason)
            count()
    return outcomes


def _extracted(request: Request, manifest: Labelled, plan: ExtractionPlan) -> Iterator[Outcome]:
    if request.address is None or not manifest.rows:
        num_processes = request.num_processes or len(os.sched_getaffinity(0))
        return extract_here(manifest.rows, plan, num_processes)
    with working("connecting"):
        from workers.extract_cluster import extract_on_cluster  # late: Ray takes a second

    return extract_on_cluster(manifest.rows, plan, request.num_processes, request.address)


def _tell(request: Request, line: int, name: str, status: str, reason: str | None) -> None:
    if request.as_json:
        print_json({"line": line, "id": name, "status": status, "reason": reason})
    if reason is not None:
        note(f"warning: line {line} ({name}) is left out: {reason}")


def _feature_set(
    request: Request, manifest: Labelled, contract: FeatureContract, outcomes: Mapping[int, Outcome]
) -> FeatureSet:
    examples = tuple(
        Example(row.id, row.split, row.labels, stored)
        for row in manifest.rows
        if (stored := outcomes[row.line].stored) is not None
    )
    origin = {
        "manifest": request.manifest.name,
        "manifest_sha256": manifest.sha256,
        "split_seed": request.seed if manifest.is_split_here else None,
        "versions": versions(),
    }
    return FeatureSet(
        contract,
        manifest.task,
        manifest.label_names,
        (LEAST, MOST),
        examples,
        origin,
        manifest.warnings,
    )


def _skipped(manifest: Labelled, outcomes: Mapping[int, Outcome]) -> list[BadRow]:
    unusable = [
        BadRow(row.line, row.id, outcomes[row.line].reason or "")
        for row in manifest.rows
        if outcomes[row.line].stored is None
    ]
    return sorted([*manifest.bad, *unusable], key=lambda row: row.line)


def _report(
    request: Request,
    manifest: Labelled,
    outcomes: Mapping[int, Outcome],
    features: FeatureSet,
    skipped: list[BadRow],
    seconds: float,
) -> dict[str, Any]:
    num_reused = sum(outcome.is_reused for outcome in outcomes.values())
    splits: Counter[str] = Counter(example.split for example in features.examples)
    return {
        "manifest": str(request.manifest),
        "manifest_sha256": manifest.sha256,
        "num_rows": len(manifest.rows) + len(manifest.bad),
        "num_extracted": len(features.examples) - num_reused,
        "num_reused": num_reused,
        "num_skipped": len(skipped),
        "splits": {split: splits[split] for split in SPLITS},
        "task": features.task,
        "label_names": list(features.label_names),
        "warnings": list(features.warnings),
        "skipped": [asdict(row) for row in skipped],
        "seconds": round(seconds, 1),
    }


def _show(request: Request, manifest: Labelled, features: FeatureSet, report: Mapping[str, Any]) -> None:
    table = Table("split", "samples", *features.contract.modalities, box=None)
    for split in SPLITS:
        stored = [example.stored for example in features.examples if example.split == split]
        present = [sum(one.num_steps[name] > 0 for one in stored) for name in features.contract.modalities]
        table.add_row(split, str(len(stored)), *map(str, present))
    console = Console()
    console.print(f"{request.out}: {features.task}, samples and how many of them have each modality")
    console.print(table)
    if manifest.is_split_here:
        console.print(f"split here by video, seed {request.seed}: the manifest has no column 'split'")
    counts = ("extracted", "reused", "skipped")
    console.print(
        ", ".join(f"{report[f'num_{name}']} {name}" for name in counts) + f" ({request.out / REPORT})"
    )
