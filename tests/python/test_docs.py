"""Is what is written true: docs/python.md, the stub of the C++ part, the docstrings?"""

import ast
import contextlib
import inspect
import io
import pathlib
import re

import nnl
from nnl import _nnl

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_document(tmp_path, monkeypatch):
    """Every block runs, one after the other, and prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:```output\n(.*?)^```\n)?", text, re.M | re.S)
    assert len(blocks) == text.count("```python")
    names = {}
    for code, wanted in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(DOCUMENT), "exec"), names)
        assert printed.getvalue() == wanted, code


def test_the_document_names_everything():
    text = DOCUMENT.read_text()
    for name in nnl.__all__:
        assert re.search(rf"\b{name}\b", text), name


def test_everything_public_has_a_docstring():
    for name in nnl.__all__:
        thing = getattr(nnl, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and thing.__module__ == "nnl" and not hasattr(_nnl, name):
            for member, value in vars(thing).items():
                if not member.startswith("_"):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_the_stub_has_what_the_module_has():
    stub = ast.parse((pathlib.Path(nnl.__file__).parent / "_nnl.pyi").read_text())
    classes = {c.name: {f.name for f in c.body if isinstance(f, ast.FunctionDef)} for c in stub.body if isinstance(c, ast.ClassDef)}
    assert set(classes) == {n for n, v in vars(_nnl).items() if inspect.isclass(v)}
    for name, members in classes.items():
        public = {m for m in vars(getattr(_nnl, name)) if not m.startswith("_")}
        assert public == {m for m in members if not m.startswith("_")}, name
