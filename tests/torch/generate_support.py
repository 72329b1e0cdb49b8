"""What the generators share."""
import os

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = "# Written by generate.py with PyTorch {}: do not edit.\n\n".format(torch.__version__)


def literal(t, dtype):
    def nested(v):
        if isinstance(v, list):
            return "[" + ", ".join(nested(x) for x in v) + "]"
        if isinstance(v, bool):
            return "true" if v else "false"
        if isinstance(v, int):
            return str(v)
        s = repr(v)
        return s if any(c in s for c in ".e") else s + ".0"

    text = nested(t.detach().tolist())
    return f"{dtype}({text})" if t.dim() == 0 else f"tensor({text}, dtype = {dtype})"
