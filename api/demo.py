"""`make demo`: the main job on a real song.

Belongs here: finding the song and where the result goes. The song is six seconds of "Falcon 69" by The Easton Ellises
(CC BY-NC-SA), which the PyPI package `stempeg` carries; nothing of it is in this repository.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from stem_pipeline.errors import AudioRefused, StemPipelineError

SONG = "The Easton Ellises - Falcon 69.stem.mp4"


def demo_song() -> Path:
    """The real song that `stempeg` installs. Raises `AudioRefused` (`audio_not_found`) where it is not installed.

    The package is only located, never imported: importing it needs an ffmpeg program.
    """
    spec = importlib.util.find_spec("stempeg")
    song = Path(spec.origin).parent / "data" / SONG if spec and spec.origin else None
    if song is None or not song.is_file():
        raise AudioRefused("audio_not_found", "The demo's song is missing: pip install stempeg, or `make setup`.")
    return song


def main() -> int:
    from api.separate_command import separate

    out = Path("demo")
    status = separate([demo_song()], out, {}, as_json=False)
    if status == 0:
        sys.stdout.write(f"\nListen: {out}/  ·  see the run, with lineage and rerun: make up\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StemPipelineError as refusal:
        sys.stderr.write(f"{refusal.code}: {refusal.message}\n")
        sys.exit(refusal.exit_status)
