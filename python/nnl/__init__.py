"""nnl: programs in NNL, compiled and run from Python; their layers called and trained on NumPy arrays.

    program = nnl.compile(path="classifier.nnl")
    net     = program.layer("Classifier", hidden=64)
    trainer = net.trainer("cross_entropy", lr=1e-3)
    loss    = trainer.step(images, labels)      # images: float32[N, 784], labels: int64[N]
    scores  = net(images)

Arrays are used where they are, without a copy. docs/python.md is the reference.
"""

from ._errors import (
    Cancelled,
    CompileError,
    CopyNeeded,
    DataError,
    Error,
    InternalError,
    InvalidArgument,
    OutOfMemory,
    RunError,
    Unsupported,
)
from ._models import Model, Tensors, Trainer
from ._nnl import (
    CancelToken,
    Config,
    Diagnostic,
    Expression,
    Fix,
    Function,
    Label,
    Layer,
    LoadReport,
    Optimizer,
    Parameter,
    ParameterInfo,
    Place,
    Tensor,
    version,
)
from ._programs import Program, check, compile

__version__ = version()
__all__ = [
    "CancelToken", "Cancelled", "CompileError", "Config", "CopyNeeded", "DataError", "Diagnostic", "Error",
    "Expression", "Fix", "Function", "InternalError", "InvalidArgument", "Label", "Layer", "LoadReport", "Model",
    "Optimizer", "OutOfMemory", "Parameter", "ParameterInfo", "Place", "Program", "RunError", "Tensor", "Tensors", "Trainer",
    "Unsupported", "check", "compile", "version",
]  # fmt: skip

for _thing in (CancelToken, Config, Diagnostic, Expression, Fix, Function, Label, Layer, LoadReport, Optimizer, Parameter,
               ParameterInfo, Place, Tensor, *(globals()[_n] for _n in __all__ if isinstance(globals()[_n], type))):  # fmt: skip
    _thing.__module__ = __name__
del _thing
