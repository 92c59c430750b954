# %% [markdown]
# # 08 · Direct feedback
#
# **Direct feedback alignment sends the output error directly to every hidden layer, each through a random matrix of its
# own. No error is carried from layer to layer, and still the network learns: the weights between two hidden layers
# change until the random error is one along which the loss falls.**
#
# You need tutorials [02](02_backpropagation_and_transport.ipynb) and [03](03_feedback_alignment.ipynb). The rule is
# Nøkland's (2016). [Tutorial 16](16_shared_weights_and_direct_feedback.ipynb) studies it in convolutional networks.
#
# **The same step in the explorer:** `minifa explore --rules dfa,bp -o page.html`, then open `page.html#step/dfa/15`
# ("Teaching signal of relu1"). In the terminal, a step of a smaller network: `minifa step --rule dfa`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.experiments import Experiment, run

plt.rcParams.update(mf.figures.STYLE)
# one thread: layers as small as these gain nothing from a second one
mf.use("numpy", dtype="float64", threads=1)
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = data.train.x[:256].astype("float64"), data.train.y[:256]

# %% [markdown]
# ## The rule
#
# Feedback alignment carries the error down layer by layer, through a $B$ at every layer. Direct feedback skips the
# layers between: with the output error $e$ (one number per class) and a fixed random matrix $F_l$ for each hidden layer
# $l$,
#
# $$\delta_l = e\, F_l^\top$$
#
# is the complete error of layer $l$, independent of the layers above. It is multiplied only by the derivative of the
# layer's own activation function.
#
# > **Predict, then run.** The network below has two hidden layers of 100 units and ten outputs. Which shape does the
# > $F$ of the lower one have? (a) 100 × 100, as the weights above it. (b) 100 × 10: units, classes. (c) 64 × 10:
# > pixels, classes.


# %%
def network(widths, init="he_normal"):
    """Fully connected tanh layers of these widths on the 8 x 8 digits, ten outputs."""
    layers = [mf.Flatten()]
    for n_in, n_out in zip((64, *widths), widths, strict=False):
        layers += [mf.Linear(n_in, n_out, init=init), mf.Tanh()]
    layers.append(mf.Linear(widths[-1], 10, init=init))
    return mf.Network(layers, seed=0, input_shape=data.input_shape)


net = network((100, 100))
rule = mf.rules.DFA(seed=0).attach(net)
rule.gradients(net, x, y, loss)
print({name: F.shape for name, F in rule.B.items()})
# the error that the output of the lower hidden layer receives; the second argument is
# the error from the layer above, which direct feedback does not use
taught = rule.teach(net["tanh1"], None)
assert np.allclose(taught, rule.error @ rule.B["tanh1"].T)
mf.figures.broadcast(net, rule)

# %% [markdown]
# The answer is (b): $F$ connects the output error with the units of one layer. In the picture activity goes up on the
# left; on the right the error goes from the loss directly to each hidden layer.
#
# ## Which weights would make this error useful?
#
# Leave the activation functions aside. Backpropagation would give layer $l$ the error $\delta_{l+1} W_{l+1}^\top$.
# Direct feedback gives it $e F_l^\top$, and the layer above has received $\delta_{l+1} = e F_{l+1}^\top$. The two rules
# agree if $F_{l+1}^\top W_{l+1}^\top$ is proportional to $F_l^\top$ for every error, and nearly so if
#
# $$W_{l+1} \;\propto\; F_l\, F_{l+1}^\top \qquad\text{and, at the output layer,}\qquad W_L \;\propto\; F_{L-1}.$$
#
# ($F_{l+1}^\top F_{l+1}$ is nearly a multiple of the identity if its columns are random and long.) The weights are not
# initialised in this way. But the update of $W_{l+1}$ is proportional to $h_l^\top \delta_{l+1}$, the activations $h_l$
# were changed by the layer below along $F_l$, and $\delta_{l+1}$ lies along $F_{l+1}$. From zero weights, without
# activation functions, and with the output error $e$ nearly constant at first:
#
# 1. The update of $W_l$ is $-\eta\, h_{l-1}^\top e\, F_l^\top = -\eta\, M F_l^\top$ with $M = h_{l-1}^\top e$.
# 2. With it the activations become $h_l = -\eta\, h_{l-1} M F_l^\top$.
# 3. The update of $W_{l+1}$ is $-\eta\, h_l^\top e\, F_{l+1}^\top = \eta^2 F_l\, M^\top h_{l-1}^\top e\, F_{l+1}^\top =
#    \eta^2 F_l\, (M^\top M)\, F_{l+1}^\top$.
#
# **So the update contains the product $F_l \cdots F_{l+1}^\top$,** as the update of $W_2$ in tutorial 03 contained $B$,
# with the same $M^\top M$.
#
# We look at it in a network of two hidden layers of 20 units. As in tutorial 03 we choose matrices that the eye
# recognises, here the same for both layers: each class is connected to two units, with +1 and -1. Then $F_1 F_2^\top$
# consists of small squares on the diagonal. **All weights start at zero**, so that all structure in them comes from
# direct feedback.
#
# Backpropagation could not change any weight of a hidden layer from there: the errors are multiplied by the weights
# above, which are zero, and the output weights stay zero because the activations below them are zero.
#
# A `Trainer` contains all that takes part in training, and `fit` trains for some more epochs. The optimizer uses
# momentum: every update contains 0.9 times the one before.
#
# > **Predict, then run.** What will $W_2$, between the two hidden layers, look like after 16 epochs of direct feedback?
# > (a) Zero. (b) Random. (c) Like $F_1 F_2^\top$.

# %%
F = np.kron(np.eye(10), [[1.0], [-1.0]])  # (20, 10), for both hidden layers
net = network((20, 20), init="zero")
rule = mf.rules.DFA().attach(net)
for name in ("tanh1", "tanh2"):
    rule.set_feedback(name, F)
trainer = mf.Trainer(net, rule, loss, mf.SGD(0.01, momentum=0.9), seed=0)

film = {}
for epochs in (1, 2, 4, 16):
    trainer.fit(data.train, epochs - trainer.epoch)
    W2, W3 = net["linear2"].W.copy(), net["linear3"].W.copy()
    angles = float(mf.metrics.angle(W2, F @ F.T)), float(mf.metrics.angle(W3, F))
    film[epochs] = W2, W3, angles
    print(f"epoch {trainer.epoch:2}: W2 and F1 F2ᵀ {angles[0]:.0f} degrees, ", end="")
    print(f"W3 and F2 {angles[1]:.0f} degrees")
assert film[16][2][0] < 10 and film[16][2][1] < 30

# %% [figure]
heads = [
    "proportional to",
    "1 epoch",
    *(f"{epochs} epochs" for epochs in list(film)[1:]),
]
W2s, W3s, angles = zip(*film.values(), strict=True)
mf.figures.snapshots(
    {"W2": [F @ F.T, *W2s], "W3": [F, *W3s]},
    heads,
    {
        "W2": ["F1 F2ᵀ", *(f"{both[0]:.0f}° to F1 F2ᵀ" for both in angles)],
        "W3": ["F2", *(f"{both[1]:.0f}° to F2" for both in angles)],
    },
    "Direct feedback from zero weights: W2 and W3 turn towards products of F",
)

# %% [markdown]
# The answer is (c). The first column shows the matrices to which the weights should be proportional, the others the
# weights during training, each with its own colour scale.
#
# ## The errors
#
# Now with random $F$, layers of 100 units, weights from zero again, and three seeds. After every epoch we measure two
# angles: between $W_2$ and $F_1 F_2^\top$, and between the errors of the hidden layers and those that backpropagation
# would give at the same weights.
#
# > **Predict, then run.** After the first epoch the errors of the lowest layer are at about 70 degrees to
# > backpropagation's. After eight epochs they are (a) still there; (b) near 30; (c) at 0: direct feedback has become
# > backpropagation.

# %%
weights, errors, accuracies = np.zeros((3, 8)), np.zeros((3, 8, 2)), []
for seed in range(3):
    net = network((100, 100), init="zero")
    rule = mf.rules.DFA(seed).attach(net)
    product = rule.B["tanh1"] @ rule.B["tanh2"].T
    trainer = mf.Trainer(net, rule, loss, mf.SGD(0.03, momentum=0.9), seed=seed)
    for epoch in range(8):
        trainer.fit(data.train, 1)
        weights[seed, epoch] = mf.metrics.angle(net["linear2"].W, product)
        both = mf.metrics.errors(
            net, rule, x, y, loss
        )  # this rule's, backpropagation's
        errors[seed, epoch] = [mf.metrics.angle(*both[f"linear{k}"]) for k in (1, 2)]
    accuracies.append(trainer.evaluate(data.test)["accuracy"])
print("W2 and the product:  ", weights.mean(axis=0).round().astype(int))
print("errors, lowest layer:", errors[:, :, 0].mean(axis=0).round().astype(int))
print("test accuracy:       ", *(f"{accuracy:.3f}" for accuracy in accuracies))
assert weights[:, -1].max() < 40 and errors[:, -1].max() < 45 and min(accuracies) > 0.94

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
curves = {
    "W2 and F1 F2ᵀ": weights,
    "errors of layer 1": errors[:, :, 0],
    "errors of layer 2": errors[:, :, 1],
}
for (name, values), colour, marker in zip(
    curves.items(), (BLUE, ORANGE, GREEN), "os^", strict=True
):
    ax.plot(range(1, 9), values.mean(axis=0), color=colour, marker=marker, label=name)
    ax.fill_between(
        range(1, 9), values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2
    )
ax.axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
ax.text(1, 91, "chance", color="#555555", fontsize=9, va="bottom")
ax.set(xlabel="epoch", ylabel="degrees", ylim=(0, 125), yticks=range(0, 91, 30))
ax.set_title("The weights align, and the errors with them (three seeds)")
_ = ax.legend(loc="upper right")

# %% [markdown]
# The answer is (b). The weights do not become equal to the product, and the errors do not become those of
# backpropagation. It is enough that they are at an acute angle: the loss falls (tutorial 03).
#
# ## Six hidden layers
#
# In a deep network direct feedback must reach every layer. We train six hidden layers of 128 rectifiers for ten epochs,
# with two seeds. The learning rate of each rule is one that did well (chosen on this same test set: read the
# differences, not the digits). An `Experiment` describes a training run, and `run` carries it out; `score` is the test
# accuracy. The control trains the output layer alone: an accuracy above it needs hidden layers that
# have learned.

# %%
mf.use("numpy", dtype="float32")
rates = {"bp": 0.01, "dfa": 0.01, "shallow": 0.1}
plan = {
    "model": "mlp",
    "model_options": {"hidden": (128,) * 6},
    "epochs": 10,
    "alignment": False,
}
scores = {
    rule: [
        run(Experiment(rule=rule, lr=lr, seed=seed, **plan), data)[0].score
        for seed in (0, 1)
    ]
    for rule, lr in rates.items()
}
for rule, values in scores.items():
    print(f"{rule:8} test accuracy", *(f"{value:.3f}" for value in values))
control = np.mean(scores["shallow"])
# seeds 0 to 3: direct feedback 0.03 to 0.11 above the control
assert (
    np.mean(scores["dfa"]) > control + 0.03 and np.mean(scores["bp"]) > control + 0.03
)

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.0), layout="constrained")
bars = {"backpropagation": scores["bp"], "direct feedback": scores["dfa"]}
for i, values in enumerate(bars.values()):
    ax.barh(i, np.mean(values), 0.6, color=(BLUE, ORANGE)[i], alpha=0.75)
    ax.plot(values, [i] * 2, "o", color="black", markersize=4)
    ax.text(
        0.52, i, f"{np.mean(values):.2f}", va="center", color="white", fontweight="bold"
    )
ax.axvline(control, color="black", linewidth=2)
ax.text(control - 0.004, -0.62, "output layer alone", ha="right", va="center")
ax.set(yticks=range(2), yticklabels=bars, xlim=(0.5, 1.0), ylim=(1.5, -0.85))
ax.set(xlabel="test accuracy (the axis begins at 0.5)")
_ = ax.set_title("Six dense hidden layers after ten epochs (a dot per seed)")

# %% [markdown]
# ## Summary
#
# Direct feedback: $\delta_l = e F_l^\top$. It agrees with backpropagation's error, activations aside, where $W_{l+1}$
# is proportional to $F_l F_{l+1}^\top$, and every update adds a part of this product. There is one condition: the
# layer must be able to become this matrix. A dense layer can. A convolution cannot:
# [tutorial 16](16_shared_weights_and_direct_feedback.ipynb).

# %% [markdown]
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. By hand.** Compute the gradient of $W_2$ under direct feedback in NumPy, from the activations `h1` and `h2` of
# the two tanh layers, the output error `e` and the matrix `F2`.

# %%
mf.use("numpy", dtype="float64")
net = network((100, 100))
rule = mf.rules.DFA(seed=0).attach(net)
rule.gradients(net, x, y, loss)
h1 = np.tanh(x.reshape(-1, 64) @ net["linear1"].W)  # (256, 100); all biases are zero
h2 = np.tanh(h1 @ net["linear2"].W)  # (256, 100)
e, F2 = rule.error, rule.B["tanh2"]  # (256, 10), (100, 10)

dW2 = ...

# Check
if dW2 is ...:
    print("not filled in yet")
else:
    difference = np.abs(dW2 - net["linear2"].grads["W"]).max()
    print(f"largest difference to minifa's gradient: {difference:.0e}")
    assert difference < 1e-12, "not the same gradient"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# dW2 = h1.T @ (e @ F2.T * (1 - h2**2))
# ```
#
# The derivative of the layer's own tanh is the only thing that remains of the chain rule.
# </details>
#
# **2. One hidden layer.** With a single hidden layer `FA` and `DFA` are the same rule, if they have the same matrix.
# Fill in the matrix that `FA` must get as the $B$ of its layer `linear2`.

# %%
net = network((100,))
direct = mf.rules.DFA(seed=0).attach(net)
direct.gradients(net, x, y, loss)
by_dfa = net.gradients()
layerwise = mf.rules.FA(seed=0).attach(net)

B = ...

# Check
if B is ...:
    print("not filled in yet")
else:
    layerwise.set_feedback("linear2", B)
    layerwise.gradients(net, x, y, loss)
    for name, gradient in net.gradients().items():
        assert np.allclose(gradient, by_dfa[name]), f"the gradients of {name} differ"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# B = direct.B["tanh1"]
# ```
#
# $F$ has the shape (units of the layer, classes), which is the shape of the output layer's $W$, and so of $B$. With a
# second hidden layer the two rules differ.
# </details>
