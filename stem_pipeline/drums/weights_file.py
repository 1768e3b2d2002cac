"""The drum network's weights as a file, and the card that travels beside it.

Belongs here: writing and reading `*.safetensors` (float16) with its JSON card, and the proof that they belong together.
Does not belong here: training, and the engine's view of the network (`model`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stem_pipeline.drums.kits import KITS, refuse_reserved_groove, refuse_reserved_kit
from stem_pipeline.errors import ModelRefused

if TYPE_CHECKING:
    from stem_pipeline.drums.network import DrumNetwork

NAME = "stemline-drums"
LICENCE = "CC-BY-4.0"
SHIPPED = Path(__file__).with_name("weights") / f"{NAME}.safetensors"


def card_of(weights: Path) -> dict[str, Any]:
    """The card beside `weights`. Raises `ModelRefused` (`model_unavailable`) when it is not there or not a card."""
    try:
        card = json.loads(weights.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        raise ModelRefused(
            "model_unavailable", f"The drum model {weights.stem} has no readable card: install the package again."
        ) from error
    return card


def export_weights(network: DrumNetwork, path: Path, work_folder: Path, version: str = "1") -> dict[str, Any]:
    """Writes `path` (safetensors, float16) and the card beside it; returns the card.

    `work_folder` is training's: its `data.json`, `checkpoint.pt` and `curves.csv` say what the card says. Raises
    `RequestRefused` when training used anything that is kept for tests.
    """
    import torch
    from safetensors.torch import save_file

    used = json.loads((work_folder / "data.json").read_text())
    catalogue = {kit.name: kit for kit in KITS}
    for kit in used["kits"]:
        refuse_reserved_kit(catalogue[kit].location, catalogue[kit].program)
    for groove in used["grooves"]:
        refuse_reserved_groove(groove)
    state = {
        k: v.detach().to(torch.float16).contiguous() for k, v in network.state_dict().items() if v.is_floating_point()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    path.chmod(0o644)
    saved = torch.load(work_folder / "checkpoint.pt", weights_only=False, map_location="cpu")
    config = {k: v for k, v in saved["config"].items() if k not in ("work_folder", "grooves")}
    frames_heard = saved["step"] * config["batch"] * config["frames"]
    heard = frames_heard * network.shape.hop_samples / network.shape.sample_rate
    card = {
        "name": NAME,
        "version": version,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "licence": LICENCE,
        "parts": list(network.shape.parts),
        "shape": network.shape.as_dict(),
        "training": {
            "config": {**config, "shape": network.shape.as_dict()},
            "steps_done": saved["step"],
            "cpu_hours": round(saved["cpu_seconds"] / 3600, 2),
            "seconds_heard": round(heard),
            "kits": [
                {
                    "name": k,
                    "package": catalogue[k].package,
                    "licence": catalogue[k].licence,
                    "author": catalogue[k].author,
                }
                for k in used["kits"]
            ],
            "recorded_grooves": {"count": len(used["grooves"]), "licence": "CC-BY-4.0 (Groove MIDI Dataset)"}
            if used["grooves"]
            else None,
            "groove_names_sha256": hashlib.sha256("\n".join(used["grooves"]).encode()).hexdigest(),
        },
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def load_network(weights: Path = SHIPPED) -> tuple[DrumNetwork, dict[str, Any]]:
    """The network with `weights`, float32, ready to separate, and its card.

    Raises `ModelRefused`: `model_unavailable` when the file is not there, `model_damaged` when it is not the card's.
    """
    from safetensors.torch import load

    from stem_pipeline.drums.network import DrumNetwork, NetworkShape

    card = card_of(weights)
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise ModelRefused(
            "model_unavailable", f"The weights of {weights.stem} are not there: install the package again."
        ) from error
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ModelRefused(
            "model_damaged", f"The weights of {weights.stem} are not the published ones: install the package again."
        )
    network = DrumNetwork(NetworkShape.from_dict(card["shape"]))
    state = {name: tensor.float() for name, tensor in load(data).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ModelRefused("model_damaged", f"The weights of {weights.stem} do not fit the network of this version.")
    return network.eval(), card
