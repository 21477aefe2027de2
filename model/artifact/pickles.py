"""Loading pickled pipelines, also those that an earlier version of this program has saved."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from threading import Lock
from types import ModuleType
from typing import Any

FORMER_MODULES = {
    "model.classifiers": ("model.serving.engines", "model.data.encoding"),
    "model.dataset": ("model.data.dataset",),
    "model.empty_columns": ("model.training.transformers",),
    "model.manifest": ("model.artifact.manifest",),
    "model.natural_frame": ("model.training.transformers",),
    "model.own_pipeline": ("model.training.custom_pipeline",),
    "model.pipeline": ("model.training.pipelines", "model.data.encoding"),
}
"""Modules whose names saved pipelines may hold, and where their classes and functions are now."""

_loading = Lock()


def load_pipeline(content: bytes) -> Any:
    """Return the pipeline in the bytes of a joblib file, which must be verified first: loading runs its code."""
    import joblib  # noqa: PLC0415 - only where scikit-learn is needed

    with _former_modules():
        return joblib.load(BytesIO(content))


@contextmanager
def _former_modules() -> Iterator[None]:
    """Let the former modules be imported while the body runs. One thread at a time: `sys.modules` is shared."""
    with _loading:
        aliases = {name: _alias(name, *now) for name, now in FORMER_MODULES.items() if name not in sys.modules}
        sys.modules.update(aliases)
        try:
            yield
        finally:
            for name in aliases:
                del sys.modules[name]


def _alias(name: str, *modules: str) -> ModuleType:
    """Return a module that looks for its attributes in others, and imports these when it is asked."""
    alias = ModuleType(name)

    def find(attribute: str) -> Any:
        for module in map(import_module, modules):
            if hasattr(module, attribute):
                return getattr(module, attribute)
        raise AttributeError(f"{name} has no {attribute!r} any more")

    alias.__dict__["__getattr__"] = find
    return alias
