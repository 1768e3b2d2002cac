"""How fast, how dear, how good: ours and stock Demucs on the same weights, file and machine, in turn, in one run.

Belongs here: the runs and the figures. Every run is a process of its own, so that its peak memory is its own and no
library's thread pool outlives it. Printing is the command line's.
"""

from __future__ import annotations

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stem_pipeline.errors import RequestRefused, RunFailed, StemPipelineError

CONTENDERS = ("stock", "ours")


@dataclass(frozen=True)
class BenchRequest:
    """`truth`: folder with the true main stems, or None. `seconds`: cut or repeat the song to this length, or None.

    `with_stock`: False leaves the rival out (its memory and time grow with the length).
    """

    file: Path
    truth: Path | None = None
    device: str = "cpu"
    quality: str = "standard"
    repeat: int = 1
    seconds: float | None = None
    with_stock: bool = True


def run_benchmark(request: BenchRequest, on_step: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """All figures as one JSON-safe object; `stage1_ratio` is stock seconds / our seconds, medians over `repeat`.

    Raises `RequestRefused` for a request that cannot be met, `RunFailed` when a run fails, with its own sentence.
    """
    if request.repeat < 1 or (request.seconds is not None and request.seconds <= 0):
        raise RequestRefused("option_invalid", "Repeat at least once, and give a length above zero.")
    contenders = CONTENDERS if request.with_stock else ("ours",)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for turn in range(request.repeat):
        for name in contenders:
            on_step(f"{name} ({turn + 1} of {request.repeat})")
            runs[name].append(_in_own_process(name, request))
    result: dict[str, Any] = {
        "file": request.file.name,
        "device": request.device,
        "quality": request.quality,
        "repeat": request.repeat,
        "machine": describe_machine(),
        "duration_seconds": runs["ours"][0]["duration_seconds"],
        "stock": None,
        **{name: _summary(found) for name, found in runs.items()},
        "stage1_ratio": None,
        "sdr_difference_db": None,
    }
    if request.with_stock:
        result["stage1_ratio"] = round(result["stock"]["seconds"] / result["ours"]["seconds"], 3)
        if request.truth:
            result["sdr_difference_db"] = {
                stem: round(result["ours"]["sdr_db"][stem] - result["stock"]["sdr_db"][stem], 3)
                for stem in result["ours"]["sdr_db"]
            }
    return result


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, and what bfloat16 units the processor says it has."""
    import psutil

    model, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        values = {k.strip(): v.strip() for k, v in fields.items()}
        model = f"{values.get('model name', model)} (family {values.get('cpu family')}, model {values.get('model')})"
        flags = values.get("flags", "")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "bfloat16": [f for f in ("amx_bf16", "avx512_bf16") if f in flags.split()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    median = {k: statistics.median(r[k] for r in runs) for k in ("seconds", "cpu_seconds", "load_seconds")}
    return {
        "backend": runs[0]["backend"],
        **{k: round(v, 3) for k, v in median.items()},
        "real_time_factor": round(median["seconds"] / runs[0]["duration_seconds"], 4),
        "peak_memory_mib": max(r["peak_memory_mib"] for r in runs),
        "sdr_db": runs[0]["sdr_db"],
        "residual_dbfs": runs[0]["residual_dbfs"],
    }


def _in_own_process(contender: str, request: BenchRequest) -> dict[str, Any]:
    plan = {
        "contender": contender,
        "file": str(request.file),
        "truth": str(request.truth) if request.truth else None,
        "device": request.device,
        "quality": request.quality,
        "seconds": request.seconds,
    }
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-W", "ignore", "-m", "quality.speed_contender", json.dumps(plan), str(answer)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if not answer.is_file():
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RunFailed("internal", f"The benchmark's run of {contender} failed: {last[0][:300]}")
        found = json.loads(answer.read_text())
    if "error" in found:
        raise StemPipelineError(found["error"]["code"], found["error"]["message"])
    return found


def draw_curve(results: list[dict[str, Any]], title: str) -> bytes:
    """A PNG: seconds and peak memory of the whole pipeline over the song's length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    lengths = [r["duration_seconds"] for r in results]
    left.loglog(lengths, [r["pipeline"]["seconds"]["total"] for r in results], "o-", label="pipeline", color="#2e6f95")
    left.loglog(lengths, [r["ours"]["seconds"] for r in results], "s--", label="stage 1", color="#d1495b")
    left.loglog(lengths, lengths, ":", label="real time", color="#5b6472")
    left.set(xlabel="song (seconds)", ylabel="wall time (seconds)")
    left.legend(fontsize=8)
    right.semilogx(lengths, [r["pipeline"]["peak_memory_mib"] for r in results], "o-", color="#2e6f95")
    right.set(xlabel="song (seconds)", ylabel="peak resident memory (MiB)", ylim=(0, None))
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()
