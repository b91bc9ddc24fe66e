"""Profiles of models that do not exist."""

from core.profile import ModelProfile, ModuleInfo


def profile_of(shapes: list[tuple[int, int]], modules_per_block: int) -> ModelProfile:
    modules = tuple(
        ModuleInfo(
            name=f"layers.{index // modules_per_block}.{index % modules_per_block}",
            block=index // modules_per_block,
            label=str(index % modules_per_block),
            shape=shape,
        )
        for index, shape in enumerate(shapes)
    )
    return ModelProfile(
        architecture="Test", parameters=1, max_seqlen=None, vocabulary=1, hidden_size=1, itemsize=4, modules=modules
    )
