"""Pictures: every function returns a matplotlib Figure, in one style that is safe for colour-blind readers, for light
pages or (``dark=True``) for dark ones.

matplotlib is imported here and nowhere else; `import minifa` does without it until ``minifa.figures`` is asked for.
"""

import atexit
import os
import shutil
import tempfile

if os.path.expanduser("~") == "~" and "MPLCONFIGDIR" not in os.environ:
    # There is no home folder, and matplotlib before 3.11 cannot be imported without a place for its settings.
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="minifa-matplotlib-")
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

# ruff: noqa: E402
from .convolution import im2col
from .curves import alignment_curves, comparison, learning_curves, survey, training_curves
from .diagrams import broadcast
from .errors import angle_histogram, deltas
from .folders import of_run
from .matrices import kernels, matrices, signs
from .memory import activation_memory
from .style import COLOURS, DARK, MARKERS, STYLE, diverging, look

__all__ = [
    "COLOURS",
    "DARK",
    "MARKERS",
    "STYLE",
    "activation_memory",
    "alignment_curves",
    "angle_histogram",
    "broadcast",
    "comparison",
    "deltas",
    "diverging",
    "im2col",
    "kernels",
    "learning_curves",
    "look",
    "matrices",
    "of_run",
    "signs",
    "survey",
    "training_curves",
]
