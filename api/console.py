"""What a person sees on the terminal: progress bars, tables, refusals. Results go to standard output, the rest to standard error.

Belongs here: rich. Does not belong here: work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stem_pipeline.progress import OnProgress
from stem_pipeline.progress import Progress as Event

errors = Console(stderr=True)

_STAGES = {
    "weights": "fetching weights (MB)",
    "decode": "decoding (s)",
    "analysis": "tempo, key, loudness (s)",
    "main": "main stems (segments)",
    "drums": "drum parts (segments)",
    "encode": "encoding (blocks)",
}


def output(stream: TextIO | None = None) -> Console:
    """A console on `stream` (standard output by default); wide enough for paths when it is no terminal."""
    stream = stream or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 140)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[OnProgress]:
    """One bar a stage on standard error; silent when `quiet` or when nobody looks."""
    if quiet or not errors.is_terminal:
        yield lambda event: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=errors, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: Event) -> None:
            scale = 1e6 if event.stage == "weights" else 1
            label = _STAGES.get(event.stage, event.stage)
            if event.stage not in tasks or event.done == 0:
                if event.stage in tasks:
                    bars.remove_task(tasks[event.stage])
                tasks[event.stage] = bars.add_task(label, total=event.total / scale or None, left="")
            left = "" if event.seconds_left is None else f"{event.seconds_left:.0f} s left"
            bars.update(
                tasks[event.stage], completed=round(event.done / scale), total=round(event.total / scale), left=left
            )

        yield show


def song_table(title: str, song: Mapping[str, Any]) -> Table:
    """The stems of one result: what each is, how loud, where."""
    table = Table(title=Text(title), title_justify="left", caption_justify="left")
    for column, justify in (("stem", "left"), ("length", "right"), ("peak dBFS", "right"), ("LUFS", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("path", overflow="fold")
    for name, stem in song["stems"].items():
        table.add_row(
            name,
            f"{stem['samples'] / stem['sample_rate']:.3f} s",
            _level(stem["peak_dbfs"]),
            _level(stem["integrated_lufs"]),
            Text(stem["path"]),
        )
    return table


def song_summary(song: Mapping[str, Any]) -> list[str]:
    """Tempo, key, residuals, time by stage, verdict: a line each."""
    tempo, key = song["tempo"], song["key"]
    residual = song["residual_dbfs"]
    seconds = song["seconds"]
    lines = [
        f"tempo     {_tempo(tempo)}",
        f"key       {_key(key)}",
        "residual  "
        + ", ".join(
            f"Σ {level} − {parent}: {_residual(residual.get(level))}"
            for level, parent in (("main", "source"), ("drums", "drums"))
            if level in residual
        ),
        "seconds   " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items()),
    ]
    if song["reused"]:
        lines.append(f"served    from what existed: {', '.join(song['reused'])}")
    if song["gain"] != 1.0:
        lines.append(f"gain      {song['gain']:.6f} on every stem, so that none clips")
    lines += [f"licence   {line}" for line in song["licences"]]
    lines.append(f"verdict   {song['verdict']}")
    return lines


def _tempo(tempo: Mapping[str, Any]) -> str:
    if tempo["bpm"] is None:
        return "unknown"
    others = ", ".join(f"{a['bpm']:.1f}" for a in tempo["alternatives"])
    return f"{tempo['bpm']:.1f} BPM (confidence {tempo['confidence']:.2f}" + (f"; or {others})" if others else ")")


def _key(key: Mapping[str, Any]) -> str:
    if key["name"] is None:
        return "unknown"
    runner_up = key.get("runner_up")
    return f"{key['name']} (confidence {key['confidence']:.2f}" + (f"; or {runner_up['name']})" if runner_up else ")")


def _level(value: float | None) -> str:
    return "silent" if value is None else f"{value:.1f}"


def _residual(value: float | None) -> str:
    return "exact, to the last bit" if value is None else f"{value:.1f} dBFS"
