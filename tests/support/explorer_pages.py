"""Pages that several tests of the explorer open."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import models
from minifa.data.base import Dataset, Examples
from minifa.experiments import Experiment
from minifa.explorer import page as explorer

HOSTILE = "<img src=x onerror=alert(1)><!--<script>"
ELEVEN = "bp fa usf frsf brsf kolen_pollack weight_mirror dfa sdfa drtp pepita".split()
PAGES = {
    "default": [],
    "tiny": ["--data", "xor", "--model", "tiny", "--batch-size", "4", "--lr", "0.5", "--train-updates", "20"],
    "cnn": ["--model", "cnn", "--depth", "2", "--rules", "bp,fa", "--train-updates", "2"],
    "deep": ["--model", "cnn", "--depth", "6", "--batch-norm", "--rules", "bp,fa", "--train-updates", "2"],
    "rules": ["--rules", ",".join(ELEVEN), "--train-updates", "100"],
}


def hostile_page() -> str:
    """Names that would become markup if they were not escaped."""
    part = Examples(np.array([[-1, -1], [1, 1]], np.float32), np.array([0, 1]))
    dataset = Dataset(HOSTILE, part, part, classes=("</script><script>alert(2)</script>", "b"))
    experiment = Experiment(data=HOSTILE, model="hostile", lr=0.1, batch_size=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            models.MODELS,
            "hostile",
            lambda shape, n_out: [mf.Linear(2, 3, name=HOSTILE), mf.Tanh(), mf.Linear(3, n_out)],
        )
        return explorer.explore(experiment, dataset, ["bp", "fa"], train_updates=2)
