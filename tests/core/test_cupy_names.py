"""CuPy has every name and keyword that the source uses. The source is parsed, not run.

The names are looked up in the table and, if CuPy is installed, in CuPy itself; no GPU is needed.
"""

from __future__ import annotations

import ast
import functools
import importlib
import io
import tokenize
from pathlib import Path

import pytest
from standin import usage
from standin.contract import TABLE
from standin.usage import Installed, Table, _written_signature, complaints

import minifa

FILES = {
    path.relative_to(Path(minifa.__file__).parent).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(Path(minifa.__file__).parent.rglob("*.py"))
}
ROOTS = ("xp", "cupy")
uses = functools.cache(usage.uses)  # of a file's text, which is parsed once


@pytest.fixture(scope="module")
def installed_cupy():
    try:
        return Installed(importlib.import_module("cupy"))
    except ImportError as error:
        pytest.skip(f"CuPy is not installed here ({error}); its table is used instead")


@pytest.fixture(params=["table", "installed_cupy"])
def cupy(request):
    """The sources of CuPy's names: the table, then CuPy itself."""
    return Table() if request.param == "table" else request.getfixturevalue("installed_cupy")


@pytest.mark.parametrize(
    "file", [name for name, source in FILES.items() if any(f"{root}." in source for root in ROOTS)]
)
def test_cupy_has_every_name_that_the_source_uses(file, cupy):
    assert complaints(FILES[file], cupy) == []


def test_no_use_is_overlooked():
    """The uses are counted in a second way, as tokens."""
    for file, source in FILES.items():
        tokens = [token.string for token in tokenize.generate_tokens(io.StringIO(source).readline)]
        names_after_dots = [
            c for a, b, c in zip(tokens, tokens[1:], tokens[2:], strict=False) if (b, a in ROOTS) == (".", True)
        ]
        roots = [use.path.split(".")[0] for use in uses(source) if not use.path.startswith("ndarray.")]
        assert sorted(roots) == sorted(name for name in names_after_dots if not name.startswith("_")), file


def test_xp_has_no_alias():
    """A use through another name, or getattr(xp, name), would not be found."""
    for file, source in ((file, source) for file, source in FILES.items() if "xp" in source):
        nodes = list(ast.walk(ast.parse(source)))
        used = [node for node in nodes if isinstance(node, ast.Name) and node.id == "xp"]
        with_a_dot = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        assert sum(id(node) not in with_a_dot for node in used) == (file == "backend.py"), file  # defined there
        assert not any(isinstance(node, ast.alias) and node.name == "xp" and node.asname for node in nodes), file


def test_methods_and_keywords_are_among_the_uses():
    all_uses = {(use.path, use.keywords) for source in FILES.values() for use in uses(source)}
    assert ("ndarray.sum", ("axis", "keepdims")) in all_uses and ("ndarray.mean", ("axis",)) in all_uses
    assert ("matmul", ("out",)) in all_uses and ("cuda.Stream.null.synchronize", ()) in all_uses


PLANTED = [
    ("xp.errstate()", "CuPy has no errstate"),
    ("y = xp.vecdot(a, b)", "CuPy has no vecdot"),
    ("f = xp.frompyfunc", "CuPy has no frompyfunc"),
    ("xp.linalg.multi_dot([a, b])", "CuPy has no linalg.multi_dot"),
    ("xp.random.Generator.permutation(rng, 5)", "CuPy has no random.Generator.permutation"),
    ("xp.cuda.cudnn.create()", "CuPy has no cuda.cudnn.create"),
    ("cupy.cudnn", "CuPy has no cudnn"),
    ("xp.exp(x, where=mask)", "exp takes no where= in CuPy"),
    ("xp.exp(x, x, x, x, x)", "exp takes 4 arguments in CuPy, got 5"),
    ("xp.sum(x, initial=0)", "sum takes no initial= in CuPy"),
    ("xp.clip(x, min=0, max=1)", "clip takes no min= in CuPy"),
    ("xp.clip(x, 0)", "clip needs 3 arguments in CuPy"),
    ("xp.einsum('ij->i', x, out=y)", "einsum takes no out= in CuPy"),
    ("xp.zeros(3, device='gpu')", "zeros takes no device= in CuPy"),
    ("xp.lib.stride_tricks.as_strided(x, s, t, writeable=False)", "takes no writeable= in CuPy"),
    ("xp.add.reduce(x, where=m)", "add.reduce takes no where= in CuPy"),
    ("xp.exp(x).sum(axis=0, where=m)", "ndarray.sum takes no where= in CuPy"),
    ("y = xp.exp(x)\ny.mean(axis=0, where=m)", "line 2: ndarray.mean takes no where= in CuPy"),
    ("a = xp.exp(x)\na.setflags(write=False)", "line 2: CuPy has no ndarray.setflags"),
    ("a = xp.exp(x)\na @= b", "line 2: CuPy has no ndarray.__imatmul__"),
]


@pytest.mark.parametrize("source, complaint", PLANTED, ids=[source for source, _ in PLANTED])
def test_a_planted_mistake_is_found(source, complaint, cupy):
    (message,) = complaints(source, cupy)[:1]
    assert complaint in message


def test_ufunc_methods_are_checked_against_the_table():
    assert complaints("xp.maximum.reduce(x)", Table()) == ["line 1: CuPy has no maximum.reduce"]
    assert complaints("xp.multiply.at(x, i, 2)", Table()) == ["line 1: CuPy has no multiply.at"]


def test_valid_uses_are_accepted(cupy):
    right = """
        xp.exp(x, out=y); xp.matmul(a, b, out=c); xp.add.at(x, i, 1); xp.add.reduce(x, axis=0, keepdims=True)
        xp.einsum('ij->i', x, optimize=True); xp.pad(x, 1, mode='constant', constant_values=0)
        xp.linalg.norm(x, axis=1); xp.concatenate([a, *b], axis=0); xp.clip(x, 0, 1); f(xp.maximum, xp.inf, xp._own)
        xp.sqrt(x).astype('float32', copy=False); xp.cuda.runtime.memGetInfo()[0]; x.reshape(2, -1, order='C')
    """
    assert complaints("\n".join(line.strip() for line in right.splitlines()), cupy) == []


def test_an_imported_object_is_not_treated_as_an_array():
    assert complaints("from .threads import pool\nxp.exp(x)\npool.resize(3)", Table()) == []


def test_the_table_agrees_with_the_installed_cupy(installed_cupy):
    """The table was made from one release; another release may have more names, but must have all that are used."""
    assert TABLE["cupy_version"] == "14.2.0"
    used_paths = {use.path for source in FILES.values() for use in uses(source)}
    for path in sorted(used_paths):
        known, real = Table().parameters(path), installed_cupy.parameters(path)
        if known is not None and real is not None and "." not in path:
            names = {name for name in known if name[:1] not in "*x"}
            assert names <= {*real, "out"}, path


def test_a_signature_in_a_docstring_may_have_optional_parts_in_brackets():
    doc = "frexp(x[, out1, out2], / [, out=(None, None)], \\*, dtype=None)\n\nDecomposes each element"
    assert _written_signature(doc) == ["x", "out1", "out2", "out", "dtype"]
