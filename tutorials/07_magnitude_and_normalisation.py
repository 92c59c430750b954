# %% [markdown]
# # 07 · Why magnitude matters in depth
#
# **An angle does not see how long B is. The error does: a B twice as large as W, crossed six times, makes the error at
# the bottom 64 times too large, and the same network that learnt stops learning. Three things mend it: a B that keeps
# W's size, an optimizer that ignores size, and batch norm, which slows down by itself. But plain feedback alignment
# in a deep network fails for another reason, and of the three only batch norm helps it.**
#
# From tutorial 06: feedback with W's signs and one magnitude for all (`usf`) stands at 37 degrees to W and carries an
# error that trains six convolutions. There, minifa had chosen that magnitude. Now you choose it.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", threads=1)  # layers as small as these gain nothing from a second thread
COLOURS, MARKERS = mf.figures.COLOURS, mf.figures.MARKERS
data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = data.train.x[:256], data.train.y[:256]


def network(seed=0, batch_norm=False):
    """Six 3 x 3 convolutions of 16 channels and a linear layer, with ReLUs and pooling."""
    layers = mf.models.cnn(data.input_shape, data.n_out, batch_norm=batch_norm)
    return mf.Network(layers, seed=seed, input_shape=data.input_shape)


# %% [markdown]
# ## A rule with a volume knob
#
# `usf` takes its magnitude so that B is as large as W: $B = \frac{\lVert W\rVert}{\lVert\mathrm{sign}\,W\rVert}\,
# \mathrm{sign}\,W$, Frobenius norms. We multiply that by a **gain** $g$. The angle stays what it was.


# %%
class Louder(mf.rules.USF):
    """usf with a B that is `gain` times as large as W."""

    def __init__(self, gain, seed=0):
        super().__init__(seed)
        self.gain = gain

    def feedback(self, layer):
        return self.gain * super().feedback(layer)


net = network()
for gain in (0.5, 1, 2):
    rule = Louder(gain).attach(net)
    found = mf.metrics.alignment(net, rule, x, y, loss)["conv3"]
    print(f"gain {gain}: norm ratio {found['norm_ratio']:.2f}, weight angle {found['weight_angle']:.2f}°")
    assert abs(found["norm_ratio"] - gain) < 1e-4

# %% [markdown]
# ## The product of gains
#
# On its way back the network asks its rule two questions at every layer: what error does your output receive, and what
# carries it down? We stand in between, pass the questions on, and write down how large the errors are.


# %%
class Listener:
    """Answers as its rule does, and keeps the size of the error at every weighted layer's output."""

    def __init__(self, rule):
        self.rule, self.size = rule, {}

    def teach(self, layer, delta):
        delta = self.rule.teach(layer, delta)
        if isinstance(layer, mf.Weighted):
            self.size[layer.name] = float(np.linalg.norm(delta))
        return delta

    def carry(self, layer, delta):
        return self.rule.carry(layer, delta)


def error_sizes(net, rule):
    rule.gradients(net, x, y, loss)
    listener = Listener(rule)
    net.backward(rule.error, listener)
    return listener.size


def literal_signs(seed=0):
    return mf.rules.USF(seed, scale=1.0)  # B = sign(W): every entry +1 or -1


# %%
sizes = {f"gain {gain:g}": error_sizes(net, Louder(gain).attach(net)) for gain in (0.25, 0.5, 1, 2, 4)}
sizes["B = sign(W)"] = error_sizes(net, literal_signs().attach(net))
names = list(sizes["gain 1"])  # from the output down, as they were heard

fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
for i, (name, size) in enumerate(sizes.items()):
    ax.plot(names, [size[layer] for layer in names], color=COLOURS[i], marker=MARKERS[i])
    ax.text(6.15, size["conv1"], name, color=COLOURS[i], va="center")
ax.set(yscale="log", xlim=(-0.2, 7.1), ylabel="size of the error (norm of the batch's delta)")
ax.set(xlabel="weighted layer, from the output down")
title = ax.set_title("One factor per layer: straight lines on a logarithmic scale")

for gain in (0.25, 0.5, 2, 4):
    ratios = [sizes[f"gain {gain:g}"][layer] / sizes["gain 1"][layer] for layer in names]
    assert np.allclose(ratios, gain ** np.arange(7.0), rtol=1e-3)  # exactly gain to the power of the layers crossed

# %% [markdown]
# With gain 1 the error keeps its size, because weights drawn by He's rule were made to keep it. Every other gain is
# multiplied into it once per layer: after six layers, 2 has become 64 and 4 has become 4096. The entries of W are
# small numbers (their standard deviation is 0.12 in these convolutions), so B = sign(W) taken literally is a gain of
# 8 or so, and the lowest layer gets an error 250 000 times too large.
#
# ## What that does to learning
#
# Five epochs of plain SGD with momentum, the same learning rate for all, two seeds, with and without batch norm.


# %%
def accuracy(rule, optimizer, seed=0, batch_norm=False, epochs=5):
    net = network(seed, batch_norm)
    trainer = mf.Trainer(net, rule.attach(net), loss, optimizer, seed=seed)
    with np.errstate(all="ignore"):  # some of these runs grow beyond all numbers; the trainer stops them
        trainer.fit(data.train, epochs)
        return trainer.evaluate(data.test)["accuracy"], net


gains = np.array([0.25, 1, 2, 4])
scores, lengths = {}, {}
for batch_norm in (False, True):
    for gain in gains:
        for seed in range(2):
            score, trained = accuracy(Louder(gain, seed), mf.SGD(0.003, momentum=0.9), seed, batch_norm)
            scores[batch_norm, gain, seed] = score
        lengths[batch_norm, gain] = [np.linalg.norm(layer.W) for layer in trained.weighted]

# %%
fig, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for i, (batch_norm, label) in enumerate(((False, "without batch norm"), (True, "with batch norm"))):
    per_seed = np.array([[scores[batch_norm, gain, seed] for seed in range(2)] for gain in gains])
    ax.plot(gains, per_seed.mean(axis=1), color=COLOURS[i], label=label)
    ax.plot(gains, per_seed, MARKERS[i], color=COLOURS[i], markersize=5)
ax.set(xscale="log", xticks=gains, xticklabels=[f"{gain:g}" for gain in gains], ylim=(0, 1.02))
ax.minorticks_off()
ax.set(xlabel="gain: size of B beside W", ylabel="test accuracy after 5 epochs")
ax.set_title("The same direction, four sizes (a dot per seed)")
legend = ax.legend(loc="lower left", bbox_to_anchor=(0.12, 0.02))


def mean(batch_norm, gain):
    return np.mean([scores[batch_norm, gain, seed] for seed in range(2)])


# four seeds without batch norm: 0.34 to 0.44 at gain 1/4, 0.74 to 0.79 at 1, 0.10 (diverged) at 4
assert mean(False, 1) > mean(False, 0.25) + 0.2 and mean(False, 1) > mean(False, 4) + 0.5
# with batch norm: 0.51 to 0.58, 0.91 to 0.92, 0.94 to 0.97
assert mean(True, 1) > mean(True, 0.25) + 0.2 and mean(True, 4) > 0.85

# %% [markdown]
# Without batch norm there is a narrow peak where B is as large as W. Smaller, and the lower layers hardly move;
# larger, and they leap. Turning the one learning rate down does not help at gain 4: what is right for the bottom is
# 4096 times too little for the top. With batch norm, being too small is as bad as before, but being too large does
# no harm. Why?
#
# ## What batch norm does to the error
#
# Batch norm subtracts each channel's mean over the batch, divides by its standard deviation $\sigma$, then multiplies
# by a learned $\gamma$. Going back, it divides the error by the same $\sigma$:
#
# $$\delta_{\text{below}} = \frac{\gamma}{\sigma}
# \Big(\delta - \overline{\delta} - \hat x\;\overline{\delta\,\hat x}\Big)
# \qquad \hat x = \frac{x - \overline x}{\sigma}$$
#
# Make the weights in front of it ten times as large. Then $\sigma$ is ten times as large, the output is the same, and
# the gradient of these weights is a *tenth*.

# %%
net = network(batch_norm=True)
rule = mf.rules.FA(seed=0).attach(net)
conv = net["conv3"]


def output_and_gradient():
    rule.gradients(net, x, y, loss)
    return rule.output.copy(), conv.grads["W"].copy()


before, gradient = output_and_gradient()
conv.W = 10 * conv.W
after, smaller_gradient = output_and_gradient()
conv.W = conv.W / 10

print(f"outputs differ by {abs(after - before).max():.1e}")
print(f"gradient's norm {np.linalg.norm(gradient):.4f} before, {np.linalg.norm(smaller_gradient):.4f} after")
assert abs(after - before).max() < 1e-3
assert abs(np.linalg.norm(smaller_gradient) / np.linalg.norm(gradient) - 0.1) < 0.001

# %% [markdown]
# A loss that does not change along the direction of W has no gradient in that direction. So the gradient stands at a
# **right angle** to W: under backpropagation, and under any rule whatever, because batch norm's own derivative sees to
# it whatever error comes from above. (Without batch norm there is no such law. The angle is never far from 90, as it
# never is between two directions in thousands of dimensions, but it is not 90.)
#
# By Pythagoras every step then makes W *longer*, $\lVert W + \Delta W\rVert^2 = \lVert W\rVert^2 + \lVert \Delta
# W\rVert^2$. A step that was far too large makes W very long, and a long W has small gradients and needs large steps
# to turn. That is an automatic brake (Arora, Li & Lyu 2019 call it auto rate-tuning).

# %%
for batch_norm in (True, False):
    net = network(batch_norm=batch_norm)
    for rule in (mf.rules.make("bp"), mf.rules.FA(seed=0), Louder(4)):
        rule.attach(net).gradients(net, x, y, loss)
        angle = float(mf.metrics.angle(net["conv3"].W, net["conv3"].grads["W"]))
        label = "with" if batch_norm else "without"
        print(f"{label:8} batch norm, {rule.name:4} gradient and W at {angle:.2f}°")
        assert not batch_norm or abs(angle - 90) < 0.05

net = network(batch_norm=True)
rule = Louder(4).attach(net)
before = float((net["conv1"].W ** 2).sum())
rule.gradients(net, x, y, loss)
mf.SGD(0.003).step(net, rule)
step = float(((0.003 * net["conv1"].grads["W"]) ** 2).sum())
print(f"conv1, one step at gain 4: {before:.3f} + {step:.3f} = {float((net['conv1'].W ** 2).sum()):.3f}")
assert abs(float((net["conv1"].W ** 2).sum()) - before - step) < 1e-3 * before

# %% [markdown]
# In the runs above, that is what happened: how long each W was after training, beside how long it was drawn.

# %%
start = np.array([np.linalg.norm(layer.W) for layer in network(seed=1).weighted])
names = [layer.name for layer in network().weighted]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for i, gain in enumerate(gains):
    growth = np.array(lengths[True, gain]) / start
    ax.plot(names, growth, color=COLOURS[i], marker=MARKERS[i], label=f"gain {gain:g}")
ax.set(yscale="log", yticks=[1, 3, 10, 30], yticklabels=["1", "3", "10", "30"])
ax.set(xlabel="weighted layer", ylabel="length of W after / before")
ax.set_title("With batch norm, weights that get too large errors grow long")
legend = ax.legend()

growth = {gain: np.array(lengths[True, gain]) / start for gain in gains}
assert growth[4][0] > 10 and growth[1].max() < 1.5  # four seeds: 16 to 21, and 1.06 to 1.08

# %% [markdown]
# ## Three ways to give B a size
#
# A fixed number goes stale when W grows. minifa's `usf` takes its magnitude from W as it is now (`scale="strict"`, the
# *strict normalisation* of Moskovitz, Litwin-Kumar & Abbott 2018), from W as it was drawn (`"init"`), from the
# initialiser's standard deviation (`"std"`), or from you. Here is what each makes of a W that has tripled.

# %%
for scale in ("strict", "init", "std", 1.0):
    net = network()
    rule = mf.rules.USF(scale=scale).attach(net)
    ratios = []
    for _ in range(2):
        ratios.append(mf.metrics.alignment(net, rule, x, y, loss)["conv3"]["norm_ratio"])
        net["conv3"].W = 3 * net["conv3"].W
    print(f"scale={scale!s:6}  norm of B / norm of W: {ratios[0]:.2f} at the start, {ratios[1]:.2f} when W has tripled")
    assert abs(ratios[1] - (ratios[0] if scale == "strict" else ratios[0] / 3)) < 1e-3

# %% [markdown]
# ## And feedback alignment?
#
# Fixed random B, six convolutions, no batch norm: minifa's README shows that it fails. Is that a matter of size?
# B is drawn like W, so at the start its gain is 1. We try every repair at hand: `fa` as it is; B normalised strictly;
# forward weights held at their length (`constrain_weights`); Adam, which gives every weight a step of the same size
# whatever the size of the error; and batch norm. After each epoch we look at the top hidden layer: how large its
# activity is, and how *alike* it is for different digits (the mean cosine between examples; 1: all the same).


# %%
class TopActivity(mf.Walk):
    """A forward pass that keeps the last hidden layer's activity."""

    def after(self, layer, y):
        if layer.kind == "relu":
            self.activity = y.reshape(len(y), -1).astype("float64")
        return y


class Watch(mf.training.Callback):
    def on_epoch(self, trainer, row):
        walk = TopActivity(training=True, update_statistics=False)
        with trainer.net.preserved(), np.errstate(all="ignore"):
            trainer.net.forward(x, walk)
            lengths = np.linalg.norm(walk.activity, axis=1)
            unit = walk.activity / np.maximum(lengths, 1e-30)[:, None]
            row["activity"] = lengths.mean()
            row["alike"] = ((unit @ unit.T).sum() - len(x)) / (len(x) * (len(x) - 1)) if lengths.all() else np.nan
            row["accuracy"] = trainer.evaluate(data.test)["accuracy"]


# %%
def sgd(rate, **options):
    return mf.SGD(rate, momentum=0.9, **options)


repairs = {
    "fa": ("fa", sgd(0.003), False),
    "fa, B strictly normalised": ("fa:normalise=strict", sgd(0.003), False),
    "fa, length of W held": ("fa", sgd(0.003, constrain_weights=True), False),
    "fa, Adam": ("fa", mf.Adam(0.001), False),
    "fa, batch norm": ("fa", sgd(0.01), True),
    "bp": ("bp", sgd(0.01), False),
}
histories, ended = {}, {}
for name, (rule, optimizer, batch_norm) in repairs.items():
    net = network(batch_norm=batch_norm)
    trainer = mf.Trainer(net, mf.rules.make(rule).attach(net), loss, optimizer, callbacks=[Watch()])
    with np.errstate(all="ignore"):
        histories[name] = trainer.fit(data.train, 8)
    ended[name] = trainer
    print(f"{name:26} test accuracy {histories[name][-1]['accuracy']:.3f}")

# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 4.4), layout="constrained")
for i, (name, history) in enumerate(histories.items()):
    for ax, quantity in zip(axes, ("accuracy", "activity", "alike"), strict=True):
        rows = [row for row in history if np.isfinite(row[quantity]) and row["activity"] > 0]
        look = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 4, "label": name}
        ax.plot([row["epoch"] for row in rows], [row[quantity] for row in rows], **look)
axes[0].set(ylim=(0, 1.02), title="Test accuracy")
axes[1].set(yscale="log", ylim=(1, 1e4), title="Size of the activity")
axes[2].set(ylim=(0.3, 1.02), title="Likeness of examples")
for ax in axes:
    ax.set(xlabel="epoch", xlim=(0, 8))
handles, labels = axes[0].get_legend_handles_labels()
legend = fig.legend(handles, labels, loc="outside lower center", ncols=3)

final = {name: history[-1] for name, history in histories.items()}
for name in list(repairs)[:4]:
    assert final[name]["accuracy"] < 0.6, name  # four seeds: 0.06 to 0.32
assert final["fa, batch norm"]["accuracy"] > 0.8 and final["bp"]["accuracy"] > 0.9  # 0.88 to 0.90; 0.96 to 0.98
assert (
    final["fa, batch norm"]["alike"] < 0.6 and histories["fa, Adam"][-1]["alike"] > 0.85
)  # 0.40 to 0.44; 0.98 to 1.00

# %% [markdown]
# No repair of size mends it (where a line ends early, its numbers had grown beyond all bounds). Look at the two panels
# on the right. Under backpropagation the activity settles and the digits become less alike. Under feedback alignment
# without batch norm it grows and grows, and all digits look the same to the top layer. Our reading: an error carried
# by a B that has nothing to do with W keeps pushing the same way, whether or not that lowers the loss, and a push
# that all examples share adds up. Holding the length of W does not stop it, since W can turn until what is common to
# all is amplified. Batch norm takes out exactly these two things in every layer: what is common (it subtracts the
# mean) and the size (it divides by $\sigma$).
#
# What that buys is time, in which the upper layers align. The lowest still gets an error at chance:

# %%
trainer = ended["fa, batch norm"]
found = mf.metrics.alignment(trainer.net, trainer.rule, x, y, loss)
angles = [row["true_angle"] for row in found.values()]
print("error under fa and under backpropagation:", *(f"{name} {a:.0f}°" for name, a in zip(found, angles, strict=True)))
assert angles[0] > 85 and angles[5] < 70  # four seeds: 89 to 91 at conv1, 57 to 61 at conv6

# %% [markdown]
# ## What you have seen
#
# - Through $k$ layers the error's size is multiplied by the product of $k$ gains; only B as large as W keeps it.
# - Too large or too small a B breaks SGD in deep networks, with the direction unchanged.
# - Behind batch norm a gradient is at a right angle to W under every rule, W grows with every step, and too large an
#   error brakes itself. Too small an error stays too small.
# - Deep feedback alignment fails with B in the right size; batch norm, which also centres, brings most of it back.
#
# ## Exercises
#
# **1.** Adam divides every weight's step by the size of its recent gradients. Predict what the gain does to `usf` under
# Adam without batch norm. Then try gains 1/4, 1 and 4.
#
# <details><summary>Solution</summary>
#
# ```python
# under_adam = {gain: accuracy(Louder(gain), mf.Adam(0.001))[0] for gain in (0.25, 1, 4)}
# print(under_adam)  # three seeds: between 0.87 and 0.94 at every gain
# assert min(under_adam.values()) > 0.8
# assert max(under_adam.values()) - min(under_adam.values()) < 0.06
# ```
#
# Nothing: a factor on the gradient cancels in Adam's step, while under SGD the same gains decided everything. When you
# read that a feedback rule works or fails, ask which optimizer it had.
# </details>
#
# **2.** Write the backward pass of batch norm in NumPy from the formula above, and check it against `mf.BatchNorm`.
#
# <details><summary>Solution</summary>
#
# ```python
# rng = np.random.default_rng(0)
# a, delta = rng.standard_normal((2, 32, 5)).astype("float32")
# a[:, 2] *= 100  # one loud channel
# norm = mf.BatchNorm(5)
# norm.forward(a, mf.Walk(training=True))
# below = norm.backward(delta, mf.rules.make("bp"))
#
# sigma = np.sqrt(a.var(axis=0) + norm.eps)
# a_hat = (a - a.mean(axis=0)) / sigma
# by_hand = norm.gamma / sigma * (delta - delta.mean(axis=0) - a_hat * (delta * a_hat).mean(axis=0))
# assert np.allclose(below, by_hand, atol=1e-5)
# assert abs(below[:, 2]).max() < 0.1 * abs(below[:, 0]).max()
# ```
#
# The loud channel gets a hundredth of the error. No rule is asked: batch norm is local, and its exact derivative is
# used whatever B is.
# </details>
