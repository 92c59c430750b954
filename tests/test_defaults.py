"""What one gets who says nothing: PyTorch's defaults for layers and optimizers, the papers' (or ours, kept in the
README's tables) for rules. Published numbers hang on them, so that none may move unseen."""

from __future__ import annotations

from typing import Any

import pytest

import minifa as mf
from minifa import rules

OPTIONS = {"weight_decay": 0, "clip_norm": None, "manhattan": False, "constrain_weights": False, "freeze_signs": False}
FA = {
    "init": None,
    "normalise": None,
    "sparsity": 0,
    "rescale_sparse": True,
    "conv": "kernel",
    "correlation": 0,
}
DFA = {"at": "activation", "family": "uniform", "sd": None, "shared": False, "recompute": False}
SIGNS = {"concordance": 1, "signs": "live"}
FRSF = {**SIGNS, "normalise": None, "init": None}
WINDOW = {"kernel": (3, 3), "padding": (0, 0)}

DEFAULTS: list[tuple[Any, dict[str, Any]]] = [
    (mf.SGD(), {**OPTIONS, "lr": 0.01, "momentum": 0, "nesterov": False}),
    (mf.Adam(), {**OPTIONS, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}),
    (mf.AdamW(), {**OPTIONS, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    (mf.RMSprop(), {**OPTIONS, "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0}),
    (mf.Linear(1, 1), {"has_bias": True, "name": "linear", "frozen": False, "sends_down": True}),
    (mf.Conv2d(1, 1, 3), {**WINDOW, "stride": (1, 1), "has_bias": True}),
    (mf.MaxPool(3), {**WINDOW, "stride": (3, 3)}),
    (mf.AvgPool(3), {**WINDOW, "stride": (3, 3)}),
    (mf.BatchNorm(3), {"eps": 1e-5, "momentum": 0.1}),
    (mf.Dropout(), {"p": 0.5}),
    (mf.LeakyReLU(), {"negative_slope": 0.01}),
    (mf.LocalResponseNorm(3), {"alpha": 1e-4, "beta": 0.75, "k": 1}),
    (mf.Residual([mf.ReLU()]), {"shortcut": []}),
    (mf.Walk(), {"training": False, "step": 0, "update_statistics": False}),
    (mf.Walk(training=True), {"update_statistics": True}),
    (mf.SoftmaxCrossEntropy(), {"label_smoothing": 0}),
    (rules.BP(), {}),
    (rules.Shallow(), {}),
    (rules.Sham(), FA),
    (rules.Stale(), {"every": 100}),
    (rules.FA(), FA),
    (rules.USF(), {**SIGNS, "scale": "strict"}),
    (rules.FRSF(), FRSF),
    (rules.BRSF(), FRSF),
    (rules.KolenPollack(), {}),
    (rules.WeightMirror(), {"rate": 0.1, "samples": 128, "sigma": 1, "every": 1, "first_looks": 10}),
    (rules.Product(), {"ratio": 10, "fixed": "gaussian"}),
    (rules.Product(fixed="identity"), {"ratio": 1}),
    (rules.SymmetricAlignment(), {"rate": 10}),
    (rules.ActivationAlignment(), {"rate": 0.1}),
    (rules.InformationAlignment(), {"rate": 0.01}),
    (rules.DFA(), DFA),
    (rules.SignDFA(), DFA),
    (rules.DRTP(), DFA),
    (rules.DirectKolenPollack(), DFA),
    (rules.Dense(), {}),
    (rules.PEPITA(), {"scale": 0.05, "output_pass": "first"}),
    (rules.NodePerturbation(), {"sigma": 1e-3}),
    (rules.WeightPerturbation(), {"sigma": 1e-3}),
]


@pytest.mark.parametrize("made, told", DEFAULTS, ids=lambda one: repr(one)[:40])
def test_defaults(made, told):
    if isinstance(made, rules.Rule):
        told = {**told, "seed": 0, "memory": {}, "error": None, "output": None, "target": None}
    assert {name: getattr(made, name) for name in told} == told


@pytest.mark.parametrize("made", [made for made, _ in DEFAULTS if isinstance(made, mf.Layer)], ids=repr)
def test_a_name_of_ones_own_is_kept(made):
    sizes = {"linear": (1, 1), "conv": (1, 1, 1), "residual": ([mf.ReLU()],), "batchnorm": (1,), "localresponse": (1,)}
    given = sizes.get(made.kind, (2,) if "pool" in made.kind else ())
    assert type(made)(*given, name="mine").name == "mine"


def test_every_rule_optimizer_and_initialiser_is_among_them():
    kinds = {type(made) for made, _ in DEFAULTS}
    assert {*rules.RULES.values(), *mf.optim.OPTIMIZERS.values()} <= kinds
    assert {layer.init.name for layer in (mf.Linear(1, 1), mf.Conv2d(1, 1, 3))} == {"he_normal"}
