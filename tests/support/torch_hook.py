# ruff: noqa: UP035, UP045  (Python 3.6 runs it, too)
"""Something that happens when a process of the board imports torch; for its ``sitecustomize``.

from torch_hook import when_torch_is_imported
when_torch_is_imported(before=lambda: time.sleep(6))
"""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Optional


def when_torch_is_imported(
    before: Optional[Callable[[], None]] = None,
    after: Optional[Callable[[ModuleType], None]] = None,
) -> None:
    """Call ``before()`` before torch runs and ``after(torch)`` when it has."""
    sys.meta_path.insert(0, _Finder(before, after))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torch where the others find it, and puts the calls around its import."""

    def __init__(
        self,
        before: Optional[Callable[[], None]],
        after: Optional[Callable[[ModuleType], None]],
    ) -> None:
        self.before, self.after = before, after
        self.busy = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if name != "torch" or self.busy:
            return None
        self.busy = True
        spec = importlib.util.find_spec("torch")
        self.busy = False
        if spec is not None and spec.loader is not None:
            self._surround(spec.loader)
        return spec

    def _surround(self, loader: Any) -> None:
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            if self.before:
                self.before()
            run(module)
            if self.after:
                self.after(module)

        loader.exec_module = exec_module
