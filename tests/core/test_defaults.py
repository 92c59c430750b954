"""Defaults: PyTorch's for layers and optimizers, the papers' (or ours, recorded in the tables of
tutorials/results/README.md) for rules. Published numbers depend on them, so no default may change unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minifa as mf
from minifa import rules

OPTIONS = {"weight_decay": 0, "clip_norm": None, "manhattan": False, "constrain_weights": False, "freeze_signs": False}
OPTIONS["share_weights"] = None
FA = {
    "init": None,
    "normalise": None,
    "sparsity": 0,
    "rescale_sparse": True,
    "conv": "kernel",
    "correlation": 0,
}
NOISE = {"rate": 0.02, "samples": 128, "every": 1, "warmup_phases": 10}
DFA = {"at": "stage", "family": "uniform", "sd": None, "shared": False, "recompute": False}
SIGNS = {"concordance": 1, "signs": "live"}
FRSF = {**SIGNS, "normalise": None, "init": None}
DIRECT = {"at": "activation", "family": "gaussian", "sd": 0.5, "shared": False, "recompute": True}
NOISY_MAPS = {"eta": 0.1, "sigma": 0.1, "steps": 1}
WINDOW = {"kernel": (3, 3), "padding": (0, 0)}

DEFAULTS: list[tuple[Callable[[], Any], dict[str, Any]]] = [
    (lambda: mf.SGD(), {**OPTIONS, "lr": 0.01, "momentum": 0, "nesterov": False}),
    (lambda: mf.Adam(), {**OPTIONS, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}),
    (lambda: mf.AdamW(), {**OPTIONS, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    (lambda: mf.RMSprop(), {**OPTIONS, "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0}),
    (lambda: mf.Linear(1, 1), {"has_bias": True, "name": "linear", "frozen": False, "needs_input_gradient": True}),
    (lambda: mf.Conv2d(1, 1, 3), {**WINDOW, "stride": (1, 1), "dilation": (1, 1), "groups": 1, "has_bias": True}),
    (
        lambda: mf.LocallyConnected2d(1, 1, 3, input_size=4),
        {**WINDOW, "stride": (1, 1), "dilation": (1, 1), "equal_start": False, "has_bias": True},
    ),
    (lambda: mf.ShareWeights(), {"every": 1, "group": "all"}),
    (lambda: mf.MaxPool(3), {**WINDOW, "stride": (3, 3)}),
    (lambda: mf.AvgPool(3), {**WINDOW, "stride": (3, 3)}),
    (lambda: mf.BatchNorm(3), {"eps": 1e-5, "momentum": 0.1, "affine": True}),
    (lambda: mf.LayerNorm(3), {"eps": 1e-5, "elementwise_affine": True, "bias": True}),
    (lambda: mf.GroupNorm(1, 3), {"eps": 1e-5, "affine": True}),
    (lambda: mf.DivisiveNorm(1, 3), {"power": 0.2, "smoothing": 1}),
    (lambda: mf.ELU(), {"alpha": 1}),
    (lambda: mf.GELU(), {"approximate": "none"}),
    (lambda: mf.SiLU(), {}),
    (lambda: mf.Softplus(), {"beta": 1, "threshold": 20}),
    (lambda: mf.Dropout(), {"p": 0.5}),
    (lambda: mf.LeakyReLU(), {"negative_slope": 0.01}),
    (lambda: mf.LocalResponseNorm(3), {"alpha": 1e-4, "beta": 0.75, "k": 1}),
    (lambda: mf.Residual([mf.ReLU()]), {"shortcut": []}),
    (lambda: mf.Vectors(2), {"dimension": 2}),
    (
        lambda: mf.VectorLinear(4, 3, 2),
        {"dimension": 2, "has_bias": True, "weight_shape": (4, 3), "bias_shape": (2, 3)},
    ),
    (lambda: mf.Gate(4, 2), {"features": 4, "dimension": 2}),
    (lambda: mf.Pass(), {"training": False, "step": 0, "update_statistics": False}),
    (lambda: mf.Pass(training=True), {"update_statistics": True}),
    (lambda: mf.SoftmaxCrossEntropy(), {"label_smoothing": 0}),
    (lambda: rules.BP(), {}),
    (lambda: rules.Shallow(), {}),
    (lambda: rules.Sham(), FA),
    (lambda: rules.Stale(), {"every": 100}),
    (lambda: rules.FA(), FA),
    (lambda: rules.FA(correlation=1), {**FA, "correlation": 1}),
    (lambda: rules.USF(), {**SIGNS, "scale": "strict"}),
    (lambda: rules.FRSF(), FRSF),
    (lambda: rules.BRSF(), FRSF),
    (lambda: rules.KolenPollack(), {}),
    (lambda: rules.ASAP(), {"k": 2, "lag": 1}),
    (lambda: rules.Burst(), {"baseline": 0.2, "inhibition": False, "learned": False, "kappa": 0.5}),
    (lambda: rules.Recirculation(), {"regression": 0.9}),
    (lambda: rules.WeightMirror(), {**NOISE, "rate": 0.1, "sigma": 1, "correlation": 0, "noise": "gaussian"}),
    (lambda: rules.RDD(), {**NOISE, "correlation": 0, "theta": 0, "window": 0.5, "fit": "line"}),
    (lambda: rules.STDWI(), {**NOISE, "r": 0.2, "r_out": 0.3}),
    (lambda: rules.SAL(), NOISE),
    (lambda: rules.PAL(), {**NOISE, "sigma": 1, "highpass": "mean", "warmup_phases": 0}),
    (lambda: rules.Product(), {"ratio": 10, "fixed": "gaussian"}),
    (lambda: rules.Product(fixed="identity"), {"ratio": 1}),
    (lambda: rules.SymmetricAlignment(), {"rate": 10}),
    (lambda: rules.ActivationAlignment(), {"rate": 0.1}),
    (lambda: rules.InformationAlignment(), {"rate": 0.01}),
    (lambda: rules.DFA(), DFA),
    (lambda: rules.SignDFA(), DFA),
    (lambda: rules.DRTP(), DFA),
    (lambda: rules.MDFA(), DFA),
    (lambda: rules.DirectKolenPollack(), DFA),
    (lambda: rules.GEVB(), {"nonnegative": True, "recompute": False}),
    (lambda: rules.Dense(), {}),
    (lambda: rules.PEPITA(), {"scale": 0.05, "output_pass": "first"}),
    (lambda: rules.NodePerturbation(), {"sigma": 1e-3}),
    (lambda: rules.WeightPerturbation(), {"sigma": 1e-3}),
    (lambda: rules.FWDTP(), {"eta": 0.1, "g": "last"}),
    (lambda: rules.DTP(), {**NOISY_MAPS, "g": "last", "rate": 1}),
    (lambda: rules.TP(), {**NOISY_MAPS, "g": "last", "rate": 1}),
    (lambda: rules.LDRL(), {**NOISY_MAPS, "g": "gated", "rate": 0.05}),
    (lambda: rules.DRL(), {**NOISY_MAPS, "g": "linear", "rate": 0.5, "decay": 1e-3}),
    (lambda: rules.DDTP(), {**NOISY_MAPS, "rate": 0.2, "decay": 1e-3}),
    (lambda: rules.DI(), {"leak": 0.1, "weights": "live"}),
    (lambda: rules.PBP(), {}),
    (lambda: rules.DFC(), {"eta": 0.1, "leak": 0.1, "weights": "learned", "rate": 0.02, "sigma": 0.01}),
    (lambda: rules.ZIL(), {"gamma": 1}),
    (lambda: rules.PC(), {"gamma": 0.1, "steps": 20, "beta": None}),
    (lambda: rules.DualProp(), {"alpha": 0.5, "beta": 0.1}),
    (
        lambda: rules.Local(),
        {"loss": "predsim", "heads": "learned", "beta": 0.99, "similarity_head": False, "dim_in_decoder": 4096},
    ),
    (lambda: rules.Local(bio=True), {"heads": "fixed", "beta": 0.01}),
    (lambda: rules.ForwardForward(), {"mark": 3, "goodness": "mean", "theta": None, "prediction": "goodness"}),
    (lambda: rules.Synthetic(), {"condition": True, "static": False, "at": "stage"}),
    (lambda: rules.PerturbedFeedback(), {"sigma": 0.01, "rate": 0.1}),
    (lambda: rules.PHSIC(), {"kernel": "cosine", "sigma": 0.5, "gamma": 2, "labels": "cosine", "groups": None}),
    (lambda: rules.PHSIC(groups=4), {"power": 0.5, "at": "stage"}),
    (lambda: rules.HSIC(), {"balance": 50, "sigma": 5, "eps": 1e-5, "at": "activation"}),
    (lambda: rules.DirectKolenPollack(0, "activation", "gaussian", 0.5, True), DIRECT),
    (lambda: rules.DFA(0, "activation", "gaussian", 0.5, True, True), {**DIRECT, "shared": True}),
]


@pytest.mark.parametrize("make, expected", DEFAULTS, ids=[type(make()).__name__ for make, _ in DEFAULTS])
def test_defaults(make, expected):
    made = make()
    if isinstance(made, rules.Rule):
        expected = {**expected, "seed": 0, "memory": {}, "error": None, "output": None, "target": None}
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize("make", [make for make, _ in DEFAULTS if isinstance(make(), mf.Layer)])
def test_a_given_layer_name_is_kept(make):
    made = make()
    sizes = {
        "linear": (1, 1),
        "conv": (1, 1, 1),
        "locallyconnected": (1, 1, 1),
        "residual": ([mf.ReLU()],),
        "groupnorm": (1, 1),
    }
    sizes |= {"vectors": (2,), "vectorlinear": (1, 1, 2), "gate": (1, 2), "divisivenorm": (1, 1)}
    given = sizes.get(made.kind, (2,) if made.kind.endswith(("pool", "norm", "response")) else ())
    further = {"input_size": 1} if made.kind == "locallyconnected" else {}
    assert type(made)(*given, **further, name="mine").name == "mine"


def test_the_defaults_of_every_rule_optimizer_and_initialiser_are_tested():
    kinds = {type(make()) for make, _ in DEFAULTS}
    assert {*rules.RULES.values(), *mf.optim.OPTIMIZERS.values()} <= kinds
    assert {layer.init.name for layer in (mf.Linear(1, 1), mf.Conv2d(1, 1, 3))} == {"he_normal"}
    assert rules.Synthetic().init.name == "zero"
