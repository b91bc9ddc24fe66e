"""jaxtyping's import hook for core: every call of an annotated function is checked, shapes included."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Self

import jaxtyping
from beartype import beartype


def install() -> None:
    """Call before anything imports core."""
    jaxtyping.jaxtyped = _generators_stay_generators(jaxtyping.jaxtyped)
    jaxtyping.install_import_hook("core", "tests.shape_checks.checked")


def checked(function: Callable) -> Callable:
    """beartype, with the bare ``Self`` that it refuses outside a class taken for anything."""
    function.__annotations__ = {name: Any if hint is Self else hint for name, hint in function.__annotations__.items()}
    return beartype(function)


def _generators_stay_generators(jaxtyped: Callable) -> Callable:
    """Else ``torch.no_grad()`` does not see that it decorates a generator, and gradients are on while it runs."""

    def decorator(*, typechecker: Callable) -> Callable:
        def decorate(function: Any) -> Any:
            wrapped = jaxtyped(typechecker=typechecker)(function)
            if not inspect.isgeneratorfunction(function):
                return wrapped

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                return (yield from wrapped(*args, **kwargs))

            return generator

        return decorate

    return decorator
