"""Programs: compiled, looked at, run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import _nnl
from ._models import Model, Value, argument
from ._nnl import CancelToken, Config, Diagnostic, Expression, Function, Layer, Optimizer


def _config(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return str(value)


def _options(
    config: Mapping[str, Any] | None,
    seed: int | None,
    threads: int,
    device: str,
    declarations_only: bool,
    directory: str | os.PathLike[str] | None,
    cache: bool,
    cache_directory: str | os.PathLike[str] | None,
    log: Callable[[str], object] | None,
) -> dict[str, Any]:
    return {
        "configs": {name: _config(value) for name, value in (config or {}).items()},
        "seed": seed,
        "threads": threads,
        "device": device,
        "declarations_only": declarations_only,
        "directory": os.fspath(directory) if directory is not None else "",
        "cache": cache,
        "cache_directory": os.fspath(cache_directory) if cache_directory is not None else "",
        "log": log,
    }


def compile(
    text: str | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    name: str = "program.nnl",
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    threads: int = 0,
    device: str = "cpu",
    declarations_only: bool = False,
    directory: str | os.PathLike[str] | None = None,
    cache: bool = True,
    cache_directory: str | os.PathLike[str] | None = None,
    log: Callable[[str], object] | None = None,
) -> Program:
    """Reads and checks a program, given as text or by the path of its file.

    name         what diagnostics call a text
    config       values of the program's configs instead of their defaults: {"epochs": 3}
    seed         instead of the program's
    threads      of each model and run; 0: as many as the process may use. Results are the same for every number.
    device       "cpu", "cuda", or "auto": a GPU if one can be used
    declarations_only
                 only layers, functions, optimizers and configs are wanted: other statements, and the data they read, aren't
                 looked at; such a program can't be run
    directory    where imports and data of a text are looked for
    cache, cache_directory
                 compiled kernels are kept on disk, in $XDG_CACHE_HOME/nnlc unless a folder is given
    log          gets what isn't output of the program: the report of a `load`

    Raises CompileError or Unsupported with all diagnostics, DataError where a file is missing or malformed.
    """
    if (text is None) == (path is None):
        raise TypeError("compile wants a text or else a path")
    options = _options(config, seed, threads, device, declarations_only, directory, cache, cache_directory, log)
    if path is not None:
        return Program(_nnl.Program.from_file(os.fspath(path), options), os.fspath(path))
    assert text is not None
    return Program(_nnl.Program.from_text(text, name, options), name)


def check(
    text: str | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    name: str = "program.nnl",
    config: Mapping[str, Any] | None = None,
    declarations_only: bool = False,
    directory: str | os.PathLike[str] | None = None,
) -> list[Diagnostic]:
    """All that is to be said of a program, errors included, as `nnlc check` does. Raises nothing for a wrong one."""
    if (text is None) == (path is None):
        raise TypeError("check wants a text or else a path")
    if path is not None:
        name = os.fspath(path)
        with open(name, encoding="utf-8") as file:
            text = file.read()
    assert text is not None
    options = _options(config, None, 0, "cpu", declarations_only, directory, True, None, None)
    return _nnl.Program.check(text, name, options)


class Program:
    """A program that was read and checked: made by nnl.compile. It doesn't change; any thread may use it."""

    def __init__(self, program: _nnl.Program, name: str):
        self._program = program
        self._name = name

    def __repr__(self) -> str:
        return f"<nnl.Program {self._name}>"

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Warnings and notes of the compilation."""
        return self._program.diagnostics

    @property
    def layers(self) -> list[Layer]:
        """The layers that the program declares: hyper-parameters, methods, the ## text above."""
        return self._program.layers

    @property
    def functions(self) -> list[Function]:
        """The functions that the program declares."""
        return self._program.functions

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that the program declares: parameters, and the names of their state."""
        return self._program.optimizers

    @property
    def configs(self) -> list[Config]:
        """The configs that the program declares."""
        return self._program.configs

    def layer(self, layer: str | Expression, *arguments: Value, **named: Value) -> Model:
        """A layer of the program or the standard library, with initial parameters from the program's seed.

        layer      its name, or an Expression that gives one: nnl.Expression("Sequential(Linear(4, 8), ReLU())")
        arguments  its hyper-parameters by position and name: bools, ints, floats, texts, lists of them, Expressions.
                   Every size must follow from them.

        Raises CompileError with diagnostics in `<layer>` where they don't fit.
        """
        if isinstance(layer, Expression):
            if arguments or named:
                raise TypeError("an Expression has its arguments in its text")
            return Model(self._program.instantiate(layer), layer.text)
        positional = tuple(argument(a) for a in arguments)
        return Model(self._program.instantiate(layer, positional, {k: argument(v) for k, v in named.items()}), layer)

    def run(
        self,
        *,
        print: Callable[[str], object] | None = None,
        progress: Callable[[str, int, int], object] | None = None,
        record: Callable[[int, dict[str, float]], object] | None = None,
        runs_directory: str | os.PathLike[str] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Runs the whole program, from first to last statement, on new parameters.

        print           gets its output: whole lines, without the newline at the end. None: it is dropped.
        progress        of loops over batches: label, passes done, passes in all
        record          each `record` of the program: how many came before, and the numbers by name
        runs_directory  where `record` also writes its logs

        The callbacks come on this thread. What one of them raises, or a handler of signals (KeyboardInterrupt at
        Ctrl-C), ends the run before its next step and is raised from here. Raises RunError, DataError, Cancelled.
        """

        def lines(text: str) -> None:
            assert print is not None
            print(text[:-1] if text.endswith("\n") else text)

        folder = os.fspath(runs_directory) if runs_directory is not None else ""
        self._program.run(lines if print is not None else None, progress, record, folder, cancel)
