"""`stem-pipeline`: the command line. Arguments in, exit status out.

Belongs here: names of commands and options. What a command does is a file of its own, imported when it runs, so that
`--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from stem_pipeline.errors import StemPipelineError

app = typer.Typer(
    help="A song in, eight aligned stems out that provably add up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models: what they are, where they are, under what licence.", no_args_is_help=True)
app.add_typer(models_app, name="models")


@app.command()
def separate(
    files: Annotated[list[Path], typer.Argument(help="Songs: anything FFmpeg reads.", metavar="FILE…")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results: one folder a song.")] = Path(
        "stems"
    ),
    format: Annotated[str, typer.Option("--format", help="wav, flac, mp3, ogg, opus or m4a.")] = "wav",
    bit_depth: Annotated[str | None, typer.Option("--bit-depth", help="16, 24 or 32f; wav and flac.")] = None,
    stems: Annotated[str, typer.Option("--stems", help="Which of the eight, by comma.")] = (
        "drums,bass,vocals,other,kick,snare,cymbals,toms"
    ),
    drums: Annotated[bool, typer.Option("--drums/--no-drums", help="Take the drums apart.")] = True,
    model: Annotated[str, typer.Option("--model", help="Main model.")] = "htdemucs",
    drum_model: Annotated[str | None, typer.Option("--drum-model", help="Model for the drum parts.")] = None,
    quality: Annotated[str, typer.Option("--quality", help="fast, standard or best.")] = "standard",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")] = False,
) -> None:
    """Separate songs into stems, here and now; exit status 0 only if every song passed its proof."""
    from api.separate_command import separate as run
    from stem_pipeline.stems import MAIN_STEMS, parse_stems

    wanted = [s for s in parse_stems(stems) if drums or s in MAIN_STEMS]
    request = {
        "stems": list(parse_stems(wanted)),
        "format": format,
        "bit_depth": bit_depth,
        "model": model,
        "quality": quality,
        **({"drum_model": drum_model} if drum_model else {}),
    }
    raise typer.Exit(run(files, out, request, as_json))


@app.command()
def verify(
    source: Annotated[Path, typer.Argument(help="The song the stems were made from.")],
    folder: Annotated[Path, typer.Argument(help="The result folder: stems and manifest.json.", metavar="DIR")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Hold a result folder against its source, from the files alone; exit status 0 only if everything holds."""
    from api.verify_command import verify as run

    raise typer.Exit(run(source, folder, as_json))


@models_app.command("list")
def models_list(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Every model with its licence and where its weights are on this machine."""
    from api.models_command import list_all

    list_all(as_json)


@models_app.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="As `models list` names it.")]) -> None:
    """Fetch a model's weights now, so that later runs need no network."""
    from api.models_command import fetch

    fetch(name)


@app.command()
def bench(
    file: Annotated[Path, typer.Argument(help="A real song.")],
    truth: Annotated[Path | None, typer.Option("--truth", help="Folder with its true main stems, for SDR.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    quality: Annotated[str, typer.Option("--quality", help="fast, standard or best.")] = "standard",
    repeat: Annotated[int, typer.Option("--repeat", help="Turns of each; medians are reported.")] = 1,
    seconds: Annotated[
        list[float] | None, typer.Option("--seconds", help="Cut or repeat to this; several: a curve.")
    ] = None,
    stock: Annotated[bool, typer.Option("--stock/--no-stock", help="Run stock Demucs beside ours.")] = True,
    pipeline: Annotated[bool, typer.Option("--pipeline/--no-pipeline", help="Time the whole pipeline too.")] = True,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write the curve over the lengths as a PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Race ours against stock Demucs: same weights, same file, same machine, in turn."""
    from api.bench_command import bench as run

    run(file, truth, device, quality, repeat, seconds or [], stock, pipeline, plot, as_json)


@app.command(
    "train-drums",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def train_drums(context: typer.Context) -> None:
    """Train the drum separator anew, or go on where it was interrupted (`train-drums --help`)."""
    from stem_pipeline.drums.train import main as train

    raise typer.Exit(train(context.args))


@app.command()
def up(
    port: Annotated[int, typer.Option("--port", help="Port of Dagster's UI on 127.0.0.1.")] = 3000,
) -> None:
    """Start Dagster's UI and daemon on this installation's home, until Ctrl-C."""
    from api.up_command import up as run

    raise typer.Exit(run(port))


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's (or click's) error for wrong options; typer names it in no public place."""


def main() -> None:
    """Entry point: every refusal becomes its sentence on standard error and its exit status, with `--json` an object too."""
    try:
        status = app(standalone_mode=False)
    except _UsageError as wrong:
        wrong.show()  # type: ignore[attr-defined]
        _end(StemPipelineError("option_invalid", wrong.format_message()), told=True)  # type: ignore[attr-defined]
    except StemPipelineError as refusal:
        _end(refusal)
    except BrokenPipeError:
        # Whoever read our output has gone (`… | head`); a second complaint at exit is kept from them as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        # The last line before a person. A developer sees the trace with `python -X dev`.
        if sys.flags.dev_mode:
            raise
        _end(StemPipelineError("internal", f"Something unexpected failed ({type(error).__name__})."))
    sys.exit(status if isinstance(status, int) else 0)


def _end(refusal: StemPipelineError, told: bool = False) -> NoReturn:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"ok": False, "error": refusal.as_dict()}, ensure_ascii=False) + "\n")
    if not told:
        sys.stderr.write(f"{refusal.code}: {refusal.message}\n")
    sys.exit(refusal.exit_status)


if __name__ == "__main__":
    main()
