"""Generate the API reference from the docstrings with pdoc: python .ci/reference.py FOLDER"""

import importlib
import pkgutil
import sys
from pathlib import Path

import numpy.typing
import pdoc

import minifa

# All modules with public names in their __all__, in the order in which a new user would read them.
PAGES = """network layers rules losses optim sharing schedules training evaluation data models metrics
    target_metrics kernel_metrics kernels layer_statistics attacks jacobians chance theory comparison
    figures tracing explorer saved_networks initialisers rng backend experiments checkpoints weights
    imports testing environment frames errors""".split()

# pdoc follows __all__. For a package we list its modules, each with its own names, so that a class appears only in its
# own module, below the equation. Every module is imported for it, those that need click and anywidget, too.
for page in PAGES:
    package = importlib.import_module(f"minifa.{page}")
    modules = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", []))]
    public = [name for name in modules if importlib.import_module(f"minifa.{page}.{name}").__all__]
    if public:
        own = [
            name
            for name in package.__all__
            if getattr(getattr(package, name), "__module__", package.__name__) == package.__name__
        ]
        package.__all__ = [*own, *public]
minifa.__all__ = [*PAGES, *(name for name in minifa.__all__ if name not in PAGES)]
vars(minifa).update({name: getattr(minifa, name) for name in minifa.LATER})  # pdoc does not call a module's __getattr__

# Type aliases that pdoc would replace by the long types.
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
