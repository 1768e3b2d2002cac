"""`stem-pipeline bench`: the race against stock Demucs, and the whole pipeline stage by stage.

Belongs here: running the pipeline as a user would (the command line, in a fresh home), and printing. The race is
`quality.speed_benchmark`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from api import console
from stem_pipeline.errors import AudioRefused, RunFailed, StemPipelineError

STAGES = {
    "source": "decode",
    "analysis": "analysis",
    "main_stems": "stage 1",
    "drum_stems": "stage 2",
    "delivery": "encode and prove",
    "dagster": "Dagster's own",
    "total": "total",
}


def bench(
    file: Path,
    truth: Path | None,
    device: str,
    quality: str,
    repeat: int,
    lengths: list[float],
    stock: bool,
    pipeline: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Prints the figures (one JSON object, or tables). Raises the coded refusal of whatever failed."""
    from quality.speed_benchmark import BenchRequest, draw_curve, run_benchmark

    if not file.is_file():
        raise AudioRefused("audio_not_found", f"There is no file called {file.name!r}.")
    results = []
    wanted: list[float | None] = [*lengths] or [None]
    for seconds in wanted:
        request = BenchRequest(file, truth, device, quality, repeat, seconds, stock)
        result = run_benchmark(request, lambda name: console.errors.print(f"running {name} …", highlight=False))
        result["pipeline"] = _time_pipeline(file, seconds, device, quality) if pipeline else None
        results.append(result)
        if not as_json:
            _print(result)
    if plot:
        machine = results[0]["machine"]
        plot.write_bytes(
            draw_curve(results, f"{machine['processor']}, {machine['cores']} cores, {results[0]['ours']['backend']}")
        )
    if as_json:
        document = results[0] if len(results) == 1 else {"results": results}
        sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def _time_pipeline(file: Path, seconds: float | None, device: str, quality: str) -> dict[str, Any]:
    """The song through `stem-pipeline separate` in a process and a home of its own: seconds by stage, peak memory."""
    from quality.speed_contender import write_song

    console.errors.print("running the whole pipeline …", highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        song = file
        if seconds is not None:
            song = Path(folder) / "song.wav"
            write_song(file, song, seconds)
        environment = {**os.environ, "STEM_PIPELINE_HOME": f"{folder}/home", "STEM_PIPELINE_DEVICE": device}
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "api.cli",
            "separate",
            str(song),
            "-o",
            f"{folder}/out",
            "--json",
        ]
        command += ["--quality", quality]
        started = time.perf_counter()
        with open(f"{folder}/answer", "w+b") as answer, open(os.devnull, "wb") as nowhere:
            process = subprocess.Popen(command, env=environment, stdout=answer, stderr=nowhere)
            _, _, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            answer.seek(0)
            raw = answer.read()
        try:
            report = json.loads(raw)["songs"][0]
        except (ValueError, LookupError) as error:
            raise RunFailed("internal", "The pipeline's run gave no report.") from error
    if not report["ok"]:
        raise StemPipelineError(report["error"]["code"], report["error"]["message"])
    spent = {STAGES[name]: round(value, 3) for name, value in report["seconds"].items()}
    beside = spent["total"] - spent["stage 1"] - spent.get("stage 2", 0.0)
    return {
        "seconds": spent,
        "process_seconds": round(wall, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "real_time_factor": round(spent["total"] / report["duration_seconds"], 4),
        "beside_separation": round(beside / spent["total"], 4),
        "peak_memory_mib": round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20, 1),
        "residual_dbfs": report["residual_dbfs"],
    }


def _print(result: dict[str, Any]) -> None:
    out = console.output()
    machine = result["machine"]
    title = f"{result['file']}, {result['duration_seconds']:.1f} s, on {machine['processor']}, {machine['cores']} cores"
    table = Table(title=title, title_justify="left")
    for column in (
        "stage 1",
        "backend",
        "seconds",
        "× real time",
        "CPU s",
        "load s",
        "peak MiB",
        "Σ − song dBFS",
        "SDR dB",
    ):
        table.add_column(column, overflow="fold")
    for name in ("stock", "ours"):
        run = result[name]
        if run:
            scores = ", ".join(f"{stem} {value:.2f}" for stem, value in run["sdr_db"].items())
            table.add_row(
                name,
                run["backend"],
                f"{run['seconds']:.2f}",
                f"{run['real_time_factor']:.3f}",
                f"{run['cpu_seconds']:.1f}",
                f"{run['load_seconds']:.1f}",
                f"{run['peak_memory_mib']:.0f}",
                f"{run['residual_dbfs']:.1f}",
                scores or "–",
            )
    out.print(table)
    if result["stage1_ratio"]:
        out.print(f"ours is {result['stage1_ratio']:.2f} times as fast", highlight=False)
    if result["pipeline"]:
        spent = ", ".join(f"{stage} {value:.2f}" for stage, value in result["pipeline"]["seconds"].items())
        out.print(f"pipeline  {spent} (seconds); peak {result['pipeline']['peak_memory_mib']:.0f} MiB", highlight=False)
