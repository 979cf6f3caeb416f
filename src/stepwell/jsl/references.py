"""Find what a ``ref`` or the name of an exception class means (S79, S182)."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import inspect
from typing import Any

from stepwell.job.artifact import ArtifactRegistry
from stepwell.jsl.fault import did_you_mean


class NotFound(LookupError):
    """A reference leads nowhere."""

    def __init__(self, fact: str, hint: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.hint = hint


def find_artifact(ref: str, registry: ArtifactRegistry) -> Any:
    """The class, function or object: registered, else ``package.module:name``.

    ``package.module.Class``, as Java writes it, is taken too.

    Raises:
        NotFound: there is none, or its module cannot be imported.
    """
    known = registry.find(ref)
    if known is not None:
        return known
    if ":" in ref:
        module_name, _, path = ref.partition(":")
        return _attribute(_module(module_name, ref), path, ref)
    if "." in ref:
        return _dotted(ref)
    meant = did_you_mean(ref, registry)
    raise NotFound(
        f"there is no artifact {ref!r}",
        f"{meant} give it a name in `artifacts = {{…}}` of a module of `jobs`,"
        " or write `package.module:name`".strip(),
    )


def find_exception(name: str) -> type[BaseException]:
    """An exception class: ``package.module:Class``, or the name of a builtin (S182).

    Raises:
        NotFound: there is none, or it is no exception class.
    """
    found = find_artifact(name, ArtifactRegistry()) if _is_path(name) else _builtin(name)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise NotFound(f"{name!r} is no exception class")
    return found


def _is_path(name: str) -> bool:
    return ":" in name or "." in name


def _builtin(name: str) -> Any:
    found = getattr(builtins, name, None)
    if found is None:
        known = [
            name
            for name, value in vars(builtins).items()
            if isinstance(value, type) and issubclass(value, BaseException)
        ]
        meant = did_you_mean(name, known)
        raise NotFound(
            f"there is no exception class {name!r}",
            f"{meant} write `package.module:Class`, or the name of a builtin".strip(),
        )
    return found


def _module(name: str, ref: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise NotFound(
                f"there is no module {error.name!r}, which {ref!r} needs",
                "modules are found from the folder of stepwell.toml on",
            ) from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(module_name: str, error: Exception) -> NotFound:
    return NotFound(
        f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}",
        f"try `python -c 'import {module_name}'`",
    )


def _attribute(module: Any, path: str, ref: str) -> Any:
    found = module
    for name in path.split("."):
        inside = found
        found = getattr(inside, name, None) if name else None
        if found is None:
            public = [word for word in dir(inside) if not word.startswith("_")]
            where = f"module {module.__name__!r}" if inside is module else repr(inside)
            raise NotFound(f"there is no {name!r} in {where}", did_you_mean(name, public))
    if inspect.ismodule(found):
        raise NotFound(f"{ref!r} is a module", "write `package.module:name`")
    return found


def _dotted(ref: str) -> Any:
    """The longest part that is a module, then attributes."""
    parts = ref.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        if _exists(name):
            return _attribute(_module(name, ref), ".".join(parts[count:]), ref)
    raise NotFound(
        f"there is no module {parts[0]!r}, which {ref!r} needs",
        "modules are found from the folder of stepwell.toml on",
    )


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ImportError, AttributeError, ValueError):
        return False
