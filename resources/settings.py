"""What an operator may set, from the environment: one class, one prefix (`STEM_PIPELINE_`).

Belongs here: names, defaults, bounds. Does not belong here: what a single song is asked for (`assets.request.SongRequest`).
"""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stem_pipeline.errors import RequestRefused


class Settings(BaseSettings):
    """`STEM_PIPELINE_HOME` and its siblings; anything unset has a default that works on a laptop."""

    model_config = SettingsConfigDict(env_prefix="STEM_PIPELINE_", extra="ignore")

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("stem-pipeline", appauthor=False)),
        description="Storage, Dagster's home and every other state of this installation.",
    )
    allow_research_weights: bool = Field(
        default=True, description="False refuses weights that are licensed for research or personal use only."
    )
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda)$", description="Where models run.")
    max_seconds: float = Field(default=12 * 3600, gt=0, description="Songs longer than this are refused.")
    max_bytes: int = Field(default=16 * 1024**3, gt=0, description="Files larger than this are refused.")

    @property
    def storage_root(self) -> Path:
        return self.home.expanduser().absolute() / "storage"

    @property
    def dagster_home(self) -> Path:
        return self.home.expanduser().absolute() / "dagster"


def read_settings() -> Settings:
    """The environment's settings. Raises `RequestRefused` (`option_invalid`) naming the variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = f"STEM_PIPELINE_{'_'.join(str(part) for part in wrong['loc'])}".upper()
        raise RequestRefused(
            "option_invalid", f"The environment variable {name} cannot be used: {wrong['msg']}."
        ) from error
