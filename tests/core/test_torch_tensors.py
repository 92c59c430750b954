"""PyTorch tensors: taken with the numbers they hold, or refused in one sentence, wherever a user may give them."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf

torch = pytest.importorskip("torch", reason="the tensors are PyTorch's")

X = np.random.default_rng(0).integers(-8, 8, (20, 4)).astype("f4")  # numbers that bfloat16 holds exactly
Y = np.arange(20) % 3
W = np.ones((4, 5), "f4")
B = np.full((5, 3), -2.0, "f4")
OUTPUT = np.full((20, 3), 0.5, "f4")


def make():
    net = mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 3)], seed=0)
    return net, mf.rules.FA(seed=0).attach(net)


def assigned(name, value):
    net, _ = make()
    setattr(net["linear1"], name, value)
    return getattr(net["linear1"], name)


def with_feedback(value):
    _, rule = make()
    rule.set_feedback("linear2", value)
    return rule.B["linear2"]


def loaded(value):
    net, _ = make()
    net.load_state({**net.state(), "linear1.W": value})
    return net["linear1"].W


def loaded_by_rule(value):
    _, rule = make()
    rule.load_state({"linear2": value})
    return rule.B["linear2"]


def imported(value):
    net = mf.Network([mf.Linear(5, 4, bias=False)])
    mf.weights.from_torch(net, {"weight": value}, {"": "linear1"})
    return net["linear1"].W.T


def loss_value(y):
    net, rule = make()
    return rule.gradients(net, mf.asarray(X), y, mf.MeanSquaredError())


TAKEN = {
    "mf.asarray": (X, mf.asarray),
    "net.predict": (X, lambda t: make()[0].predict(t)),
    "net.classify": (X, lambda t: make()[0].classify(t)),
    "layer.W": (W, lambda t: assigned("W", t)),
    "layer.b": (W[0], lambda t: assigned("b", t)),
    "rule.set_feedback": (B, with_feedback),
    "net.load_state": (W, loaded),
    "rule.load_state": (B, loaded_by_rule),
    "weights.from_torch": (W, imported),
    "from_arrays, x": (X, lambda t: mf.data.from_arrays(t, Y).train.x),
    "from_arrays, targets": (X, lambda t: mf.data.from_arrays(X, t, regression=True).train.y),
    "from_arrays, labels": (Y, lambda t: mf.data.from_arrays(X, t).train.y),
    "targets of a loss": (OUTPUT, lambda t: mf.MeanSquaredError().target(t, OUTPUT)),
    "classes of a loss": (Y, lambda t: mf.SoftmaxCrossEntropy().target(t, OUTPUT)),
    "targets of a rule": (OUTPUT, loss_value),
}

REFUSED = {
    "net.forward": lambda t: make()[0].forward(t),
    "net(x)": lambda t: make()[0](t),
    "layer.forward": lambda t: mf.Linear(4, 5).forward(t, mf.Pass()),
    "rule.gradients": lambda t: (lambda net, rule: rule.gradients(net, t, Y, mf.SoftmaxCrossEntropy()))(*make()),
    "outputs of a loss": lambda t: mf.MeanSquaredError()(t, X),
    "metrics.angle": lambda t: mf.metrics.angle(t, X),
}


def tensors_of(array):
    """The same numbers in each kind of tensor that PyTorch users have."""
    tensor = torch.tensor(array)
    if not tensor.is_floating_point():
        return {"plain": tensor, "int32": tensor.int()}
    narrow = {str(dtype): tensor.to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)}
    return {
        "plain": tensor,
        "requires_grad": tensor.clone().requires_grad_(),
        "strided": torch.stack([tensor, tensor], dim=-1)[..., 0],
        **narrow,
    }


@pytest.mark.parametrize("entry", TAKEN)
@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
def test_tensors_are_taken_with_their_numbers(entry):
    array, take = TAKEN[entry]
    expected = np.asarray(take(array))
    for kind, tensor in tensors_of(array).items():
        result = np.asarray(take(tensor))
        assert result.dtype == expected.dtype, kind
        np.testing.assert_array_equal(result, expected, err_msg=kind)


@pytest.mark.parametrize("entry", TAKEN)
@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
def test_tensors_without_numbers_in_memory_are_refused_in_a_sentence(entry):
    array, take = TAKEN[entry]
    for tensor in (torch.tensor(array).to("meta"), torch.tensor(array).to_sparse()):
        with pytest.raises((TypeError, ValueError), match="cannot be read as numbers: |must hold finite numbers: "):
            take(tensor)


@pytest.mark.parametrize("entry", REFUSED)
def test_passes_take_arrays_of_the_backend_only_and_say_how_to_convert(entry):
    with pytest.raises(TypeError) as caught:
        REFUSED[entry](torch.tensor(X))
    assert "got torch.Tensor: move it with minifa.asarray(x)" in str(caught.value)


def test_a_tensor_that_was_assigned_is_copied():
    tensor = torch.ones(4, 5)
    net, _ = make()
    net["linear1"].W = tensor
    tensor += 1
    assert (net["linear1"].W == 1).all()
