"""Weights are exported to PyTorch and imported again with equal outputs and bits; a damaged file is refused."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Network,
    Pass,
    ReLU,
    Residual,
    cli,
    weights,
)
from minifa.data.base import DataFileError
from minifa.experiments import Experiment, resume, run, sweeps
from minifa.experiments.run_folder import open_run
from minifa.testing.examples import inputs, network

SHAPE = (8, 10, 2)  # height and width differ, so that a swap of the two is detected


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the exchange with PyTorch needs the package torch")


@pytest.fixture
def safetensors():
    return pytest.importorskip("safetensors.numpy", reason="safetensors files need the package safetensors")


def convnet(seed=0):
    """The Flatten is followed by layers without parameters, a batch norm of its pixels, and the linear layer."""
    return network(
        [
            Conv2d(2, 3, 3, padding=1),
            BatchNorm(3),
            ReLU(),
            MaxPool(2),
            Conv2d(3, 4, (3, 1), bias=False),
            Flatten(),
            ReLU(),
            Dropout(0.3),
            BatchNorm(40),
            Linear(40, 6),
            BatchNorm(6),
            ReLU(),
            Linear(6, 3),
        ],
        SHAPE,
        seed,
    )


def torch_convnet(torch):
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, (3, 1), bias=False),
        nn.Flatten(),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.BatchNorm1d(40),
        nn.Linear(40, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )
    return with_own_statistics(torch, net, SHAPE)


def with_own_statistics(torch, net, shape):
    """Moves the parameters and statistics of every batch norm away from their initial values."""
    torch.manual_seed(3)
    for name, array in net.state_dict().items():
        if "running" in name or (array.ndim == 1 and array.is_floating_point()):
            array.copy_(0.5 + torch.rand(array.shape))
    net.train()
    for _ in range(2):
        net(torch.randn(6, shape[2], *shape[:2]))
    return net.eval()


def outputs_there(torch, net, x):
    with torch.no_grad():
        return net(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()


def state_of(net):
    return {name: array.numpy().copy() for name, array in net.state_dict().items() if "num_batches" not in name}


def test_a_pytorch_cnn_is_imported_and_exported(torch):
    theirs, ours, x = torch_convnet(torch), convnet(), inputs(SHAPE, n=5)
    weights.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-5, atol=1e-5)

    names = weights.match(ours, theirs.state_dict())
    back = weights.to_torch(ours, names)
    assert_same_bits(state_of(theirs), back)
    fresh = torch_convnet(torch)
    torch.manual_seed(9)
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter)
    fresh.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()})
    assert_same_bits(state_of(theirs), state_of(fresh))


def test_minifa_weights_give_the_same_outputs_in_pytorch(torch):
    ours, theirs, x = convnet(seed=4), torch_convnet(torch), inputs(SHAPE, n=5)
    ours.forward(inputs(SHAPE, n=6, seed=2), Pass(training=True))
    state = weights.to_torch(ours, weights.match(ours, theirs.state_dict()))
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-5, atol=1e-5)


def test_without_the_flattened_order_the_outputs_differ(torch):
    """The permutation after the Flatten has an effect in the tests above."""
    theirs, ours, x = torch_convnet(torch), convnet(), inputs(SHAPE, n=5)
    weights.from_torch(ours, theirs.state_dict())
    ours["linear1"].W = theirs.state_dict()["9.weight"].numpy().T
    assert abs(ours.forward(x) - outputs_there(torch, theirs, x)).max() > 1e-2


@pytest.mark.parametrize("to_file", [False, True], ids=["state dict", "file"])
def test_resnet20_is_imported_and_exported_against_the_twin_of_the_bench(torch, safetensors, tmp_path, to_file):
    from minifa.bench import torch_steps

    shape = (32, 32, 3)
    theirs = with_own_statistics(torch, torch_steps.network("resnet20"), shape)
    ours, x = Network(mf.models.resnet20(shape, 10), input_shape=shape), inputs(shape, n=2)
    if to_file:
        import safetensors.torch

        safetensors.torch.save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
        weights.load(ours, tmp_path / "resnet.safetensors")
    else:
        weights.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-4, atol=1e-5)
    assert_same_bits(state_of(theirs), weights.to_torch(ours, weights.match(ours, theirs.state_dict())))

    ours = network(mf.models.resnet20(shape, 10), shape, seed=7)
    names = weights.match(ours, theirs.state_dict())
    if to_file:
        weights.save(ours, tmp_path / "ours.safetensors", layout="torch", names=names)
        theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "ours.safetensors"))
    else:
        theirs.load_state_dict({key: torch.from_numpy(a) for key, a in weights.to_torch(ours, names).items()})
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, shape", [("lenet", (32, 32, 1)), ("lenet_cifar", (32, 32, 3))])
def test_the_lenets_of_biotorch_are_those_of_minifa(torch, name, shape):
    biotorch = importlib.util.find_spec("biotorch")
    if biotorch is None:
        pytest.skip("compares with BioTorch's models")
    folder = Path(biotorch.submodule_search_locations[0])  # the file alone: its package requires torchvision
    spec = importlib.util.spec_from_file_location("le_net", folder / "models" / "le_net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = {"lenet": module.LeNetMNIST, "lenet_cifar": module.LeNetCIFAR}[name]().eval()
    ours, x = Network(mf.models.MODELS[name](shape, 10), input_shape=shape), inputs(shape, n=3)
    assert sum(p.numel() for p in theirs.parameters()) == sum(a.size for a in ours.parameters().values())
    weights.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-4, atol=1e-5)


def test_alexnet_and_all_cnn_c_equal_their_twins_in_pytorch(torch):
    nn, shape = torch.nn, (32, 32, 3)
    alexnet = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    convolutions = [
        (3, 96, 3, 1, 1), (96, 96, 3, 1, 1), (96, 96, 3, 2, 1), (96, 192, 3, 1, 1), (192, 192, 3, 1, 1),
        (192, 192, 3, 2, 1), (192, 192, 3), (192, 192, 1), (192, 10, 1),
    ]  # fmt: skip
    each = [one for sizes in convolutions for one in (nn.Conv2d(*sizes), nn.ReLU())]
    for name, theirs in (("alexnet", alexnet), ("allconv", nn.Sequential(*each, nn.AvgPool2d(6), nn.Flatten()))):
        ours, x = Network(mf.models.MODELS[name](shape, 10), input_shape=shape), inputs(shape, n=2)
        weights.from_torch(ours, theirs.state_dict())
        np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-4, atol=1e-5)


def torchvision_s_resnet18(torch, stem):
    """Its modules in its order, under its names."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, below, width):
            super().__init__()
            stride = width // below
            self.conv1, self.bn1 = nn.Conv2d(below, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            projection = [nn.Conv2d(below, width, 1, stride, bias=False), nn.BatchNorm2d(width)]
            self.downsample = nn.Sequential(*(projection if stride > 1 else []))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.downsample(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            small = stem == "small"
            self.conv1 = nn.Conv2d(3, 64, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
            self.bn1, self.maxpool = nn.BatchNorm2d(64), nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
            widths = (64, 64, 128, 256, 512)
            for i in range(4):
                stage = nn.Sequential(Block(widths[i], widths[i + 1]), Block(widths[i + 1], widths[i + 1]))
                setattr(self, f"layer{i + 1}", stage)
            self.fc = nn.Linear(512, 10)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3)))

    return Net()


@pytest.mark.long
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_resnet18_equals_torchvision_s_module_by_module(torch, stem):
    shape = (32, 32, 3)
    theirs = with_own_statistics(torch, torchvision_s_resnet18(torch, stem), shape)
    ours, x = Network(mf.models.resnet18(shape, 10, stem=stem), input_shape=shape), inputs(shape, n=2)
    names = weights.match(ours, theirs.state_dict())
    assert names["layer2.0.downsample.0"] == "residual3.shortcut.conv1" and names["fc"] == "linear1"
    weights.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-4, atol=1e-4)


# --- which module is which layer --------------------------------------------------------------------------------------


def linear_state(*names, sizes=((4, 4), (4, 4))):
    rng = np.random.default_rng(1)
    state = {}
    for name, (n_in, n_out) in zip(names, sizes, strict=True):
        state[f"{name}.weight"] = rng.standard_normal((n_out, n_in)).astype("float32")
        state[f"{name}.bias"] = rng.standard_normal(n_out).astype("float32")
    return state


def two_linear():
    return Network([Linear(4, 4), ReLU(), Linear(4, 4)])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "modules, expected",
    [
        (("fc1", "fc2"), ("fc1", "fc2")),
        (("fc2", "fc1"), ("fc1", "fc2")),  # in either order of definition
        (("conv2_1", "conv1_10"), ("conv1_10", "conv2_1")),
        (("10", "2"), ("2", "10")),  # numbers give the order, however they were sorted
        (("body.10", "body.9"), ("body.9", "body.10")),
        (("linear2", "linear1"), ("linear1", "linear2")),  # equal names
        (("net.linear2", "net.linear1"), ("net.linear1", "net.linear2")),
    ],
)
def test_modules_of_equal_shapes_are_matched_to_layers_by_name_or_number(modules, expected):
    assert weights.match(two_linear(), linear_state(*modules)) == dict(
        zip(expected, ("linear1", "linear2"), strict=True)
    )


@pytest.mark.parametrize("modules", [("hidden", "classifier"), ("out", "hid"), ("fc", "fc1"), ("a.0", "b.0")])
@pytest.mark.parametrize("to_file", [False, True], ids=["state dict", "file"])
def test_layers_of_equal_shapes_are_not_swapped_silently(safetensors, tmp_path, modules, to_file):
    net, state = two_linear(), linear_state(*modules)
    before = net.state()
    safetensors.save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="is ambiguous: their names do not determine it") as error:
        weights.load(net, tmp_path / "net.safetensors") if to_file else weights.from_torch(net, state)
    assert all(name in str(error.value) for name in (*modules, "give names={", "--weights-names"))
    assert_same_bits(before, net.state())
    weights.from_torch(net, state, {modules[0]: "linear2", modules[1]: "linear1"})
    np.testing.assert_array_equal(net["linear2"].b, state[f"{modules[0]}.bias"])


def test_a_block_and_a_layer_of_equal_shapes_are_not_swapped_silently():
    net, state = (
        Network([Linear(4, 4), Linear(4, 4), Linear(4, 4)]),
        linear_state("b", "a.0", "a.1", sizes=[(4, 4)] * 3),
    )
    with pytest.raises(ValueError, match="the order of the PyTorch modules .* is ambiguous"):
        weights.from_torch(net, state)


def test_different_shapes_give_the_order_whatever_the_names(safetensors, tmp_path):
    """As in the LeNet of PyTorch's tutorial, whose names a file has in another order than the layers."""

    def lenet(seed):
        dense = [Linear(16, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, 9)]
        return network([Conv2d(1, 6, 5), ReLU(), Conv2d(6, 16, 5), Flatten(), *dense], (9, 9, 1), seed)

    net, other = lenet(0), lenet(1)
    names = {"conv1": "conv1", "second": "conv2", "body.0": "linear1", "body.2": "linear2", "fc": "linear3"}
    state = weights.to_torch(net, names)
    safetensors.save_file(state, tmp_path / "lenet.safetensors")
    weights.load(other, tmp_path / "lenet.safetensors")
    assert_same_bits(net.state(), other.state())
    assert weights.match(net, dict(reversed(state.items()))) == names


def test_an_order_that_a_file_does_not_give_is_not_guessed(torch, safetensors, tmp_path):
    """ResNet-18 with its norms before the convolutions has the same shapes in the same order."""
    import safetensors.torch

    theirs, shape = torchvision_s_resnet18(torch, "small"), (32, 32, 3)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")  # sorted: bn1, conv1, fc, ...
    ours, other = (Network(mf.models.resnet18(shape, 10, stem="small"), input_shape=shape) for _ in range(2))
    with pytest.raises(
        ValueError, match=r"resnet\.safetensors': the order of the PyTorch modules .*bn1, .* is ambiguous"
    ):
        weights.load(ours, tmp_path / "resnet.safetensors")
    names = weights.match(ours, theirs.state_dict())
    weights.load(ours, tmp_path / "resnet.safetensors", names)
    weights.from_torch(other, theirs)
    assert_same_bits(ours.state(), other.state())


def test_the_search_for_an_order_is_bounded():
    """Twelve blocks that begin with equal shapes have 479,001,600 possible orders, none of which fits."""
    names = [f"{block}.{i}" for block in "abcdefghijkl" for i in range(2)]
    state = changed(linear_state(*names, sizes=[(4, 4)] * 24), l__1__bias=None)
    net = Network([Linear(4, 4, bias=i != 22) for i in range(24)])
    started = time.perf_counter()
    with pytest.raises(ValueError, match="cannot be determined from their names: give names="):
        weights.match(net, state)
    with pytest.raises(ValueError, match="a module's name must have at most 100 parts, got 50,000") as error:
        weights.match(Network([Linear(4, 4)]), {"a." * 50_000 + "weight": np.ones((4, 4))})
    assert len(str(error.value)) < 200
    assert time.perf_counter() - started < 5


WRAPPED = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."]


@pytest.mark.parametrize("prefix", WRAPPED)
@pytest.mark.parametrize("layout", ["minifa", "torch", "torch's own names"])
def test_prefixes_of_wrappers_are_removed_from_the_names(safetensors, tmp_path, prefix, layout):
    net, other = convnet(seed=1), convnet(seed=2)
    net.forward(inputs(SHAPE, n=6), Pass(training=True))
    own = {"torch's own names": {str(i): layer.name for i, layer in enumerate(net.layers) if layer.parameter_names}}
    state = net.state() if layout == "minifa" else weights.to_torch(net, own.get(layout))
    path = tmp_path / "wrapped.safetensors"
    safetensors.save_file({f"{prefix}{name}": array for name, array in state.items()}, path)
    weights.load(other, path)
    assert_same_bits(net.state(), other.state())
    if layout != "minifa":
        third = convnet(seed=3)
        weights.from_torch(third, {f"{prefix}{name}": array for name, array in state.items()})
        assert_same_bits(net.state(), third.state())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_user_defined_names_may_include_the_removed_prefix(prefix):
    net, state = two_linear(), linear_state("module.a", "module.b")
    weights.from_torch(net, state, {f"{prefix}b": "linear1", f"{prefix}a": "linear2"})
    np.testing.assert_array_equal(net["linear2"].W, state["module.a.weight"].T)


def test_only_a_prefix_of_every_name_is_removed():
    net, state = two_linear(), {**linear_state("module.0", "head")}
    weights.from_torch(net, state, {"module.0": "linear1", "head": "linear2"})
    single = Network([Linear(2, 3)])  # the whole model is one wrapped layer
    weights.from_torch(single, {"module.weight": np.ones((3, 2)), "module.bias": np.zeros(3)}, {"module": "linear1"})
    weights.from_torch(single, {"module.weight": np.zeros((3, 2)), "module.bias": np.zeros(3)})
    assert not single["linear1"].W.any()


def test_a_module_is_accepted_directly(torch):
    theirs, ours, other = torch_convnet(torch), convnet(), convnet(seed=5)
    weights.from_torch(ours, theirs.state_dict())
    weights.from_torch(other, theirs)
    assert_same_bits(ours.state(), other.state())
    assert weights.match(ours, theirs) == weights.match(ours, theirs.state_dict())
    third = convnet(seed=6)
    weights.from_torch(third, torch.nn.DataParallel(theirs))
    weights.from_torch(convnet(seed=7), torch.compile(theirs, backend="eager"))
    assert_same_bits(ours.state(), third.state())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("w.pth", "must be a PyTorch module or its state dict, got 'w.pth'"),
        (None, "must be a PyTorch module or its state dict"),
        ([np.ones(3)], "must be a PyTorch module or its state dict"),
        ({1: np.ones(3)}, "keys of a state dict must be str, got 1"),
        (
            {"state_dict": {"0.weight": 1}, "epoch": 3},
            r"'state_dict' must be an array, got a dictionary: give state\['state_dict'\]",
        ),
    ],
)
def test_an_object_that_is_not_a_state_dict_is_refused(state, message):
    for call in (weights.from_torch, weights.match):
        with pytest.raises((TypeError, ValueError), match=message):
            call(two_linear(), state)


def test_user_defined_names_take_precedence(safetensors, tmp_path):
    net, state = two_linear(), linear_state("a", "b")
    weights.from_torch(net, state, {"a": "linear2", "b": "linear1"})
    np.testing.assert_array_equal(net["linear2"].W, state["a.weight"].T)
    np.testing.assert_array_equal(net["linear1"].b, state["b.bias"])

    safetensors.save_file(state, tmp_path / "sorted.safetensors")
    other = two_linear()
    with pytest.raises(
        ValueError, match=r"sorted\.safetensors.*the order of the PyTorch modules a, b is ambiguous.* give names="
    ):
        weights.load(other, tmp_path / "sorted.safetensors")
    weights.load(other, tmp_path / "sorted.safetensors", {"a": "linear2", "b": "linear1"})
    assert_same_bits(net.state(), other.state())


def test_a_single_module_without_a_name_is_accepted():
    net = Network([Linear(2, 3)])
    weights.from_torch(net, {"weight": np.ones((3, 2)), "bias": np.zeros(3)})
    assert weights.to_torch(net, {"": "linear1"}).keys() == {"weight", "bias"}


def changed(state, **changes):
    """A state with some entries replaced, or removed where None."""
    state = {**state, **{key.replace("__", "."): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


STATE = linear_state("0", "2")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "state, names, complaint",
    [
        (linear_state("0", "2", "4", sizes=((4, 4),) * 3), None, r"got 3 modules \(0, 2, 4\) and 2 layers"),
        (changed(STATE, **{"2__bias": None}), None, "missing '2.bias', unexpected nothing"),
        (changed(STATE, **{"2__running_mean": np.zeros(4)}), None, "missing nothing, unexpected '2.running_mean'"),
        (
            linear_state("0", "2", sizes=((4, 4), (4, 5))),
            None,
            r"'2.weight' must have the shape \(4, 4\), because 'linear2.W' has \(4, 4\) in minifa, got \(5, 4\)",
        ),
        (changed(STATE, **{"0__weight": np.full((4, 4), np.nan)}), None, "'linear1.W' of .* must hold finite numbers"),
        (STATE, {"0": "linear1"}, r"every layer with weights once: missing \['linear2'\], unknown nothing"),
        (STATE, {"0": "linear1", "2": "relu1"}, r"missing \['linear2'\], unknown \['relu1'\]"),
        (STATE, {"0": "linear1", "1": "linear1", "2": "linear2"}, "every layer with weights once"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(state, names, complaint):
    net = two_linear()
    before = net.state()
    with pytest.raises(ValueError, match=complaint):
        weights.from_torch(net, state, names)
    assert_same_bits(before, net.state())


@pytest.mark.usefixtures("engine")
def test_flattened_inputs_need_the_shape_of_the_image():
    net = Network([Conv2d(1, 2, 3), Flatten(), Linear(8, 2)])
    with pytest.raises(
        ValueError, match="the input shape of Flatten 'flatten1' is not known: create the network with input_sh"
    ):
        weights.to_torch(net)
    block = Network([Conv2d(1, 2, 3), Flatten(), Residual([Linear(8, 8)])], input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="Residual 'residual1' takes a flattened image"):
        weights.to_torch(block)


def test_a_flattened_map_of_one_pixel_has_one_order():
    net = Network([Conv2d(1, 4, 3), Flatten(), Residual([Linear(4, 4)]), Linear(4, 2)], input_shape=(3, 3, 1))
    np.testing.assert_array_equal(weights.to_torch(net)["linear1.weight"], net["linear1"].W.T)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["minifa", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_network_is_loaded_bit_for_bit(safetensors, tmp_path, layout, dtype):
    with mf.using("numpy", dtype):
        net, other = convnet(seed=1), convnet(seed=2)
        net.forward(inputs(SHAPE, n=6), Pass(training=True))
        weights.save(net, tmp_path / "net.safetensors", layout)
        weights.load(other, tmp_path / "net.safetensors")
    assert_same_bits(net.state(), other.state())
    assert other.state()["linear1.W"].dtype == dtype
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_the_file_is_plain_safetensors(safetensors, tmp_path):
    net = two_linear()
    weights.save(net, tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.pop("__metadata__") == {"format": "minifa"}
    assert {name: tuple(one["shape"]) for name, one in header.items()} == {k: a.shape for k, a in net.state().items()}


def test_a_failed_write_leaves_the_old_file(safetensors, tmp_path, monkeypatch):
    net, path = two_linear(), tmp_path / "net.safetensors"
    weights.save(net, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        weights.save(Network([Linear(1, 1)]), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("engine")
def test_files_that_are_not_weights_are_refused_and_nothing_changes(safetensors, tmp_path):
    net = two_linear()
    before = net.state()
    path = tmp_path / "net.safetensors"
    with pytest.raises(FileNotFoundError, match="net.safetensors"):
        weights.load(net, path)
    weights.save(net, path)
    whole = path.read_bytes()
    for content in (b"", b"no weights at all", whole[:-5], whole[:20]):
        path.write_bytes(content)
        with pytest.raises(DataFileError, match=r"net\.safetensors' cannot be read as safetensors"):
            weights.load(net, path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"net\.safetensors.*: the state does not belong to this network"):
        weights.load(Network([Linear(4, 4)]), path)
    with pytest.raises(ValueError, match="names are only for weights in PyTorch's layout"):
        weights.load(net, path, {"0": "linear1", "2": "linear2"})
    with pytest.raises(ValueError, match="layout must be 'minifa', or 'torch' .*, got 'keras'"):
        weights.save(net, path, layout="keras")
    assert_same_bits(before, net.state())


def test_a_file_of_torch_save_is_refused_with_the_code_that_converts_it(torch, safetensors, tmp_path):
    shared = torch.randn(4, 4).t()  # not contiguous, and shared: safetensors accepts neither directly
    state = {"0.weight": shared, "0.bias": torch.ones(4), "2.weight": shared, "2.bias": torch.zeros(4)}
    net = two_linear()
    for name, zipped in (("older.ckpt", False), ("renamed.safetensors", True), ("it's.pth", True)):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(DataFileError, match="looks like a file of torch.save: a pickle, which could") as error:
            weights.load(net, tmp_path / name)
    line = str(error.value).partition("convert it once, in a Python environment with PyTorch: ")[2]
    subprocess.run(
        [sys.executable, "-c", line], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    weights.load(net, (tmp_path / name).with_suffix(".safetensors"))
    np.testing.assert_array_equal(net["linear2"].W, shared.numpy().T)


def test_an_unreadable_file_is_recognised_as_pytorch_s_by_its_name_or_first_bytes(safetensors, tmp_path):
    for name, content in (
        ("w.pth", b""),
        ("w.bin", b"no weights"),
        ("w.safetensors", b"\x80\x02}q\x00."),
        ("w", b"\x80\4"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFileError, match=r"torch\.save"):
            weights.load(two_linear(), tmp_path / name)
    weights.save(two_linear(), tmp_path / "ours.pth")  # the content decides, not the name
    weights.load(two_linear(), tmp_path / "ours.pth")


NARROW = {"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}


def every_number(torch, name):
    """Every bit pattern of the type that is a finite number, as a tensor of two columns."""
    patterns = torch.arange(1 << 16).to(torch.uint16) if name == "bfloat16" else torch.arange(256, dtype=torch.uint8)
    numbers = patterns.view(getattr(torch, name))
    return numbers[torch.isfinite(numbers.float())].reshape(-1, 2)


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("to_file", [False, True], ids=["state dict", "file"])
def test_types_that_numpy_lacks_are_converted_as_by_pytorch_bit_for_bit(torch, safetensors, tmp_path, name, to_file):
    import safetensors.torch

    numbers = every_number(torch, name)
    state = {"0.weight": numbers, "0.bias": torch.zeros(len(numbers), dtype=torch.float64)}
    net = Network([Linear(2, len(numbers))])
    if to_file:
        safetensors.torch.save_file(state, tmp_path / "narrow.safetensors")
        assert weights.read(tmp_path / "narrow.safetensors")[0]["0.weight"].dtype == np.float32
        weights.load(net, tmp_path / "narrow.safetensors")
    else:
        weights.from_torch(net, state)
    expected = numbers.float().numpy().T
    np.testing.assert_array_equal(net["linear1"].W.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32))


def safetensors_file(path, **tensors):
    """A file of tensors given as (type, shape, bytes)."""
    header, at = {}, 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(content)]}
        at += len(content)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(content for _, _, content in tensors.values()))


def test_narrow_floats_are_read_without_pytorch(safetensors, tmp_path):
    """Values written by hand: those that are not finite, the smallest numbers, both zeros."""
    path = tmp_path / "narrow.safetensors"
    bits = np.array([0x3FC0, 0xC000, 0x0001, 0x8000, 0x7F80, 0x7FC0], "<u2")
    e4m3, e5m2 = bytes((0x38, 0xC4, 0x01, 0x80, 0x7E, 0x7F)), bytes((0x3E, 0xC2, 0x01, 0x80, 0x7C, 0x7F))
    safetensors_file(
        path,
        a=("BF16", [6], bits.tobytes()),
        b=("F8_E4M3", [2, 3], e4m3),
        c=("F8_E5M2", [6], e5m2),
        d=("F32", [0], b""),
    )
    arrays, _ = weights.read(path)
    expected = {
        "a": [1.5, -2, 2.0**-133, -0.0, np.inf, np.nan],
        "b": [[1, -3, 2.0**-9], [-0.0, 448, np.nan]],
        "c": [1.5, -3, 2.0**-16, -0.0, np.inf, np.nan],
        "d": [],
    }
    for name, numbers in expected.items():
        np.testing.assert_array_equal(arrays[name], np.array(numbers, "f4"))
        np.testing.assert_array_equal(np.signbit(arrays[name]), np.signbit(np.array(numbers, "f4")))


def test_other_types_are_refused_by_name(safetensors, tmp_path):
    path = tmp_path / "odd.safetensors"
    for dtype, content in (("F8_E8M0", b"\x7f"), ("C64", bytes(8))):
        safetensors_file(path, x=(dtype, [1], content))
        known = f"the dtype of 'x' must be one of F64,.* got {dtype}"  # old packages refuse the header
        with pytest.raises(DataFileError, match=f"odd.safetensors.*({known}|deserializing header)"):
            weights.read(path)


def test_tensors_without_plain_numbers_are_refused(torch):
    net = Network([Linear(2, 3)])
    before = net.state()
    for weight in (torch.ones(3, 2, dtype=torch.complex64), torch.empty(3, 2, device="meta")):
        with pytest.raises(TypeError, match="'0.weight' "):
            weights.from_torch(net, {"0.weight": weight, "0.bias": torch.zeros(3)})
    assert_same_bits(before, net.state())


@pytest.mark.usefixtures("engine")
def test_without_the_package_the_message_names_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(
        ImportError, match=r'require the package safetensors: pip install "\.\[safetensors\]" in the folder'
    ):
        weights.save(two_linear(), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


# --- in an experiment -------------------------------------------------------------------------------------------------


def small_experiment(**options):
    return Experiment(data="xor", model="mlp", model_options={"hidden": (4,)}, lr=0.1, epochs=1, **options)


def test_an_experiment_starts_from_the_file_and_its_rule_uses_those_weights(safetensors, tmp_path):
    path = str(tmp_path / "start.safetensors")
    _, trained = run(small_experiment(seed=3))
    weights.save(trained.net, path)
    _, trainer = run(small_experiment(weights=path, rule="usf:scale=init"))
    kept = trainer.rule.memory["linear2/start_norm"].item()
    assert kept == pytest.approx(np.linalg.norm(trained.net["linear2"].W), rel=1e-6)
    _, trainer = run(small_experiment(weights=path, freeze="linear1"))
    np.testing.assert_array_equal(trainer.net["linear1"].W, trained.net["linear1"].W)
    assert (trainer.net["linear2"].W != trained.net["linear2"].W).any()
    with pytest.raises(
        ValueError, match=r"start\.safetensors.*'linear1\.W' of this network must have shape \(2, 500\)"
    ):
        run(Experiment(data="xor", model="mlp", weights=path))


def test_the_command_line_accepts_weights_and_layers_to_freeze(safetensors, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = ["--data", "xor", "--model", "mlp", "--hidden", "4"]
    start = Network(mf.models.mlp((2,), 2, hidden=(4,)), seed=8)
    weights.save(start, "start.safetensors")
    command = ["train", *network, "--epochs", "2", "--lr", "0.1", "--out", "run"]
    assert cli.main([*command, "--weights", "start.safetensors", "--freeze", "linear1"]) == 0
    assert "Linear, frozen" in capsys.readouterr().out
    os.remove("start.safetensors")  # a finished run does not need it
    net, _, experiment = open_run("run")
    assert experiment.freeze == "linear1" and experiment.weights == "start.safetensors"
    np.testing.assert_array_equal(net["linear1"].W, start["linear1"].W)
    assert net["linear1"].frozen and (net["linear2"].W != start["linear2"].W).any()

    assert cli.main([*command, "--freeze", "linear7"]) == 2
    assert "unknown layer to freeze 'linear7': did you mean" in capsys.readouterr().err
    assert cli.main([*command, "--weights", "start.safetensors"]) == 1
    assert "start.safetensors" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["run"]


@pytest.fixture
def nameless(safetensors, tmp_path, monkeypatch):
    """A network of two equal layers, and a file of its weights whose names give no order in the current folder."""
    monkeypatch.chdir(tmp_path)
    net = Network(mf.models.mlp((2,), 2, hidden=(2,)), seed=8)
    safetensors.save_file(weights.to_torch(net, {"zeta": "linear1", "alpha": "linear2"}), "start.safetensors")
    Path("names.json").write_text('{"module.zeta": "linear1", "module.alpha": "linear2"}', encoding="utf-8")
    return net


NAMELESS = ["train", "--data", "xor", "--model", "mlp", "--hidden", "2", "--epochs", "1", "--lr", "0.1"]
NAMELESS += ["--weights", "start.safetensors", "--freeze", "linear1", "--out", "run"]


@pytest.mark.parametrize("names", ["zeta=linear1,alpha=linear2", " alpha = linear2, zeta = linear1", "names.json"])
@pytest.mark.usefixtures("draws_nothing")
def test_names_on_the_command_line_assign_modules_to_layers(nameless, capsys, names):
    assert cli.main(NAMELESS) == 2 and not Path("run").exists()
    assert "the order of the PyTorch modules alpha, zeta is ambiguous" in capsys.readouterr().err
    assert cli.main([*NAMELESS, "--weights-names", names]) == 0
    os.remove("start.safetensors")  # a finished run does not need it
    net, _, experiment = open_run("run")
    np.testing.assert_array_equal(net["linear1"].W, nameless["linear1"].W)
    kept = {name.removeprefix("module."): layer for name, layer in experiment.weights_names.items()}
    assert kept == {"zeta": "linear1", "alpha": "linear2"}


@pytest.mark.usefixtures("draws_nothing")
def test_names_are_accepted_in_a_recipe_and_kept_when_a_run_resumes(nameless, capsys):
    text = '[data]\nname = "xor"\n[model]\nname = "mlp"\nhidden = [2]\nweights = "start.safetensors"\n'
    Path("mine.toml").write_text(text + "[training]\nepochs = 1\n", encoding="utf-8")
    names = 'model.weights_names={"zeta" = "linear1", "alpha" = "linear2"}'
    assert cli.main(["train", "--recipe", "mine.toml", "--set", names, "--out", "run"]) == 0
    assert cli.main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert cli.main(["train", "--resume", "run", "--weights-names", "zeta=linear2,alpha=linear1"]) == 2
    assert "--weights-names zeta=linear2,alpha=linear1 (kept: zeta=linear1,alpha=linear2)" in capsys.readouterr().err
    assert cli.main(["train", "--recipe", "mine.toml", "--set", "model.weights_names=zeta", "--out", "run"]) == 2
    assert "model.weights_names: words by their names are expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("zeta", "expected features.0=conv1,fc=linear1 or a JSON file"),
        ("zeta=linear1,alpha", "expected features.0=conv1,fc=linear1"),
        ("a=b=c", "expected features.0=conv1,fc=linear1"),
        ("odd.json", "words by their names are expected"),
        ("deep.json", "expected features.0=conv1,fc=linear1"),
        ("large.json", "is larger than 1,048,576 bytes"),
        ("zeta=linear1,alpha=linear3", r"missing ['linear2'], unknown ['linear3']"),
        ("zeta=linear1,beta=linear2", "missing 'beta.bias', 'beta.weight', unexpected 'alpha.bias', 'alpha.weight'"),
    ],
)
def test_invalid_names_are_refused(nameless, capsys, names, message):
    Path("odd.json").write_text('{"zeta": 1}', encoding="utf-8")
    Path("deep.json").write_text("[" * 100_000, encoding="utf-8")
    Path("large.json").write_text(" " * (1 << 21), encoding="utf-8")
    with contextlib.suppress(SystemExit):
        assert cli.main([*NAMELESS, "--weights-names", names]) == 2
    assert message in capsys.readouterr().err and not Path("run").exists()


def test_names_without_a_file_are_refused():
    with pytest.raises(ValueError, match="go with the file: give weights as well"):
        run(small_experiment(weights_names={"a": "linear1"}))
    for wrong in ([("a", "linear1")], {"a": 1}, {"a": ["linear1"]}, "a=linear1"):
        with pytest.raises(TypeError, match="names must map PyTorch modules to layers"):
            weights.from_torch(two_linear(), linear_state("a", "b"), wrong)


def test_experiments_saved_before_names_existed_are_still_equal():
    """Fields added later are written only where they differ from their defaults; ids and run folders do not change."""
    plain = small_experiment()
    assert "weights_names" not in plain.as_config()
    assert resume.setting_differences(plain.as_config(), plain) == []
    named = small_experiment(weights="w", weights_names={"a": "linear1"})
    assert resume.setting_differences(plain.as_config(), named)[1:] == ["weights_names {} and not {'a': 'linear1'}"]
    assert sweeps.identify(Experiment(lr=0.1)) == "e78f18210ac1" and sweeps.identify(named) != sweeps.identify(plain)


def test_global_average_needs_no_order(torch):
    nn = torch.nn
    theirs = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    ours, x = Network([Conv2d(2, 3, 3), GlobalAvgPool(), Linear(3, 2)], input_shape=SHAPE), inputs(SHAPE)
    weights.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-5, atol=1e-6)


def test_the_norms_of_examples_are_imported_and_exported(torch):
    """The parameters of a LayerNorm of whole images, (H, W, C) here and (C, H, W) there; a batch norm without any."""
    nn, shape = torch.nn, (4, 5, 3)
    theirs = nn.Sequential(
        nn.LayerNorm((3, 4, 5)),
        nn.GELU(),
        nn.GroupNorm(1, 3),
        nn.BatchNorm2d(3, affine=False),
        nn.Flatten(),
        nn.LayerNorm(60, bias=False),
        nn.Linear(60, 2),
    )
    theirs = with_own_statistics(torch, theirs, shape)
    ours = Network(
        [
            *(mf.LayerNorm(shape), mf.GELU(), mf.GroupNorm(1, 3), BatchNorm(3, affine=False), Flatten()),
            *(mf.LayerNorm(60, bias=False), Linear(60, 2)),
        ],
        input_shape=shape,
    )
    weights.from_torch(ours, theirs)
    x = inputs(shape, n=5)
    np.testing.assert_allclose(ours.forward(x), outputs_there(torch, theirs, x), rtol=1e-5, atol=1e-5)
    assert_same_bits(state_of(theirs), weights.to_torch(ours, weights.match(ours, theirs)))


def test_a_convolution_with_groups_and_dilation_is_imported_and_exported(torch):
    nn, shape = torch.nn, (6, 5, 4)
    theirs = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, 1, 2), nn.Conv2d(6, 6, 3, padding="same", dilation=2, groups=6))
    ours = Network([Conv2d(4, 6, 3, 2, 1, 1, 2), Conv2d(6, 6, 3, padding="same", dilation=2, groups=6)])
    weights.from_torch(ours, theirs)
    x = inputs(shape, n=5)
    np.testing.assert_allclose(
        ours.forward(x), outputs_there(torch, theirs, x).transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5
    )
    assert_same_bits(state_of(theirs), weights.to_torch(ours, weights.match(ours, theirs)))


@pytest.mark.usefixtures("engine")
def test_groups_of_a_flattened_image_have_no_counterpart():
    net = Network([Flatten(), mf.GroupNorm(2, 8)], input_shape=(2, 2, 2))
    with pytest.raises(ValueError, match="GroupNorm 'groupnorm1' takes a flattened image: its groups are others"):
        weights.to_torch(net)
