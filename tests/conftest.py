"""Shapes checked at every call of core, tiny random models, and the authors' reference numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedModel  # before the hook, which slows down all that core is first to import

from tests import shape_checks, tiny_models

shape_checks.install()

settings.register_profile("tests", deadline=None, max_examples=60)
settings.load_profile("tests")
torch.set_num_threads(1)  # tiny matrices; pytest-xdist uses the cores


@pytest.fixture
def tiny_model() -> Callable[..., PreTrainedModel]:
    """A factory: a fresh random model of a family, in evaluation mode."""
    return tiny_models.tiny_model


@pytest.fixture(params=tiny_models.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokens() -> torch.Tensor:
    """Four windows of 24 token ids."""
    return torch.randint(0, tiny_models.VOCABULARY, (4, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """The reference numbers of tests/golden/layers.npz; their masks are True where a weight is pruned."""
    with np.load(Path(__file__).parent / "golden" / "layers.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture
def clean_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from core.allocation import Allocation
    from core.methods import Method
    from core.patterns import Pattern
    from core.stages import Stage

    for base in (Allocation, Method, Pattern, Stage):
        monkeypatch.setattr(base.registry, "_classes", dict(base.registry._classes))
