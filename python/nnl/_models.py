"""Layers: called, trained, their parameters as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np

from . import _nnl
from ._nnl import CancelToken, Expression, LoadReport, ParameterInfo

Value = Union[bool, int, float, str, Expression, Sequence[Any]]


def argument(value: Value) -> Any:
    """A value as the library takes it: lists become NNL's."""
    if isinstance(value, (list, tuple)):
        return Expression(_text(value))
    return value


def _text(value: Value) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    raise TypeError(f"a list of {type(value).__name__} can't be an argument")


def _array(tensor: _nnl.Tensor) -> Any:
    """The tensor's memory as a NumPy array. NumPy has no bf16: such a tensor stays what it is."""
    return tensor if tensor.dtype == "bf16" else np.asarray(tensor)


class Tensors(Mapping[str, np.ndarray]):
    """Named tensors of a model or an optimizer, as NumPy arrays over their own memory.

    `tensors[name]` is the memory itself: it shows every later step, and what is written into it counts from the next
    call on. It may outlive the model. Don't touch it while another thread calls or trains the model.
    `tensors[name] = array` copies the array into it; its shape and element type must be the tensor's.
    """

    def __init__(
        self,
        infos: Callable[[], list[ParameterInfo]],
        get: Callable[[str], _nnl.Tensor],
        put: Callable[[str, Any], None],
    ):
        self._infos = infos
        self._get = get
        self._put = put

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            array: np.ndarray = _array(self._get(name))
        except ValueError as e:
            raise KeyError(str(e)) from None
        return array

    def __setitem__(self, name: str, value: Any) -> None:
        self._put(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter([i.name for i in self._infos()])

    def __len__(self) -> int:
        return len(self._infos())

    def __contains__(self, name: object) -> bool:
        return any(name == i.name or name in i.aliases for i in self._infos())

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{i.name}: {i.dtype}{list(i.shape)}" for i in self._infos()) + "}"


class Model:
    """A layer with its parameters: made by Program.layer. It keeps its program alive.

    Calls, and steps of its trainers, wait for one another, so threads may share it; other threads of Python go on
    meanwhile.
    """

    def __init__(self, model: _nnl.Model, text: str):
        self._model = model
        self._text = text
        self.params = Tensors(model.parameters, model.parameter, model.set_parameter)

    def __repr__(self) -> str:
        return f"<nnl.Model {self._text}>"

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        method: str = "forward",
        training: bool = False,
        copy: bool = False,
        cancel: CancelToken | None = None,
    ) -> Any:
        """Runs `forward`, or another method, on arrays, and gives an array, or a tuple where the layer gives several.

        inputs    one array for each argument, of the shapes and element types that the signature asks for: NumPy
                  arrays, other objects with the buffer protocol, or with DLPack (PyTorch tensors on the CPU). They are
                  read where they are and never written. Integer arrays are accepted where NNL has class(C); their
                  values are checked. Element types are never converted.
        out       array, or tuple of arrays, for the results, which then is returned. None: new ones, each with memory
                  of its own.
        training  the layer's mode: dropout, running statistics.
        copy      whether an array may be copied whose memory can't be used as it is (not dense row-major, not aligned,
                  bytes swapped).

        The first call with new shapes compiles them. Raises CompileError where arrays don't fit the layer, CopyNeeded,
        RunError, InvalidArgument of an unknown method or a wrong `out`, TypeError of what is no array.
        """
        if out is None:
            results = tuple(_array(t) for t in self._model.call(inputs, None, method, training, copy, cancel))
            return results[0] if len(results) == 1 else results
        outputs = out if isinstance(out, tuple) else tuple(out) if isinstance(out, list) else (out,)
        self._model.call(inputs, outputs, method, training, copy, cancel)
        return out

    @property
    def parameters(self) -> list[ParameterInfo]:
        """What the parameters are: name, dtype, shape, whether learned, further names. Their values: `params`."""
        return self._model.parameters()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the parameters to a safetensors file, which PyTorch and others read. Raises DataError."""
        self._model.save(os.fspath(path))

    def load(self, path: str | os.PathLike[str], strict: bool = True) -> LoadReport:
        """Reads parameters from a safetensors file; all of it is read before anything changes.

        strict: names, shapes and types must all agree, else DataError. Otherwise what doesn't fit is left alone and
        named in the report.
        """
        return self._model.load(os.fspath(path), strict)

    def trainer(
        self,
        loss: str | tuple[str, Mapping[str, Value]] = "",
        optimizer: str = "Adam",
        *,
        objective: str = "",
        inputs: int = 1,
        freeze: Sequence[str] = (),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int | None = None,
        check: bool | None = None,
        **optimizer_arguments: Value,
    ) -> Trainer:
        """A trainer of this model: each of its steps is forward, backward and update.

        loss        a function of the program or the library: loss(model(inputs…), targets…). With arguments of its
                    own: ("cross_entropy", {"label_smoothing": 0.1}).
        objective   instead of a loss: a function of the program that is given the layer and all of a step's arrays,
                    and gives the loss, or a tuple that begins with it.
        inputs      with a loss: so many of a step's arrays go to the layer, the others to the loss.
        optimizer   one of the library or the program, with its arguments by name: lr=1e-3, weight_decay=0.01,
                    lr=nnl.Expression("warmup_cosine(peak = 1e-3, warmup = 100, total = 2000)").
        freeze      layers or parameters by path ("backbone", "blocks.0"), which aren't trained.
        clip_norm, clip_value, accumulate, check    those of NNL's `minimize`.

        Raises CompileError where the optimizer or its arguments are wrong, InvalidArgument.
        """
        name, loss_arguments = (loss, {}) if isinstance(loss, str) else loss
        step = {"clip_norm": clip_norm, "clip_value": clip_value, "accumulate": accumulate, "check": check}
        how = {
            "loss": name,
            "loss_arguments": {k: argument(v) for k, v in loss_arguments.items()},
            "objective": objective,
            "inputs": inputs,
            "optimizer": optimizer,
            "optimizer_arguments": {k: argument(v) for k, v in optimizer_arguments.items()},
            "step_arguments": {k: v for k, v in step.items() if v is not None},
            "freeze": list(freeze),
        }
        return Trainer(self._model.trainer(how), self)


class Trainer:
    """Steps of training on one model, made by Model.trainer. It keeps its model alive."""

    def __init__(self, trainer: _nnl.Trainer, model: Model):
        self._trainer = trainer
        self.model = model
        self.state = Tensors(trainer.states, trainer.state, self._set_state)

    def _set_state(self, name: str, value: Any) -> None:
        target = self._trainer.state(name)
        array, value = np.asarray(target), np.asarray(value)
        if array.shape != value.shape or array.dtype != value.dtype:
            raise ValueError(f"`{name}` is {array.dtype}{list(array.shape)}, and the value {value.dtype}{list(value.shape)}")
        array[...] = value

    def step(self, *tensors: Any, copy: bool = False, cancel: CancelToken | None = None) -> float:
        """One step of training; gives the loss. Arrays as in a call of the model: inputs, then targets.

        Compiled once for each set of shapes. Raises CompileError, CopyNeeded, RunError (a loss or gradient that isn't
        finite, after the update was made; a label out of range, before anything was), Cancelled.
        """
        return self._trainer.step(tensors, copy, cancel)

    __call__ = step

    @property
    def results(self) -> tuple[Any, ...]:
        """What the last step gave, the loss first, as arrays that keep their values."""
        return tuple(_array(t) for t in self._trainer.results())

    @property
    def updates(self) -> int:
        """How many updates were made."""
        return self._trainer.updates()

    @property
    def learning_rate(self) -> float:
        """The rate of the next step. It can be set, unless a schedule says it (InvalidArgument)."""
        return self._trainer.learning_rate()

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._trainer.set_learning_rate(rate)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes parameters, optimizer state, rate and counters."""
        self._trainer.save(os.fspath(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Reads what save wrote: training goes on with the same bits. Raises DataError where the file doesn't fit."""
        self._trainer.load(os.fspath(path))
