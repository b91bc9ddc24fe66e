"""Where things are kept, from ``PRUNESCOPE_*`` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Folders, database, scheduler and storage policy of this installation."""

    model_config = SettingsConfigDict(env_prefix="PRUNESCOPE_", frozen=True)

    home: Path = Field(
        default_factory=lambda: user_data_path("prunescope"),
        description="Runs: the database and the artifact folder.",
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path("prunescope"),
        description="What can be made again: converted embedded model, cleaned text, token ids.",
    )
    corpora: Path | None = Field(
        None, description="Local copies of the hub's corpora, such as wikitext2/test.jsonl in this folder."
    )
    database: str | None = Field(
        None, description="SQLAlchemy URL of the run database; unset: SQLite in the home folder."
    )
    scheduler: str | None = Field(
        None, description="Address of a Dask scheduler; unset: one worker process on this machine."
    )
    tasks: Path | None = Field(
        None, description="Local copies of the zero-shot tasks, <task>.jsonl or <task>.parquet; unset: the hub."
    )
    keep_weights: Literal["never", "budget", "always"] = Field(
        "budget", description="Whether runs keep the weights that the method updated."
    )
    weights_budget_gb: float = Field(
        10.0, ge=0, description="With keep_weights=budget: the space for them; the oldest go first."
    )
    max_attempts: int = Field(1, ge=1, description="How often a run whose worker died is tried in all.")

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home / 'runs.sqlite3'}"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"


def settings() -> Settings:
    """The settings as the environment has them now."""
    return Settings()
