"""What a way in may load before it has anything to do: heavy libraries come with the work."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "librosa", "great_expectations", "mlflow")

LOADED = "import sys; print(','.join(m for m in sys.argv[1].split(',') if m in sys.modules))"


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import stem_pipeline", ("torch", "librosa", "dagster")),
        ("import api.cli", (*HEAVY, "dagster")),
        (
            "import api.cli, api.separate_command, api.verify_command, api.models_command, api.up_command",
            (*HEAVY, "dagster"),
        ),
        ("import assets.definitions", HEAVY),
    ],
    ids=["the library", "the command line", "its commands", "the code location"],
)
def test_nothing_heavy_is_loaded_by(code: str, forbidden: tuple[str, ...]) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}", ",".join(forbidden)], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == ""


def test_help_answers_without_anything_heavy() -> None:
    forbidden = {*HEAVY, "dagster"}
    code = (
        "import sys; from api.cli import main; sys.argv = ['stem-pipeline', '--help']\n"
        "try: main()\n"
        f"finally: print('loaded:', *({forbidden!r} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "separate" in shown.stdout
    assert shown.stdout.splitlines()[-1].strip() == "loaded:"


def test_the_measure_itself_sees_a_loaded_module() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import dagster\n{LOADED}", "torch,dagster"], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "dagster"
