"""`net.save` and `mf.load`: the same network and rule bit for bit, and a wrong file is refused with a sentence."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import network_files, saved_networks
from minifa.errors import DataFileError
from minifa.storage import archive
from minifa.testing.examples import ALL_RULES, GEOMETRIES, LAYERS, batch, inputs, network, network_for, small_convnet

CE = mf.SoftmaxCrossEntropy()


def bits(arrays):
    return {key: np.array(mf.to_host(array)) for key, array in arrays.items()}


def update(net, rule, optimizer=None):
    rule.gradients(net, *batch(shape=net.input_shape or (4,)), CE)
    (optimizer or mf.SGD(0.05)).step(net, rule)


class Swish(mf.Layer):
    kind = "swish"

    def __init__(self, slope=1.0, sizes=(), name=None):
        super().__init__(name)
        self.slope, self.sizes = slope, sizes

    def forward(self, x, ctx):
        self.cache = 1 / (1 + np.exp(-self.slope * x)) if ctx.training else None
        return x / (1 + np.exp(-self.slope * x))

    def backward(self, delta, rule):
        return delta * self.cached()


class Noisy(mf.rules.Rule):
    def __init__(self, seed=0, noise=1.0):
        super().__init__(seed)
        self.noise = noise

    def draw(self, net):
        self.memory = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return layer.W + self.noise * self.memory[layer.name]


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_layer_is_rebuilt(name, tmp_path):
    make, shape = GEOMETRIES[name]
    net = network(make(), shape, seed=3)
    net.save(tmp_path / "net.npz")
    again, rule = mf.load(tmp_path / "net.npz")
    assert rule is None and [repr(one) for one in again] == [repr(one) for one in net]
    assert_same_bits(net.state(), again.state())
    assert np.array_equal(net.predict(inputs(shape)), again.predict(inputs(shape)))


@pytest.mark.parametrize("description", ALL_RULES)
def test_every_rule_is_rebuilt_and_goes_on_with_the_same_bits(description, tmp_path):
    net = network_for(description)
    rule = mf.rules.make(description, seed=1).attach(net)
    for _ in range(2):
        update(net, rule)
    shown = bits(rule.B)
    net.save(tmp_path / "net.npz", rule)
    again, its_rule = mf.load(tmp_path / "net.npz")
    assert_same_bits(bits(rule.B), shown)  # saving changes nothing
    assert_same_bits(bits(its_rule.B), shown)
    assert (type(its_rule), its_rule.seed, again.step) == (type(rule), 1, 2)
    for one, of_it in ((net, rule), (again, its_rule)):
        update(one, of_it)
    assert_same_bits(net.state(), again.state())
    assert_same_bits(bits(rule.B), bits(its_rule.B))


@pytest.mark.parametrize("description", ["pbp", "di:weights=random"])
def test_a_rule_that_refuses_the_weights_at_the_start_is_rebuilt_with_the_saved_ones(description, tmp_path):
    net = mf.Network(
        [mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 3, init="zero" if description == "pbp" else "he_normal")]
    )
    with pytest.raises(ValueError, match="ill-conditioned|does not settle"):
        mf.rules.make(description).attach(net)
    net["linear2"].W = 0.01 * np.random.default_rng(0).standard_normal((5, 3))
    rule = mf.rules.make(description).attach(net)
    net.save(tmp_path / "net.npz", rule)
    assert_same_bits(bits(mf.load(tmp_path / "net.npz")[1].B), bits(rule.B))


def test_weights_that_have_become_unstable_are_rebuilt(tmp_path):
    net = network_for("di")
    rule = mf.rules.DI(leak=8.0, weights="random").attach(net)
    net["linear2"].W = -9 * rule.memory["linear2"]
    assert mf.rules.dynamic_inversion.stability(net["linear2"].W, rule.memory["linear2"], 8.0) > 0
    update(net, rule, mf.SGD(1e-6))
    net.save(tmp_path / "net.npz", rule)
    assert_same_bits(bits(mf.load(tmp_path / "net.npz")[1].B), bits(rule.B))


def test_a_network_is_rebuilt_on_the_backend(engine, tmp_path):
    net = small_convnet()
    rule = mf.rules.USF(seed=1).attach(net)
    update(net, rule)
    net.save(tmp_path / "net.npz", rule)
    again, its_rule = mf.load(tmp_path / "net.npz")
    assert type(again["conv1"].W) is type(net["conv1"].W)
    assert_same_bits(bits(its_rule.B), bits(rule.B))
    assert np.array_equal(net.predict(batch()[0]), again.predict(batch()[0]))


def test_frozen_layers_the_dtype_names_and_feedback_that_was_set_are_kept(tmp_path, monkeypatch):
    with mf.using("numpy", "float64"):
        layers = [mf.Linear(4, 3, init="gaussian(0.5)", name="first"), mf.Tanh(), mf.Linear(3, 2, bias=False)]
        net = mf.Network(layers, seed=5, input_error=True)
        net.freeze("first")
        rule = mf.rules.FA(seed=7, init="uniform(0.1)").attach(net)
        rule.set_feedback("linear2", np.arange(6).reshape(3, 2))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    net.save("~/net.npz", rule)
    again, its_rule = mf.load("~/net.npz")
    assert (str(again.dtype), again.seed, again.input_error) == ("float64", 5, True)
    assert [layer.frozen for layer in again] == [True, False, False]
    assert its_rule.B["linear2"].tolist() == [[0, 1], [2, 3], [4, 5]] and its_rule.init.name == "uniform(0.1)"
    with np.load(tmp_path / "net.npz") as arrays:  # other tools can read it
        assert np.array_equal(arrays["network/first.W"], net["first"].W)


def test_classes_of_the_user_are_rebuilt_when_they_are_passed(tmp_path, monkeypatch):
    net = mf.Network([mf.Linear(4, 3), mf.Residual([Swish(slope=2.0, sizes=(1, (2, 3)))]), mf.Linear(3, 2)])
    rule = Noisy(3, noise=0.5).attach(net)
    path = tmp_path / "net.npz"
    net.save(path, rule)
    with pytest.raises(DataFileError, match=r"needs the class 'Swish'.*minifa.load\(path, layers=\[Swish\]\)"):
        mf.load(path, rules=[Noisy])
    with pytest.raises(DataFileError, match=r"needs the class 'Noisy', which was defined in 'test_saved_networks'"):
        mf.load(path, layers=[Swish])
    again, its_rule = mf.load(path, layers=[Swish], rules=[Noisy])
    assert (again["residual1.body.swish1"].slope, again["residual1.body.swish1"].sizes) == (2.0, (1, (2, 3)))
    assert its_rule.noise == 0.5
    assert_same_bits(bits(its_rule.B), bits(rule.B))
    monkeypatch.setitem(mf.rules.RULES, "noisy", Noisy)
    assert mf.load(path, layers=[Swish])[1].noise == 0.5  # a registered rule is found


# --- what is not saved ------------------------------------------------------------------------------------------------


def test_an_option_that_was_assigned_later_is_refused(tmp_path):
    net = mf.Network([mf.Linear(4, 3), mf.Dropout(0.5)])
    net["dropout1"].p = 0.25
    with pytest.raises(ValueError, match=r"Dropout 'dropout1' has p 0.25, but its constructor was called with 0.5"):
        net.save(tmp_path / "net.npz")
    net = mf.Network([mf.Linear(4, 3)])
    rule = Noisy().attach(net)
    rule.noise = 3.0
    with pytest.raises(ValueError, match="the rule 'Noisy' has noise 3.0, but its constructor was called with 1.0"):
        net.save(tmp_path / "net.npz", rule)
    assert not list(tmp_path.iterdir())


class Several(mf.Layer):
    def __init__(self, *sizes):
        super().__init__()


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (lambda: Swish(slope=np.ones(3)), "the argument slope of Swish 'swish1' cannot be saved"),
        (lambda: Several(1, 2), r"Several takes \*sizes: give its arguments names"),
    ],
)
def test_arguments_that_a_file_cannot_hold_are_named(layer, sentence, tmp_path):
    with pytest.raises(TypeError, match=sentence):
        mf.Network([mf.Linear(4, 3), layer()]).save(tmp_path / "net.npz")


def test_numbers_that_are_not_finite_and_foreign_rules_are_refused(tmp_path):
    net = mf.Network([mf.Linear(4, 3)])
    with pytest.raises(ValueError, match="the rule must be attached to this network"):
        net.save(tmp_path / "net.npz", mf.rules.FA())
    with pytest.raises(TypeError, match="the rule must be a minifa.rules.Rule"):
        net.save(tmp_path / "net.npz", "fa")
    net["linear1"].W[0, 0] = np.nan
    with pytest.raises(ValueError, match="network/linear1.W must contain only finite numbers"):
        net.save(tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


# --- wrong files ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    net = mf.Network([mf.Conv2d(2, 3, 3), mf.BatchNorm(3), mf.Flatten(), mf.Linear(12, 4)], input_shape=(4, 4, 2))
    path = tmp_path_factory.mktemp("kept") / "net.npz"
    net.save(path, mf.rules.FA(seed=1).attach(net))
    return path.read_bytes()


def refused(path, content, sentence):
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=sentence) as error:
        mf.load(path)
    assert str(path) in str(error.value)


def test_truncated_changed_and_foreign_files_are_refused(content, tmp_path):
    path = tmp_path / "net.npz"
    for end in (0, 1, 29, 100, len(content) // 2, len(content) - 1):
        refused(path, content[:end], "not a file of Network.save|damaged or incomplete")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    refused(path, bytes(flipped), "damaged or incomplete: its checksum is wrong")
    plain = io.BytesIO()
    np.savez(plain, **mf.Network([mf.Linear(2, 1)]).state())
    refused(path, plain.getvalue(), re.escape("net.load_state(np.load(path))"))
    with pytest.raises(FileNotFoundError):
        mf.load(tmp_path / "other.npz")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="is a pipe, not a regular file"):
            mf.load(tmp_path / "pipe")


def forged(content, change, arrays=None):
    """The file with a changed description, and a correct checksum."""
    manifest, kept = archive.unpack(network_files.MANIFEST, content, lambda manifest: None)
    kept = kept if arrays is None else arrays(kept)
    manifest[archive.LIST] = archive.listed(kept)
    change(manifest)
    return archive.pack(network_files.MANIFEST, manifest, kept)


def layer(manifest, number=0):
    return manifest["network"]["layers"][number]


FORGERIES = {
    "a class that is not a layer": (lambda m: layer(m).update({"class": "system"}), "needs the class 'system'"),
    "a class of another module": (lambda m: layer(m).update(module="os"), "which was defined in 'os'"),
    "a rule as a layer": (lambda m: layer(m).update({"class": "FA", "arguments": {}}), "must be a minifa.layers.Layer"),
    "a layer as a rule": (lambda m: m["rule"].update({"class": "Tanh", "arguments": {}}), "cannot be loaded"),
    "an unknown argument": (lambda m: layer(m)["arguments"].update(code="x"), "unknown option of Conv2d 'code'"),
    "an argument of another kind": (
        lambda m: layer(m)["arguments"].update(padding="x"),
        "padding must be 'same' or 'valid'",
    ),
    "an unknown kind of argument": (lambda m: layer(m)["arguments"].update(bias={"eval": "1"}), "unknown kind"),
    "arguments that are a list": (lambda m: layer(m).update(arguments=[]), "cannot be loaded"),
    "huge weights": (lambda m: layer(m, 3)["arguments"].update(out_features=2**30), "its layers have .* weights"),
    "a huge kernel": (lambda m: layer(m)["arguments"].update(kernel_size=30_000), "its layers have .* weights"),
    "many features": (lambda m: layer(m, 1)["arguments"].update(features=2**31 - 1), "its layers have .* weights"),
    "a size below 1": (lambda m: layer(m, 1)["arguments"].update(features=-1), "must be at least 1"),
    "another shape": (lambda m: m["network"].update(input_shape=[5, 4, 2]), "expects 12 inputs per example"),
    "an unknown frozen layer": (lambda m: m["network"].update(frozen=["x"]), "unknown layer 'x'"),
    "another dtype": (lambda m: m["network"].update(dtype="object"), "cannot be loaded"),
    "a step below 0": (lambda m: m["network"].update(step=-1), "step of a network must be at least 0"),
    "no network": (lambda m: m.pop("network"), "missing or unknown entries"),
    "another format": (lambda m: m.update(format=2), "is not of format 1"),
    "an array that is not in the list": (lambda m: m[archive.LIST].popitem(), "not in its list"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_descriptions_are_refused(name, content, tmp_path):
    change, sentence = FORGERIES[name]
    refused(tmp_path / "net.npz", forged(content, change), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda arrays: {k: a for k, a in arrays.items() if "linear1.b" not in k}, "missing .'linear1.b'."),
        (lambda arrays: {**arrays, "network/linear1.b": np.ones(5, "f4")}, "must have shape"),
        (lambda arrays: {**arrays, "network/linear1.b": np.full(4, np.nan, "f4")}, "must hold finite numbers"),
        (lambda arrays: {**arrays, "rule/x": np.ones(1, "f4")}, "unknown .'x'."),
    ],
)
def test_forged_arrays_are_refused(change, sentence, content, tmp_path):
    refused(tmp_path / "net.npz", forged(content, lambda manifest: None, change), sentence)


def test_objects_are_never_unpickled(content, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = io.BytesIO()
    np.lib.format.write_array(trap, np.array([Trap()], dtype=object), allow_pickle=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(packed, "w") as changed:
        changed.writestr(network_files.MANIFEST, whole.read(network_files.MANIFEST))
        changed.writestr("network/linear1.W.npy", trap.getvalue())
        changed.comment = b"0" * archive.DIGEST_LENGTH
    digest = archive.digest(packed.getvalue())
    refused(tmp_path / "net.npz", packed.getvalue()[: -len(digest)] + digest, "pickled objects are not read")
    assert not (tmp_path / "sprung").exists()


def test_every_layer_that_allocates_arrays_has_its_size_checked(tmp_path):
    for make, shape in LAYERS.values():
        net = mf.Network(make(), input_shape=shape)
        for one in net:
            counted = ("W", "gamma", "t", *(["b"] if isinstance(one, mf.VectorLinear) else []))
            sizes = [array.size for key, array in {**one.parameters(), **one.buffers()}.items() if key in counted]
            described = json.loads(json.dumps(network_files.describe(one, "a layer")))
            if sizes:
                assert saved_networks.SIZES[type(one).__name__](described["arguments"]) == sum(sizes)


def test_classes_to_load_are_checked(tmp_path):
    with pytest.raises(TypeError, match="layers must be a list of classes derived from minifa.Layer"):
        mf.load(tmp_path / "net.npz", layers=Swish)
    with pytest.raises(TypeError, match="rules must be a list of classes derived from minifa.rules.Rule"):
        mf.load(tmp_path / "net.npz", rules=[Swish])
