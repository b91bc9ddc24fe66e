"""A model's profile, looked up once and then known to the store."""

from __future__ import annotations

from core.models.sources import ModelSource
from core.profile import ModelProfile
from core.store import Store


def stored_profile(source: ModelSource, store: Store) -> ModelProfile | None:
    """The profile if the store knows it; loads neither model nor transformers. Raises InputError for no such model."""
    known = store.fact(_key(source))
    return ModelProfile.model_validate(known) if known else None


def known_profile(source: ModelSource, store: Store) -> ModelProfile:
    """The profile, worked out from the model's config where the store does not know it yet."""
    if known := stored_profile(source, store):
        return known
    profile = source.profile()
    store.remember(_key(source), profile.model_dump(mode="json"))
    return profile


def _key(source: ModelSource) -> str:
    return f"profile v1 {source.name} {source.label} {source.revision_key()}"[:200]
