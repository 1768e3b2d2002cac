"""The contract on what was encoded: every file is decoded again and held against what it was made from.

Belongs here: the same proof for a run (which has the masters) and for a result folder (which has not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quality.checks import check_equal, check_lag, check_lengths, check_sum
from quality.exactness import measure_sum
from stem_pipeline.audio import OutputFormat, iterate_stem, open_source
from stem_pipeline.manifest import CheckRecord
from stem_pipeline.separation.segment_model import Audio
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS

Blocks = Callable[[], Iterable[Audio]]
"""Starts a signal over: float32 [channels, n] blocks."""


def check_deliverables(
    source: Blocks,
    masters: Mapping[str, Blocks],
    files: Mapping[str, Path],
    fmt: OutputFormat,
    sample_rate: int,
    channels: int,
    samples: int,
    gain: float,
) -> list[CheckRecord]:
    """Decodes `files` and checks rate, channels, length, lag and both sums.

    Where all four main stems (or all four parts and the drums) are there, their sum is held against gain·source (or
    the drums file); a stem that is in no complete sum is held against gain·its master, if `masters` has it.
    Raises `AudioRefused` if a file cannot be decoded.
    """
    checks = []
    wrong = []
    for stem, file in files.items():
        with open_source(file) as decoder:
            rate, width = decoder.facts.sample_rate, decoder.facts.channels
        # Opus is 48 kHz whatever went in (RFC 7845); `iterate_stem` converts back.
        if (rate, width) != (fmt.fixed_rate or sample_rate, channels):
            wrong.append(f"{stem}: {rate} Hz, {width} channels")
    checks.append(
        check_equal(
            "delivered_shape", "; ".join(wrong) or "as the source", "as the source", "Rate and channels of the files"
        )
    )

    def decoded(stem: str) -> Iterable[Audio]:
        return iterate_stem(files[stem], sample_rate, samples)

    groups: list[tuple[str, Iterable[Audio], tuple[str, ...], float]] = []
    if all(s in files for s in MAIN_STEMS):
        groups.append(("delivered_main", source(), MAIN_STEMS, gain))
    if all(s in files for s in (*DRUM_PARTS, "drums")):
        groups.append(("delivered_drums", decoded("drums"), DRUM_PARTS, 1.0))
    proven = {s for _, _, stems, _ in groups for s in stems}
    with ThreadPoolExecutor(max_workers=len(groups) or 1) as threads:
        reports = list(threads.map(lambda g: measure_sum(g[1], [decoded(s) for s in g[2]], g[3]), groups))
    for (name, *_), report in zip(groups, reports, strict=True):
        checks += [check_lengths(name, report), check_lag(name, report), check_sum(name, report, fmt.lossless)]
    for stem in files:
        if stem not in proven and stem in masters:
            report = measure_sum(masters[stem](), [decoded(stem)], gain)
            name = f"delivered_{stem}"
            checks += [check_lengths(name, report), check_lag(name, report)]
    return checks
