"""Every nasty file through the whole job: stems that pass, or a refusal with a code; never a traceback, never a hang."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from known_song import Pipeline

from stem_pipeline.errors import StemPipelineError

MOST_SECONDS = 30
"""What a file may take to be refused or done; the longest lasts ten seconds."""


def nasty_files() -> list[Path]:
    root = os.environ.get("STEM_PIPELINE_SHARED_AUDIO")
    folder = Path(root) / "nasty" / "generated" if root else None
    return sorted(f for f in folder.iterdir() if f.name != "EXPECT.tsv") if folder and folder.is_dir() else []


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("nasty"))


@pytest.mark.slow
@pytest.mark.skipif(not nasty_files(), reason="STEM_PIPELINE_SHARED_AUDIO does not say where nasty/generated is")
@pytest.mark.parametrize("file", nasty_files(), ids=lambda f: f.name)
def test_a_nasty_file_gives_stems_or_a_code(file: Path, pipeline: Pipeline) -> None:
    started = time.monotonic()
    refused, run = None, None
    try:
        run = pipeline.run(file)
    except StemPipelineError as refusal:
        refused = refusal
    if run:
        assert run.manifest.verdict == "passed"
        assert len(run.manifest.stems) == 8
    else:
        assert refused is not None
        assert refused.code not in ("internal", "contract_broken"), refused.message
        assert str(file.parent) not in refused.message
    assert time.monotonic() - started < MOST_SECONDS
