"""The named models: each has its published number of parameters and the shapes its paper gives, and trains."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minifa as mf
from minifa import Conv2d, Dropout, Linear, Network
from minifa.models import MODELS
from minifa.models.dense import ACTIVATIONS
from minifa.rng import TRUNCATED_SD
from minifa.testing.examples import inputs

COLOUR = (32, 32, 3)
# For each model the shape of its images, and its parameters with 10 classes:
SIZES = {
    "mlp": ((28, 28, 1), 397_510),  # 785 * 500 + 501 * 10
    "cnn": ((8, 8, 1), 12_410),
    "lenet": ((28, 28, 1), 61_706),  # PyTorch's count of BioTorch's LeNetMNIST
    "lenet_cifar": (COLOUR, 128_842),  # PyTorch's count of BioTorch's LeNetCIFAR
    "moskovitz": ((24, 24, 3), 404_746),
    "moskovitz_tf": ((24, 24, 3), 1_068_298),  # the number in the tutorial's text
    "alexnet": (COLOUR, 2_472_266),  # 2.47 M in the table of pytorch-classification
    "allconv": (COLOUR, 1_369_738),
    "resnet20": (COLOUR, 269_722),  # He et al. 2016, table 6: 0.27 M
    "resnet32": (COLOUR, 464_154),  # 0.46 M
    "resnet56": (COLOUR, 853_018),  # 0.85 M
    "resnet18": (COLOUR, 11_173_962),
    "bench_cnn": (COLOUR, 114_186),
    "linear_task": ((30,), 800),  # 30 * 20 + 20 * 10
    "tiny": ((2,), 62),
    "vector_mlp": ((28, 28, 1), 1_013_706),  # 785 * 1280 + 128 * 64 + 64 + biases 10 * (64 + 1)
    "autoencoder": ((2, 5, 1), 682),  # 11 * 32 + 33 * 10
}


def build(name, n_out=10, **options):
    shape = SIZES[name][0]
    return Network(MODELS[name](shape, n_out, **options), seed=0, input_shape=shape)


def count(net):
    return sum(array.size for array in net.parameters().values())


def test_every_model_is_tested():
    assert SIZES.keys() == MODELS.keys()
    assert all(name == make.__name__ for name, make in MODELS.items())


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_as_many_as_published(name):
    net = build(name)
    assert count(net) == SIZES[name][1]
    assert net.output_shape == (10,)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", SIZES)
def test_a_training_step_changes_every_parameter(name):
    net = build(name, n_out=10 if name == "autoencoder" else 5)
    rule, loss = mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy()
    x, y = inputs(net.input_shape, n=2), np.array([0, 3])
    value = float(rule.gradients(net, x, y, loss))
    assert math.isfinite(value)
    assert all(gradient is not None for gradient in net.gradients().values())
    before = net.state()
    mf.SGD(lr=1.0).step(net, rule)
    assert all((array != before[key]).any() for key, array in net.state().items() if key.endswith(".W"))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"mlp", "linear_task", "tiny", "vector_mlp", "autoencoder"}))
def test_a_model_of_images_refuses_others_by_name(name):
    with pytest.raises(ValueError, match=f"the model '{name}' needs images .* got 30 per example"):
        MODELS[name]((30,), 10)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["lenet", "lenet_cifar", "moskovitz", "alexnet", "allconv"])
def test_images_too_small_for_a_model_are_refused_by_name(name):
    with pytest.raises(
        ValueError, match=f"the model '{name}' cannot take images of 4 x 4 x 3: .* must be at most the padded input"
    ):
        MODELS[name]((4, 4, 3), 10)


def shapes(net, kind):
    return [layer.output_shape for layer in net if isinstance(layer, kind)]


def test_lenet_pads_mnist_but_not_enlarged_images():
    assert shapes(build("lenet"), Conv2d) == [(28, 28, 6), (10, 10, 16), (1, 1, 120)]
    enlarged = Network(mf.models.lenet((32, 32, 1), 10), input_shape=(32, 32, 1))
    assert shapes(enlarged, Conv2d) == shapes(build("lenet"), Conv2d) and count(enlarged) == SIZES["lenet"][1]


def test_the_two_readings_of_moskovitz():
    assert shapes(build("moskovitz"), Conv2d) == [(20, 20, 64), (6, 6, 64)]
    assert build("moskovitz")["flatten1"].output_shape == (576,)
    tutorial = build("moskovitz_tf")
    assert shapes(tutorial, Conv2d) == [(24, 24, 64), (12, 12, 64)]
    assert tutorial["flatten1"].output_shape == (2304,)
    kinds = [layer.kind for layer in tutorial][:8]
    assert kinds == ["conv", "relu", "maxpool", "localresponse", "conv", "relu", "localresponse", "maxpool"]
    for name, sd in (("conv1", 0.05), ("conv2", 0.05), ("linear1", 0.04), ("linear2", 0.04), ("linear3", 1 / 192)):
        W = tutorial[name].W
        assert 1.8 * sd < abs(W).max() <= 2 * sd
        assert W.std() == pytest.approx(TRUNCATED_SD * sd, rel=0.05)


@pytest.mark.usefixtures("engine")
def test_signs_of_truncated_weights_have_the_angle_of_the_theory():
    net = build("moskovitz_tf")
    rule = mf.rules.USF().attach(net)
    expected = rule.start_angle(net["linear1"])
    assert expected == pytest.approx(34.75, abs=0.01)
    for name in ("conv2", "linear1", "linear2"):
        assert float(mf.metrics.angle(net[name].W, rule.B[name])) == pytest.approx(expected, abs=0.2)


def test_truncated_normal_draws_have_the_requested_standard_deviation():
    rng = mf.rng.generator(0, "weights")
    drawn = mf.rng.truncated_gaussian(rng, (400, 500), 3.0)
    assert drawn.std() == pytest.approx(3.0, rel=0.01) and abs(drawn.mean()) < 0.03
    assert abs(drawn).max() <= 2 * 3.0 / TRUNCATED_SD
    assert pytest.approx(0.87962566) == TRUNCATED_SD  # of the normal distribution truncated at 2


def test_all_cnn_c_is_as_in_the_paper():
    net = build("allconv")
    maps = [32, 32, 16, 16, 16, 8, 6, 6, 6]
    widths = [96] * 3 + [192] * 5 + [10]
    assert shapes(net, Conv2d) == [(size, size, width) for size, width in zip(maps, widths, strict=True)]
    assert [layer.p for layer in net if isinstance(layer, Dropout)] == [0.2, 0.5, 0.5]
    assert not shapes(net, Linear)
    hundred = Network(mf.models.allconv(COLOUR, 100), input_shape=COLOUR)
    assert count(hundred) == 1_387_108  # DeepOBS, cifar100_allcnnc


@pytest.mark.parametrize("name, weighted, last", [("resnet20", 20, 9), ("resnet32", 32, 15), ("resnet56", 56, 27)])
def test_the_narrow_residual_networks_are_as_in_the_paper(name, weighted, last):
    net = build(name)
    assert len(net.weighted) == weighted
    ends = [net[f"residual{last * i // 3}"].output_shape for i in (1, 2, 3)]
    assert ends == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]


def test_resnet18_has_the_requested_stem():
    small = build("resnet18")
    assert len(small.weighted) == 18 + 3  # three projections
    assert [small[f"residual{i}"].output_shape for i in (2, 4, 6, 8)] == [
        (32, 32, 64),
        (16, 16, 128),
        (8, 8, 256),
        (4, 4, 512),
    ]
    shape = (224, 224, 3)
    large = Network(mf.models.resnet18(shape, 1000, stem="imagenet"), input_shape=shape)
    assert count(large) == 11_689_512  # torchvision's table of models
    assert large["residual1"].input_shape == (56, 56, 64) and large["residual8"].output_shape == (7, 7, 512)
    with pytest.raises(ValueError, match="the stem of the model 'resnet18' must be 'small' or 'imagenet', got 'large'"):
        mf.models.resnet18(shape, 10, stem="large")


@pytest.mark.parametrize("text", ["gaussian(0.01)", "uniform(0.5)", "truncated_gaussian(0.05)"])
def test_an_initialiser_can_be_made_from_its_name(text):
    assert mf.initialisers.find(text).name == text
    assert mf.Linear(3, 2, init=text).init.name == text


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("text", ["gaussian(0)", "gaussian(-1)", "gaussian(nan)", "gaussian(x)", "gaussian(1"])
def test_an_initialiser_with_a_wrong_number_is_refused(text):
    with pytest.raises(ValueError, match=r"must be written gaussian\(0.01\)"):
        mf.initialisers.find(text)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("rule", ["fa", "frsf", "brsf"])
def test_magnitudes_of_feedback_can_come_from_another_initialiser_than_the_weights(rule):
    net = mf.Network([mf.Linear(200, 300, init="torch"), mf.ReLU(), mf.Linear(300, 200, init="torch")], seed=1)
    attached = mf.rules.make(f"{rule}:init=gaussian(0.1)").attach(net)
    B = attached.B["linear2"]
    assert float(B.std()) == pytest.approx(0.1, rel=0.02)
    if rule != "fa":  # uniform W, Gaussian M: cos = sqrt(3)/2 sqrt(2/pi)
        assert attached.start_angle(net["linear2"]) == pytest.approx(46.3, abs=0.05)
    assert attached.start_angle(net["linear2"]) == pytest.approx(float(mf.metrics.angle(net["linear2"].W, B)), abs=0.7)
    net.step += 1  # brsf draws again, from the same initialiser
    assert float(attached.feedback(net["linear2"]).std()) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_layers_of_mlp_have_the_activation_and_the_initialiser_that_are_named(name):
    layers = MODELS["mlp"]((6,), 3, hidden=(5, 4), activation=name, init="lecun_normal")
    assert [layer.kind for layer in layers] == ["linear", name, "linear", name, "linear"]
    assert {layer.init.name for layer in layers if isinstance(layer, Linear)} == {"lecun_normal"}


def test_mlp_refuses_an_unknown_activation():
    with pytest.raises(ValueError, match="activation of the model 'mlp' must be 'relu', .* or 'sigmoid', got 'sine'"):
        MODELS["mlp"]((6,), 3, activation="sine")
