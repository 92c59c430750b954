"""The API reference, written from the docstrings by pdoc: python .ci/reference.py FOLDER"""

import importlib
import sys
from pathlib import Path

import numpy.typing
import pdoc

import minifa

PAGES = """network layers rules losses optim schedules training data models metrics figures tables tracing stepping
    explorer initialisers streams backend experiments recipes sweeps runs keeping checkpoints logs weights divergence
    doctor""".split()  # in the order in which a newcomer would read them: all that list something in their __all__

# pdoc follows __all__. Where a package lists what its files define, each class shall stand in its own file alone, below
# the equation.
for name in ("data", "figures", "layers", "models", "rules"):
    del importlib.import_module(f"minifa.{name}").__all__
minifa.__all__ = [*PAGES, *(name for name in minifa.__all__ if name not in PAGES)]

# Names that pdoc would replace by the long types for which they stand.
ALIASES = {
    name: type(name, (), {"__module__": "builtins", "__doc__": doc})
    for name, doc in (("Array", "An array of the backend; in minifa.data, of NumPy."), ("Host", "An array of NumPy."))
}
numpy.typing.ArrayLike = type("ArrayLike", (), {"__module__": "builtins"})
for module in [module for name, module in sys.modules.items() if name.startswith("minifa.")]:
    vars(module).update({name: alias for name, alias in ALIASES.items() if name in vars(module)})

rules = [
    f"- **{name}**, {rule.title}: `{rule.equation}`, `{rule.__module__}.{rule.__name__}`"
    for name, rule in minifa.rules.RULES.items()
]
minifa.rules.__doc__ = f"{minifa.rules.__doc__}\n\n" + "\n".join(rules)

pdoc.render.configure(docformat="google", footer_text=f"minifa {minifa.__version__}")
pdoc.pdoc("minifa", output_directory=Path(sys.argv[1]))
