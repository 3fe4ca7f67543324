"""Make transformers know this package's model after ``import asrscope`` alone, without importing torch.

``AutoConfig`` finds a class in a mapping; a model's own entry needs its class, and the class needs torch.
So the mapping is one that imports the class when somebody asks for it; and as transformers itself may be
imported later, an import hook waits for it. The hook does nothing else and takes part in no other import.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["announce"]

MODEL_TYPE = "asrscope"
TASK = "automatic-speech-recognition"
PIPELINE = "asrscope.pipeline.SpeechRecognitionPipeline"


def announce() -> None:
    """Tell transformers of the model: now, if it is there, or else as soon as it is imported."""
    for name, tell in WAITING.items():
        if (module := sys.modules.get(name)) is not None:
            tell(module)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _OnDemand(dict[str, Any]):
    """Registered configurations; ours is imported when it is first asked for."""

    def __contains__(self, key: object) -> bool:
        return key == MODEL_TYPE or super().__contains__(key)

    def __missing__(self, key: str) -> Any:
        if key != MODEL_TYPE:
            raise KeyError(key)
        import_module("asrscope.processing")  # which imports the model; both register themselves
        return super().__getitem__(key)


class _ProcessorsOnDemand(dict[Any, Any]):
    """Registered processors by configuration; transformers looks among them for a name it does not know."""

    def values(self) -> Any:
        import_module("asrscope.processing")
        return super().values()


def _tell_configurations(module: ModuleType) -> None:
    mapping = module.CONFIG_MAPPING
    registered = getattr(mapping, "_extra_content", None)
    if type(registered) is dict and MODEL_TYPE not in registered:
        mapping._extra_content = _OnDemand(registered)


def _tell_processors(module: ModuleType) -> None:
    mapping = module.PROCESSOR_MAPPING
    registered = getattr(mapping, "_extra_content", None)
    if type(registered) is dict:
        mapping._extra_content = _ProcessorsOnDemand(registered)


def _tell_pipelines(module: ModuleType) -> None:
    task = module.SUPPORTED_TASKS[TASK]
    if isinstance(task["impl"], str):  # the class of a task is imported when it is first used
        task["impl"] = PIPELINE


WAITING: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _tell_configurations,
    "transformers.models.auto.processing_auto": _tell_processors,
    "transformers.pipelines": _tell_pipelines,
}


class _Finder(MetaPathFinder):
    """Lets three modules of transformers be found as always, and looks at them once they have run."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in WAITING:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, WAITING[fullname])
        return spec


class _Loader(Loader):
    """Runs a module, gives it its own loader back, and tells it of the model."""

    def __init__(self, loader: Loader, tell: Callable[[ModuleType], None]) -> None:
        self._loader, self._tell = loader, tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._tell(module)
