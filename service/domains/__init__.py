"""Domains: one module each, with its bodies, statements, thin handlers and background work."""

import importlib
import pkgutil
from types import ModuleType


def find() -> list[ModuleType]:
    """Every domain. It has `routes`; where it needs them `set_up(app)` and `jobs(settings)`."""
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
