"""`stem-pipeline separate`: songs through the job in this process, into folders of the caller's.

Belongs here: the order of things and what is reported. Dagster, and what it brings, is imported when a song runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from api import console
from api.result_folders import check_replaceable, place, printable, unused_name
from resources.settings import read_settings
from stem_pipeline.errors import CODES, Cancelled, StemPipelineError
from stem_pipeline.manifest import FILE_NAME
from stem_pipeline.stems import ALL_STEMS

if TYPE_CHECKING:
    from assets.run_song import SongRun, SongRunner
    from assets.surroundings import Surroundings


def separate(files: list[Path], out: Path, request: dict[str, Any], as_json: bool) -> int:
    """Separates each file; gives the exit status: 0 only if every song passed.

    `request`: fields of `assets.request.SongRequest`. A song that fails does not stop the others; Ctrl-C stops all.
    """
    started = time.monotonic()
    songs: list[dict[str, Any]] = []
    status = 0
    taken: set[str] = set()
    results = sys.stdout
    # Whatever a library prints while songs run goes to standard error: standard output carries results only.
    with contextlib.redirect_stdout(sys.stderr), _terminable():
        runner: SongRunner | None = None
        for file in files:
            with console.progress_bars(quiet=as_json) as on_progress:
                try:
                    if runner is None:
                        runner, around = _open_runner()
                    around.on_progress = around.models.on_progress = on_progress
                    report = _one_song(runner, around, file, out / unused_name(file.stem, taken), request)
                except StemPipelineError as refusal:
                    report = {"file": printable(file), "ok": False, "error": refusal.as_dict()}
                except KeyboardInterrupt:
                    report = {"file": printable(file), "ok": False, "error": Cancelled().as_dict()}
                except Exception as error:
                    # The last line before a person: whatever else broke is told by a code; its trace goes to the log.
                    logging.getLogger(__name__).debug("unexpected failure", exc_info=error)
                    failed = StemPipelineError("internal", f"Something unexpected failed ({type(error).__name__}).")
                    report = {"file": printable(file), "ok": False, "error": failed.as_dict()}
            songs.append(report)
            if not report["ok"]:
                status = status or CODES[report["error"]["code"]].exit_status
            if not as_json:
                _print_song(report, results)
            if not report["ok"] and report["error"]["code"] == "cancelled":
                break
    if as_json:
        document = {"ok": status == 0, "songs": songs, "seconds": time.monotonic() - started}
        results.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    return status


def _open_runner() -> tuple[SongRunner, Surroundings]:
    # Dagster warns that partitioned asset checks are in preview; the exact version is pinned.
    warnings.filterwarnings("ignore", module="dagster")
    warnings.filterwarnings("ignore", message=".*currently in preview.*")
    from assets.run_song import SongRunner
    from assets.surroundings import surroundings_from
    from resources.dagster_instance import close_abandoned_runs, open_instance

    settings = read_settings()
    around = surroundings_from(settings)
    around.models.notify = lambda sentence: console.errors.print(sentence, highlight=False, markup=False)
    sweep = getattr(around.storage, "sweep_scratch", None)
    if sweep:
        sweep()
    instance = open_instance(settings.dagster_home)
    close_abandoned_runs(instance)
    return SongRunner(instance, around), around


def _one_song(
    runner: SongRunner, around: Surroundings, file: Path, target: Path, request: dict[str, Any]
) -> dict[str, Any]:
    check_replaceable(target)
    run = runner.run(file, {**request, "title": printable(Path(file.stem))})
    with contextlib.ExitStack() as stack:
        names = [FILE_NAME, *(s.file for s in run.manifest.stems.values())]
        place({n: stack.enter_context(around.storage.local_copy(f"{run.folder}/{n}")) for n in names}, target)
    return _report(file, target, run)


def _report(file: Path, target: Path, run: SongRun) -> dict[str, Any]:
    manifest = run.manifest
    stems = sorted(manifest.stems.items(), key=lambda item: ALL_STEMS.index(item[0]))
    measured = {c.name: c.measured for c in manifest.checks}
    residual = {
        level: measured.get(f"delivered_{level}_sum", measured.get(f"{level}_sum"))
        if manifest.format["lossless"]
        else measured.get(f"{level}_sum")
        for level in ("main", "drums")
        if f"{level}_sum" in measured
    }
    return {
        "file": printable(file),
        "ok": manifest.verdict == "passed",
        "verdict": manifest.verdict,
        "folder": printable(target),
        "manifest": printable(target / FILE_NAME),
        "song_id": manifest.song["id"],
        "run_id": run.run_id,
        "tempo": manifest.analysis["tempo"],
        "key": manifest.analysis["key"],
        "loudness_lufs": manifest.analysis["levels"]["integrated_lufs"],
        "duration_seconds": manifest.source["duration_seconds"],
        "gain": manifest.gain,
        "residual_dbfs": residual,
        "stems": {name: {**asdict(s), "path": printable(target / s.file)} for name, s in stems},
        "checks": [asdict(c) for c in manifest.checks],
        "models": [asdict(m) for m in manifest.models],
        "licences": [f"{m.name}: {m.licence}" for m in manifest.models if m.research_only],
        "seconds": run.seconds,
        "reused": list(run.reused),
    }


def _print_song(report: dict[str, Any], results: TextIO) -> None:
    if "error" in report:
        sentence = f"{report['file']}: {report['error']['code']}: {report['error']['message']}"
        console.errors.print(sentence, markup=False, highlight=False, soft_wrap=True)
        return
    out = console.output(results)
    out.print(console.song_table(Path(report["file"]).name, report))
    for line in console.song_summary(report):
        out.print(line, markup=False, highlight=False)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the work the way Ctrl-C does: through every `finally`, so that nothing half written stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
