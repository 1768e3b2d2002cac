"""What is asked of one song: run configuration, the same for every asset of a run.

Belongs here: names and defaults. Values are checked by `parsed`, before any work.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from assets import keys
from stem_pipeline.audio import OutputFormat, parse_format
from stem_pipeline.errors import RequestRefused
from stem_pipeline.models.catalogue import ModelCard, find_model
from stem_pipeline.separation.load import DEFAULT_DRUM_MODEL, DEFAULT_MAIN_MODEL
from stem_pipeline.separation.presets import ENGINE_VERSION, Preset, find_preset
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, parse_stems


@dataclass(frozen=True)
class ParsedRequest:
    """A request whose every name exists."""

    stems: tuple[str, ...]
    format: OutputFormat
    model: ModelCard
    drum_model: ModelCard
    preset: Preset
    title: str | None

    @property
    def wants_drum_parts(self) -> bool:
        return any(stem in DRUM_PARTS for stem in self.stems)

    def main_folder(self, song: str) -> str:
        """Where this request's main stems of a song lie: same song, model and settings, same place."""
        settings = {
            "engine": ENGINE_VERSION,
            "quality": self.preset.name,
            "overlap": self.preset.overlap,
            "weights": self.model.weights_sha256,
        }
        return keys.stems_folder(song, self.model.name, self.model.version, keys.digest_of(settings))

    def drum_folder(self, song: str) -> str:
        """Where the drum parts lie; they depend on the drums stem they were made from."""
        settings = {
            "engine": ENGINE_VERSION,
            "overlap": self.preset.overlap,
            "weights": self.drum_model.weights_sha256,
            "drums": self.main_folder(song),
        }
        return keys.stems_folder(song, self.drum_model.name, self.drum_model.version, keys.digest_of(settings))


class SongRequest(dg.ConfigurableResource):
    """Set it in the launchpad under `resources: request: config:`; anything left out has its default."""

    stems: list[str] = Field(default=list(ALL_STEMS), description=f"Among {', '.join(ALL_STEMS)}.")
    format: str = Field(default="wav", description="wav, flac, mp3, ogg, opus or m4a.")
    bit_depth: str | None = Field(default=None, description="16, 24 or 32f; wav and flac only. Default 24.")
    model: str = Field(default=DEFAULT_MAIN_MODEL, description="Main model, as `stem-pipeline models list` names it.")
    drum_model: str = Field(default=DEFAULT_DRUM_MODEL, description="Model that takes the drums apart.")
    quality: str = Field(default="standard", description="fast, standard or best.")
    title: str | None = Field(default=None, description="Name to deliver under; by default the file's own.")

    def parsed(self) -> ParsedRequest:
        """Raises `RequestRefused` or `ModelRefused` for what does not exist."""
        model, drum_model = find_model(self.model), find_model(self.drum_model)
        for card, kind in ((model, "main"), (drum_model, "drums")):
            if card.kind != kind:
                raise RequestRefused("option_invalid", f"{card.name} is no {kind} model. Choose another.")
        return ParsedRequest(
            stems=parse_stems(self.stems),
            format=parse_format(self.format, self.bit_depth),
            model=model,
            drum_model=drum_model,
            preset=find_preset(self.quality),
            title=self.title,
        )
