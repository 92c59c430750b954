"""minifa against PyTorch in float64: every layer, loss, optimizer and schedule gives the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minifa as mf
from minifa import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    LeakyReLU,
    Linear,
    MaxPool,
    Pass,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
)
from minifa.layers.normalisation import Norm
from minifa.rules import BP
from minifa.testing.examples import GEOMETRIES, inputs, network

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the package torch")
F = torch.nn.functional

pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.filterwarnings("ignore:Using padding='same'")]


# Images are (N, H, W, C) here and (N, C, H, W) there; kernels (kH, kW, in, out) here and (out, in, kH, kW) there.


def to_torch(x):
    tensor = torch.tensor(np.asarray(x))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def from_torch(tensor):
    tensor = tensor.detach()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()


def weight_to_torch(W):
    if W.ndim < 6:  # one kernel for each position stays in our layout
        W = np.ascontiguousarray(W.transpose(3, 2, 0, 1) if W.ndim == 4 else W.T)
    return torch.nn.Parameter(torch.tensor(W))


def weight_from_torch(W):
    return (W if W.ndim == 6 else W.permute(2, 3, 1, 0) if W.ndim == 4 else W.T).detach().numpy()


class Twin(torch.nn.Module):
    """The same layer in PyTorch, holding copies of a minifa layer's parameters."""

    def __init__(self, layer):
        super().__init__()
        self.layer, kind = layer, type(layer)
        if isinstance(layer, mf.Weighted):
            self.W = weight_to_torch(layer.W)
            self.b = None if layer.b is None else torch.nn.Parameter(torch.tensor(layer.b))
        elif isinstance(layer, Norm):
            for key, array in layer.parameters().items():
                array = array.transpose(2, 0, 1) if array.ndim == 3 else array
                setattr(self, key, torch.nn.Parameter(torch.tensor(array)))
        if kind is BatchNorm:
            self.mean, self.var = torch.tensor(layer.running_mean), torch.tensor(layer.running_var)
        elif kind is Residual:
            self.body, self.shortcut = (torch.nn.Sequential(*map(Twin, part)) for part in (layer.body, layer.shortcut))

    def forward(self, x):
        layer = self.layer
        match layer:
            case Linear():
                return F.linear(x, self.W, self.b)
            case Conv2d():
                return F.conv2d(x, self.W, self.b, layer.stride, layer.padding, layer.dilation, layer.groups)
            case mf.LocallyConnected2d():
                (p, q), (more_rows, more_columns) = layer.window[2], layer.window[4]
                patches = F.unfold(F.pad(x, (q, q + more_columns, p, p + more_rows)), layer.kernel, stride=layer.stride)
                patches = patches.unflatten(1, (-1, *layer.kernel)).unflatten(4, layer.size)
                y = torch.einsum("ncklij,ijklcd->ndij", patches, self.W)
                return y if self.b is None else y + self.b[:, None, None]
            case BatchNorm():
                gamma, beta = getattr(self, "gamma", None), getattr(self, "beta", None)
                return F.batch_norm(x, self.mean, self.var, gamma, beta, self.training, layer.momentum, layer.eps)
            case mf.LayerNorm():
                of_pixels = x.ndim == 4 and len(layer.normalized_shape) == 1
                shape = x.shape[1:] if x.ndim == 4 and not of_pixels else layer.normalized_shape
                x = x.permute(0, 2, 3, 1) if of_pixels else x
                y = F.layer_norm(x, shape, getattr(self, "gamma", None), getattr(self, "beta", None), layer.eps)
                return y.permute(0, 3, 1, 2) if of_pixels else y
            case mf.GroupNorm():
                gamma, beta = getattr(self, "gamma", None), getattr(self, "beta", None)
                return F.group_norm(x, layer.num_groups, gamma, beta, layer.eps)
            case mf.DivisiveNorm():  # as in the authors' code, in the layout of PyTorch
                c = x.reshape(len(x), layer.num_groups, -1)
                c = c - c.mean(dim=-1, keepdim=True)
                variance = (torch.norm(c, dim=-1, keepdim=True) ** 2 + layer.smoothing) / c.shape[-1]
                return (c / variance**layer.power).reshape(x.shape)
            case mf.GELU():
                return F.gelu(x, approximate=layer.approximate)
            case mf.ELU():
                return F.elu(x, layer.alpha)
            case mf.SiLU():
                return F.silu(x)
            case mf.Softplus():
                return F.softplus(x, layer.beta, layer.threshold)
            case ReLU():
                return F.relu(x)
            case LeakyReLU():
                return F.leaky_relu(x, layer.negative_slope)
            case Tanh():
                return torch.tanh(x)
            case Sigmoid():
                return torch.sigmoid(x)
            case MaxPool():
                return F.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
            case AvgPool():
                return F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)
            case mf.LocalResponseNorm():
                return F.local_response_norm(
                    x if x.ndim > 2 else x[..., None], layer.size, layer.alpha, layer.beta, layer.k
                ).reshape(x.shape)
            case mf.UnitLength():
                return F.rms_norm(x, x.shape[1:], eps=layer.eps)
            case GlobalAvgPool():
                return x.mean(dim=(2, 3))
            case Flatten():
                return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).flatten(1)
            case mf.Dropout():
                return x * to_torch(layer.cache)  # the same mask
            case mf.Vectors():
                return x.unflatten(1, layer.output_shape)
            case mf.VectorLinear():
                y = x @ self.W.T
                return y if self.b is None else y + self.b
            case mf.Gate():
                t_x = (torch.tensor(layer.t) * x).sum(dim=1, keepdim=True)
                return torch.where(t_x >= 0, x, 0.0)
            case mf.PadChannels():
                return F.pad(x, (0, 0, 0, 0, 0, layer.channels - x.shape[1]))
            case Residual():
                return self.body(x) + self.shortcut(x)
        raise NotImplementedError(str(layer))


def twin_of(net):
    return torch.nn.Sequential(*map(Twin, net.layers))


def parameters_of(twin):
    """PyTorch's parameters by minifa's names."""
    modules = [module for module in twin.modules() if isinstance(module, Twin)]
    return {f"{module.layer.name}.{key}": p for module in modules for key, p in module.named_parameters(recurse=False)}


def in_our_layout(name, tensor):
    if name.endswith(".W"):
        return weight_from_torch(tensor)
    return (tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor).detach().numpy()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_forward_backward_and_statistics(name):
    layers, shape = GEOMETRIES[name]
    net, x = network(layers(), shape, input_error=True), inputs(shape, n=4)
    twin = twin_of(net)
    y = net.forward(x, Pass(training=True))
    their_x = to_torch(x).requires_grad_()
    theirs = twin(their_x)
    np.testing.assert_allclose(y, from_torch(theirs), rtol=1e-11, atol=1e-12)

    delta = np.random.default_rng(7).standard_normal(y.shape)
    below = net.backward(delta, BP())
    theirs.backward(to_torch(delta))
    np.testing.assert_allclose(below, from_torch(their_x.grad), rtol=1e-9, atol=1e-12)
    named = parameters_of(twin)
    assert named.keys() == net.parameters().keys()
    for key, gradient in net.gradients().items():
        np.testing.assert_allclose(gradient, in_our_layout(key, named[key].grad), rtol=1e-9, atol=1e-12, err_msg=key)

    for module in twin.modules():
        if isinstance(module, Twin) and isinstance(module.layer, BatchNorm):
            np.testing.assert_allclose(module.layer.running_mean, module.mean, rtol=1e-12)
            np.testing.assert_allclose(module.layer.running_var, module.var, rtol=1e-12)
    if not any(isinstance(layer, mf.Dropout) for layer in net):
        twin.eval()
        np.testing.assert_allclose(net.forward(x), from_torch(twin(to_torch(x))), rtol=1e-11, atol=1e-12)


# --- losses -----------------------------------------------------------------------------------------------------------

CLASSES = np.array([0, 2, 1, 2, 2])
NUMBERS = np.random.default_rng(2).random((5, 3))


@pytest.mark.parametrize(
    "ours, theirs, y",
    [
        (mf.SoftmaxCrossEntropy(), torch.nn.CrossEntropyLoss(), CLASSES),
        (mf.SoftmaxCrossEntropy(0.2), torch.nn.CrossEntropyLoss(label_smoothing=0.2), CLASSES),
        (mf.SoftmaxCrossEntropy(), torch.nn.CrossEntropyLoss(), NUMBERS),
        (
            mf.SoftmaxCrossEntropy(0.1),
            torch.nn.CrossEntropyLoss(label_smoothing=0.1),
            NUMBERS / NUMBERS.sum(1, keepdims=True),
        ),
        (mf.SigmoidCrossEntropy(), torch.nn.BCEWithLogitsLoss(), NUMBERS),
        (mf.MeanSquaredError(), torch.nn.MSELoss(), NUMBERS),
        (mf.HalfSquaredError(), lambda a, t: 0.5 * F.mse_loss(a, t, reduction="sum") / len(a), NUMBERS),
    ],
    ids=[
        "softmax",
        "smoothed",
        "softmax of weights",
        "smoothed probabilities",
        "sigmoid",
        "mean square",
        "half square",
    ],
)
def test_losses(ours, theirs, y):
    output = np.random.default_rng(1).standard_normal((5, 3)) * 5
    values, errors = ours(output, ours.target(y, output))
    tensor = torch.tensor(output, requires_grad=True)
    value = theirs(tensor, torch.tensor(y))
    value.backward()
    np.testing.assert_allclose(values.mean(), value.item(), rtol=1e-12)
    np.testing.assert_allclose(errors / len(output), tensor.grad, rtol=1e-10, atol=1e-15)


# --- optimizers -------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": (mf.SGD(0.1), "SGD", {"lr": 0.1}),
    "sgd, decay": (mf.SGD(0.1, weight_decay=0.05), "SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd, momentum, decay": (
        mf.SGD(0.1, momentum=0.9, weight_decay=0.05),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
    ),
    "sgd, nesterov, decay": (
        mf.SGD(0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
    ),
    "adam": (mf.Adam(), "Adam", {}),
    "adam, all options": (
        mf.Adam(0.02, (0.8, 0.95), 1e-3, weight_decay=0.05),
        "Adam",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.05},
    ),
    "adamw": (mf.AdamW(), "AdamW", {}),
    "adamw, all options": (
        mf.AdamW(0.02, (0.8, 0.95), 1e-3, weight_decay=0.5),
        "AdamW",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.5},
    ),
    "rmsprop": (mf.RMSprop(), "RMSprop", {}),
    "rmsprop, all options": (
        mf.RMSprop(0.02, 0.9, 1e-3, weight_decay=0.05, momentum=0.8),
        "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.05, "momentum": 0.8},
    ),
}


def a_net():
    return network(
        [
            Conv2d(2, 4, 3, padding=1),
            BatchNorm(4),
            ReLU(),
            MaxPool(2),
            Residual([Conv2d(4, 4, 3, padding=1), BatchNorm(4), Tanh(), Conv2d(4, 4, 3, padding=1)]),
            LeakyReLU(),
            Residual([Conv2d(4, 5, 3, stride=2, padding=1)], [Conv2d(4, 5, 1, stride=2)]),
            Sigmoid(),
            AvgPool(2, stride=1, padding=1),
            Flatten(),
            Linear(45, 3),
        ],
        (8, 8, 2),
    )


def follow(net, optimizer, their_optimizer, steps, clip=None, schedules=None, loss=None, group=None):
    """Train both for ``steps`` steps, compare all parameters, and return the two lists of losses."""
    twin, rule = twin_of(net), mf.rules.BP().attach(net)
    groups = [{"params": [one], **group(key)} for key, one in parameters_of(twin).items()] if group else None
    theirs = getattr(torch.optim, their_optimizer[0])(groups or twin.parameters(), **their_optimizer[1])
    loss = loss or mf.SoftmaxCrossEntropy()
    rng = np.random.default_rng(11)
    rows = ([], [])
    ours_schedule, their_schedule = schedules(theirs) if schedules else (None, None)
    base = optimizer.lr
    for step in range(steps):
        x, y = rng.standard_normal((6, *net.input_shape)), rng.integers(0, 3, 6)
        if ours_schedule:
            optimizer.lr = base * ours_schedule(step)
        rows[0].append(float(rule.gradients(net, x, y, loss)))
        optimizer.step(net, rule)
        theirs.zero_grad()
        value = F.cross_entropy(twin(to_torch(x)), torch.tensor(y))
        value.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
        theirs.step()
        if their_schedule:
            their_schedule.step()
        rows[1].append(value.item())
    named = parameters_of(twin)
    for key, array in net.parameters().items():
        np.testing.assert_allclose(array, in_our_layout(key, named[key]), rtol=1e-7, atol=1e-9, err_msg=key)
    return rows


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_make_the_same_steps(name):
    optimizer, *theirs = OPTIMIZERS[name]
    rows = follow(network([Linear(5, 6), Tanh(), Linear(6, 3)], (5,)), optimizer, theirs, steps=20)
    np.testing.assert_allclose(*rows, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if "decay" in name or "all" in name])
def test_parameter_groups(name):
    """Biases, gamma and beta without decay, and three rates."""
    base, kind, options = OPTIMIZERS[name]
    arguments = {key: getattr(base, key) for key in (*options, "lr", "weight_decay")}
    ours = type(base)(**arguments, decay_bias=False, lr_factors={"linear1": 0.5, "*.b": 0.25, "batch*.gamma": 0})

    def group(key):
        layer, array = key.split(".")
        factor = (0.5 if layer == "linear1" else 1) * (0.25 if array == "b" else 1) * (array != "gamma")
        return {"lr": base.lr * factor, "weight_decay": base.weight_decay if array == "W" else 0.0}

    net = network([Linear(5, 6), BatchNorm(6), Tanh(), Linear(6, 3)], (5,))
    follow(net, ours, (kind, options), steps=10, group=group)
    assert ours.lr == base.lr and ours.weight_decay == base.weight_decay


@pytest.mark.parametrize("clip", [0.05, 1e3], ids=["clipped", "not reached"])
def test_clipping_by_the_joint_norm(clip):
    net = network([Linear(5, 6), Tanh(), Linear(6, 3)], (5,))
    follow(net, mf.SGD(0.1, momentum=0.5, clip_norm=clip), ("SGD", {"lr": 0.1, "momentum": 0.5}), steps=10, clip=clip)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (mf.schedules.step_decay(3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
        (mf.schedules.multi_step([2, 5, 6], 0.3), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 5, 6], 0.3)),
        (mf.schedules.cosine(10), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10)),
        (
            mf.schedules.cosine(10, least=0.25),
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10, eta_min=0.025),
        ),
        (
            mf.schedules.make("warm_up:epochs=3 then cosine:epochs=5 then multi_step:milestones=1"),
            lambda o: torch.optim.lr_scheduler.SequentialLR(
                o,
                [
                    torch.optim.lr_scheduler.LinearLR(o, 1e-12, total_iters=3),  # it refuses a factor of 0
                    torch.optim.lr_scheduler.CosineAnnealingLR(o, 5),
                    torch.optim.lr_scheduler.MultiStepLR(o, [1]),
                ],
                [3, 8],
            ),
        ),
    ],
    ids=["step", "multi_step", "cosine", "cosine to a least rate", "one after another"],
)
def test_schedules(ours, theirs):
    net = network([Linear(5, 3)], (5,))
    follow(net, mf.SGD(0.1), ("SGD", {"lr": 0.1}), steps=10, schedules=lambda optimizer: (ours, theirs(optimizer)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 0},
        {"factor": 0.5, "patience": 2, "cooldown": 3, "threshold": 0.05, "min_lr": 0.02},
        {"factor": 0.7, "patience": 1, "cooldown": 1, "threshold": 0.2, "threshold_mode": "abs"},
    ],
)
@pytest.mark.parametrize("measure", ["train_loss", "validation_accuracy"])
def test_the_rate_is_reduced_on_the_same_plateaus(options, measure):
    """On a noisy measure that stops to improve, with a NaN."""
    rng = np.random.default_rng(5)
    course = np.exp(-np.arange(60) / 8) + 0.05 * rng.standard_normal(60)
    values = np.where(np.arange(60) == 4, np.nan, course if measure == "train_loss" else 1 - course).tolist()
    theirs = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    mode = "min" if measure == "train_loss" else "max"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode, **options)
    ours = {key: value for key, value in options.items() if key != "min_lr"}
    schedule = mf.schedules.reduce_on_plateau(**ours, least=options.get("min_lr", 0) / 0.1, measure=measure)
    rows = [{"epoch": epoch, measure: value} for epoch, value in enumerate(values, start=1)]
    rates = []
    for epoch in range(60):
        rates.append(theirs.param_groups[0]["lr"])
        assert 0.1 * schedule(epoch, rows[:epoch]) == pytest.approx(rates[-1], rel=1e-12, abs=2e-8)  # they skip 1e-8
        scheduler.step(values[epoch])
    assert len(set(rates)) >= 2


def test_a_convolutional_net_agrees_with_pytorch_for_ten_steps():
    rows = follow(
        a_net(),
        mf.SGD(0.1, momentum=0.9, weight_decay=1e-3),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}),
        10,
    )
    np.testing.assert_allclose(*rows, rtol=1e-9)
    assert max(rows[0]) - min(rows[0]) > 0.1, "nothing was learnt, so nothing was compared"


def test_resnet20_is_pytorch_s_to_the_input():
    net = network(mf.models.resnet20((8, 8, 3), 10), (8, 8, 3), input_error=True)
    x, c = inputs((8, 8, 3), n=4), np.random.default_rng(0).standard_normal((4, 10))
    y = net.forward(x, Pass(training=True))
    twin, images = twin_of(network(mf.models.resnet20((8, 8, 3), 10), (8, 8, 3))).train(), to_torch(x).requires_grad_()
    theirs = twin(images)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-8, atol=1e-10)
    (theirs * torch.tensor(c)).sum().backward()
    below = net.backward(c, mf.rules.BP())
    np.testing.assert_allclose(below, from_torch(images.grad), rtol=1e-6, atol=1e-9)


def test_default_initialisation_of_pytorch():
    """Both uniform within 1/sqrt(fan_in): the largest entries and the spread must agree."""
    ours, theirs = Conv2d(32, 64, 3, init="torch").W, torch.nn.Conv2d(32, 64, 3).weight
    limit = 1 / math.sqrt(9 * 32)
    assert limit * 0.999 < abs(ours).max() <= limit and abs(theirs).max().item() <= limit * (1 + 1e-6)
    assert abs(ours.std() / theirs.std().item() - 1) < 0.03
