# %% [markdown]
# # 02 · Backpropagation and weight transport
#
# **Backpropagation carries the error down through the transpose of every forward weight, so each weight is needed in
# two places at once. You will write the loop, find it again in minifa's `net.backward(delta, rule)`, and then add noise
# to the second copy of the weights: the gradient rotates by an angle that you can predict, and with four times as much
# noise as weight in the copy this small network still ends within 0.02 of backpropagation's accuracy.**
#
# [Tutorial 01](01_a_layer_by_hand.ipynb) introduced the three products of a layer: `x @ W`, `x.T @ delta`,
# `delta @ W.T`.

# %%
import inspect
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.layers.base import backward_chain

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64")
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]

data = mf.data.load("digits")
x_train, y_train = data.train.x.reshape(-1, 64).astype("float64"), data.train.y
x_test, y_test = data.test.x.reshape(-1, 64).astype("float64"), data.test.y

# %% [markdown]
# ## Forward pass through three layers
#
# 64 pixels, 50 units, 30 units, 10 outputs; tanh after the first two layers. We number layers from 1 and keep every
# activation $h_k$, because the backward pass needs it: $h_0 = x$, $h_k = \tanh(h_{k-1} W_k + b_k)$. The last layer is
# linear, for the softmax.

# %%
sizes = [64, 50, 30, 10]


def start(seed):
    rng = np.random.default_rng(seed)
    W = {k: rng.standard_normal((sizes[k - 1], sizes[k])) / math.sqrt(sizes[k - 1]) for k in (1, 2, 3)}
    b = {k: np.zeros(sizes[k]) for k in (1, 2, 3)}
    return W, b


def forward(W, b, x):
    h = {0: x}
    for k in (1, 2, 3):
        a = h[k - 1] @ W[k] + b[k]
        h[k] = np.tanh(a) if k < 3 else a
    return h


W, b = start(seed=0)
h = forward(W, b, x_train[:200])
print({f"h{k}": activation.shape for k, activation in h.items()})

# %% [markdown]
# ## Backward pass
#
# At the output, softmax and cross-entropy give the error $\delta_3 = (\mathrm{softmax}(h_3) - \mathrm{onehot}(y)) / n$.
# Then, from the last layer to the first, every layer does two things: it computes its **gradient**,
# $\mathrm{d}W_k = h_{k-1}^\top \delta_k$, and it **carries** the error down,
# $\delta_{k-1} = \delta_k W_k^\top \odot (1 - h_{k-1}^2)$, where the last factor is the derivative of tanh. This is the
# complete backpropagation algorithm (Rumelhart, Hinton & Williams 1986).


# %%
def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def backward(W, h, y):
    dW, db = {}, {}
    delta = (softmax(h[3]) - np.eye(10)[y]) / len(y)  # the error at the output
    for k in (3, 2, 1):
        dW[k] = h[k - 1].T @ delta  # gradient of the weights
        db[k] = delta.sum(axis=0)
        if k > 1:
            delta = delta @ W[k].T * (1 - h[k - 1] ** 2)  # carry the error down
    return dW, db


dW, db = backward(W, h, y_train[:200])

# %% [markdown]
# Is this gradient correct? One directional derivative is enough this time: change all weights at once by a small step
# in a random direction. The loss must change as the gradient predicts.


# %%
def loss(W, b, x, y):
    return -np.log(softmax(forward(W, b, x)[3])[np.arange(len(y)), y]).mean()


rng = np.random.default_rng(1)
direction = {k: rng.standard_normal(W[k].shape) for k in W}
eps = 1e-6
above, below = (
    loss({k: W[k] + sign * eps * direction[k] for k in W}, b, x_train[:200], y_train[:200]) for sign in (1, -1)
)
measured, predicted = (above - below) / (2 * eps), sum((dW[k] * direction[k]).sum() for k in W)
print(f"measured {measured:.9f}, predicted {predicted:.9f}")
assert abs(measured - predicted) < 1e-8  # measured: at most 2e-10, with six initialisations

# %% [markdown]
# ## The same loop in minifa
#
# Below is the engine's whole loop over its layers, printed from its source, and the method of the rule `BP` that every
# weighted layer calls in the backward pass: *which matrix carries the error down through this layer?* Compare the two
# with your own loop: the same order, the same products, `layer.W` for `W[k]`. (With `teach` other rules replace the
# error of a layer; `BP` does not change it.)

# %%
print(inspect.getsource(backward_chain))
print(inspect.getsource(mf.rules.BP.feedback))

net = mf.Network([mf.Linear(64, 50), mf.Tanh(), mf.Linear(50, 30), mf.Tanh(), mf.Linear(30, 10)])
for k in W:
    net[f"linear{k}"].W, net[f"linear{k}"].b = W[k], b[k]
rule = mf.rules.BP().attach(net)
output = net.forward(x_train[:200], mf.Pass(training=True))
delta = (softmax(output) - np.eye(10)[y_train[:200]]) / 200
net.backward(delta, rule)
for k in W:
    difference = np.abs(net[f"linear{k}"].grads["W"] - dW[k]).max()
    print(f"layer {k}: our dW and minifa's differ by {difference:.0e} at most")
    assert difference < 1e-14

# %% [markdown]
# ## Weight transport
#
# Our `backward` uses `W` in one place only: in the transport `delta @ W[k].T`. A computer simply reads the same memory
# in another order. A brain, or a chip whose weights are stored where they are used, cannot do this: a synapse conducts
# in one direction. The error would have to be carried by **other** synapses, and throughout learning each of them would
# need the same value as its counterpart in the forward pass. This is the **weight transport problem** (Grossberg 1987).

# %%
units = {0: 4, 1: 3, 2: 3, 3: 2}  # a small sketch of the network
spot = {(k, i): (3 * k, 1.1 * (i - (n - 1) / 2)) for k, n in units.items() for i in range(n)}

fig, axes = plt.subplots(2, 1, figsize=(9, 5.2), layout="constrained", sharex=True)
for ax, colour, lowest, name, pattern in ((axes[0], BLUE, 1, "h{}", "W{}"), (axes[1], ORANGE, 2, "delta{}", "W{}.T")):
    for k in range(lowest, 4):
        for i in range(units[k - 1]):
            for j in range(units[k]):
                start_at, end_at = (spot[k - 1, i], spot[k, j])[:: 1 if colour == BLUE else -1]
                twin = (k, i, j) == (2, 2, 1)
                arrow = {"arrowstyle": "-|>", "color": colour, "alpha": 1 if twin else 0.3, "lw": 3 if twin else 1}
                ax.annotate("", end_at, start_at, arrowprops={**arrow, "shrinkA": 8, "shrinkB": 8})
        ax.text(3 * k - 1.5, -2.15, pattern.format(k), ha="center", color=colour, fontweight="bold")
    for (k, _), (x, y) in spot.items():
        if k >= lowest - 1:
            ax.plot(x, y, "o", color="white", markeredgecolor="#333333", markersize=13)
    for k in range(lowest - 1, 4):
        ax.text(3 * k, 2.0, "x" if name.format(k) == "h0" else name.format(k), ha="center", fontsize=11)
    ax.set(xlim=(-0.6, 9.6), ylim=(-2.4, 2.4))
    ax.set_axis_off()
axes[0].set_title("Forward: activities through W", color=BLUE)
_ = axes[1].set_title("Back: errors through W.T. The thick synapse must hold the same number as its twin", color=ORANGE)

# %% [markdown]
# ## Training
#
# We train for fifteen epochs on the digits, in batches of about 64. Since `backward` uses its first argument only to
# carry the error down, we can pass other matrices in the place of `W`; the function `copies` computes them. For
# backpropagation they are `W` itself.


# %%
def train(copies, seed, epochs=15, lr=0.1):
    """Weights and biases after training; copies(W) are the matrices that carry the error down."""
    W, b = start(seed)
    rng = np.random.default_rng([seed, 1])
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x_train)), 22):
            dW, db = backward(copies(W), forward(W, b, x_train[rows]), y_train[rows])
            for k in W:
                W[k] -= lr * dW[k]
                b[k] -= lr * db[k]
    return W, b


def accuracy(W, b):
    return (forward(W, b, x_test)[3].argmax(axis=1) == y_test).mean()


W_bp, b_bp = train(lambda W: W, seed=0)
print(f"test accuracy {accuracy(*start(0)):.3f} at the start, {accuracy(W_bp, b_bp):.3f} after backpropagation")
assert accuracy(W_bp, b_bp) > 0.95  # measured with nine seeds: 0.969 to 0.981

# %% [markdown]
# ## What if the copy is not exact?
#
# Suppose the backward pass has weights of its own, and they are inexact: $C_k = W_k + s\, N_k$, where $N_k$ is noise of
# the same standard deviation as $W_k$. At $s = 1$ a copy is as much noise as weight. The figure shows one beside its
# original. It is labelled B, the usual letter for a matrix that carries the error **backwards** in the place of W.


# %%
def noise_like(W, seed):
    rng = np.random.default_rng([seed, 2])
    return {k: W[k].std() * rng.standard_normal(W[k].shape) for k in W}


def noisy(W, noise, s):
    return {k: W[k] + s * noise[k] for k in W}


W, b = start(seed=0)
inexact = noisy(W, noise_like(W, seed=0), s=1)
mf.figures.matrices(W[2], inexact[2], "Layer 2: the weights W, and as B a copy with noise of their own size")

# %% [markdown]
# By which angle does the **gradient** rotate? Flatten two gradients into vectors and take the angle between them. In
# high dimensions the noise is nearly perpendicular to $W$, so the angle between each copy and $W$ is
# $\theta = \arctan s$. An error that is carried through one such copy has the cosine $\cos\theta$ with the true error;
# after two copies it is $\cos^2\theta$. So we expect the angle $\theta$ in layer 2, $\arccos(\cos^2\theta)$ in layer 1,
# and 0 in layer 3, whose error passes through no copy.


# %%
def angle(a, b):
    cosine = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    return math.degrees(math.acos(np.clip(cosine, -1, 1)))  # rounding can exceed 1


strengths = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4])
theta = np.arctan(strengths)
expected = {3: 0 * theta, 2: np.degrees(theta), 1: np.degrees(np.arccos(np.cos(theta) ** 2))}
measured = {k: np.zeros((10, len(strengths))) for k in (1, 2, 3)}
for seed in range(10):
    W, b = start(seed)
    h = forward(W, b, x_train[:200])
    noise, true = noise_like(W, seed), backward(W, h, y_train[:200])[0]
    for i, s in enumerate(strengths):
        used = backward(noisy(W, noise, s), h, y_train[:200])[0]
        for k in (1, 2, 3):
            measured[k][seed, i] = angle(used[k], true[k])
for k in (1, 2, 3):
    difference = np.abs(measured[k].mean(axis=0) - expected[k]).max()
    print(f"layer {k}: expected and measured differ by at most {difference:.1f} degrees (mean of ten draws)")
    assert difference < 6  # measured with five other sets of ten draws: at most 2.4

# %% [markdown]
# Now we train networks with such copies, with the same noise throughout training. There are two more cases: a copy that
# is **only noise**, and **no** error below the output layer, so that the hidden layers keep their initial weights (a
# control: which accuracy needs no trained hidden layers?).

# %%
cases = {
    "0": lambda W, noise: W,
    "1/2": lambda W, noise: noisy(W, noise, 0.5),
    "1": lambda W, noise: noisy(W, noise, 1),
    "2": lambda W, noise: noisy(W, noise, 2),
    "4": lambda W, noise: noisy(W, noise, 4),
    "only\nnoise": lambda W, noise: noise,
    "no\nerror": lambda W, noise: {k: 0 * W[k] for k in W},
}
scores, final = {}, {}
for name, case in cases.items():
    final[name] = []
    for seed in range(3):
        noise = noise_like(start(seed)[0], seed)
        final[name].append(train(lambda W, case=case, noise=noise: case(W, noise), seed))
    scores[name] = [accuracy(*weights) for weights in final[name]]
    print(f"{' '.join(name.split()):10} test accuracy " + "  ".join(f"{score:.3f}" for score in scores[name]))

only_noise = []  # the angles of its gradients at the start, (seeds, layers 2 and 1)
for seed in range(3):
    W, b = start(seed)
    h = forward(W, b, x_train[:200])
    used, true = backward(noise_like(W, seed), h, y_train[:200])[0], backward(W, h, y_train[:200])[0]
    only_noise.append([angle(used[k], true[k]) for k in (2, 1)])
    in_2, in_1 = only_noise[-1]
    print(f"only noise, seed {seed}, before training: gradient angles {in_2:.0f} and {in_1:.0f} degrees")
assert np.abs(np.array(only_noise) - 90).max() < 15  # measured with nine seeds: 81 to 97

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
for k, colour, marker in ((1, ORANGE, "s"), (2, BLUE, "o"), (3, GREEN, "^")):
    left.plot(strengths, expected[k], color=colour, linewidth=1.2)
    left.errorbar(
        strengths, measured[k].mean(axis=0), measured[k].std(axis=0), fmt=marker, color=colour, label=f"layer {k}"
    )
left.axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
left.text(0, 91, "a random direction", color="#555555", fontsize=9, va="bottom")
left.set(xlabel="noise s in the copy", ylabel="degrees", ylim=(-4, 101), title="Angle between gradients at the start")
left.legend(loc="center right")
for i, (name, values) in enumerate(scores.items()):
    colour = {"only\nnoise": ORANGE, "no\nerror": "#555555"}.get(name, BLUE)
    right.plot([i] * 3, values, "o", color=colour, alpha=0.8)
    right.plot([i - 0.25, i + 0.25], [np.mean(values)] * 2, color=colour, linewidth=2.5)
right.set_xticks(range(len(scores)), scores)
right.set(xlabel="noise s in the copy", ylabel="test accuracy", ylim=(0.75, 1.0), title="After training, three seeds")
assert min(scores["0"]) > 0.95  # measured with nine seeds: 0.969 to 0.981
# measured at s = 4 with nine seeds: 0.967 to 0.981, at most 0.005 below s = 0 with the same seed
for s in ("1/2", "1", "2", "4"):
    assert np.mean(scores[s]) > np.mean(scores["0"]) - 0.02
assert np.mean(scores["only\nnoise"]) > 0.9
assert np.mean(scores["only\nnoise"]) > np.mean(scores["no\nerror"]) + 0.08  # nine seeds: 0.11 to 0.16 apart

# %% [markdown]
# On the left, lines show the prediction and dots the measurement. On the right is a surprising result. Even with a copy
# that has four times as much noise as weight, the mean of three seeds is within 0.02 of backpropagation's (360 test
# examples hardly resolve a smaller difference). One explanation is that a direction at less than 90 degrees to the
# gradient still descends. But a copy that is **only noise** contains no information about the weights; at the start its
# gradients were at about 90 degrees to the true ones in both hidden layers. Nevertheless the network learned more than
# without any error: 0.94 instead of 0.80. Here are its angles after training:

# %%
for seed, (W, b) in enumerate(final["only\nnoise"]):
    noise, h = noise_like(start(seed)[0], seed), forward(W, b, x_train[:200])
    used, true = backward(noise, h, y_train[:200])[0], backward(W, h, y_train[:200])[0]
    print(
        f"seed {seed}: gradient angle in layer 2 {angle(used[2], true[2]):.0f} degrees, in layer 1 "
        f"{angle(used[1], true[1]):.0f}; W2 and its 'copy' {angle(W[2], noise[2]):.0f}, W3 {angle(W[3], noise[3]):.0f}"
    )
    assert angle(W[3], noise[3]) < 65 and angle(W[2], noise[2]) < 85 and angle(used[2], true[2]) < 70
    # measured with nine seeds: W3 50 to 55, W2 75 to 80, the gradient in layer 2 37 to 56

# %% [markdown]
# The noise was never changed. So the *weights* must have moved towards it.
#
# ## Summary
#
# Backpropagation is a loop over the layers: compute the gradient, carry the error down. The second step needs every
# weight a second time, transposed: weight transport. minifa uses the same loop, and its rule determines the matrix that
# carries the error. An inexact copy rotates the gradient by an angle that grows with every layer that the error passes.
# With a copy that is independent of the weights this network learns too (0.94 where backpropagation has 0.97), while
# its weights turn towards the copy. This is feedback alignment, the subject of
# [tutorial 03](03_feedback_alignment.ipynb).

# %% [markdown]
# ## Exercises
#
# **1. Only the signs.** Let the copy keep each weight's sign and nothing else: $C_k = c_k\, \mathrm{sign}(W_k)$. By
# which angle does the gradient rotate in layers 2 and 1? For Gaussian weights the cosine between $W$ and its signs is
# $\sqrt{2/\pi}$. Does a network trained in this way come close to backpropagation?
#
# <details><summary>Solution</summary>
#
# ```python
# def signs(W):
#     return {k: np.abs(W[k]).mean() * np.sign(W[k]) for k in W}
#
# measured = np.zeros((10, 2))
# for seed in range(10):
#     W, b = start(seed)
#     h = forward(W, b, x_train[:200])
#     used, true = backward(signs(W), h, y_train[:200])[0], backward(W, h, y_train[:200])[0]
#     measured[seed] = angle(used[2], true[2]), angle(used[1], true[1])
# rho = math.sqrt(2 / math.pi)
# expected = np.degrees(np.arccos([rho, rho**2]))                      # 37.1 and 50.5 degrees
# assert np.abs(measured.mean(axis=0) - expected).max() < 5
# by_signs = [accuracy(*train(signs, seed)) for seed in range(3)]
# print(by_signs)
# assert min(by_signs) > 0.945 and np.mean(by_signs) > np.mean(scores["0"]) - 0.02   # nine seeds: 0.961 to 0.978
# ```
#
# It does: the mean of three seeds is within 0.02. This is the sign-concordant feedback with which Moskovitz,
# Litwin-Kumar & Abbott (2018) bring feedback alignment to deep convolutional networks; in minifa it is `rules.USF`.
# </details>
#
# **2. Old copies.** Suppose weights can be transported, but only occasionally. `mf.rules.Stale(every=m)` renews its
# copies every $m$ updates. Train minifa's network with $m = 1$, 100 and 10,000 (never renewed) and compare with
# backpropagation. Which result must $m = 1$ give?
#
# <details><summary>Solution</summary>
#
# ```python
# def trained(rule, seed):
#     net = mf.Network([mf.Linear(64, 50), mf.Tanh(), mf.Linear(50, 30), mf.Tanh(), mf.Linear(30, 10)], seed)
#     rule.attach(net)
#     flat = mf.data.from_arrays(x_train, y_train, x_test, y_test)
#     mf.train(net, rule, flat.train, mf.SoftmaxCrossEntropy(), mf.SGD(0.1), epochs=15, seed=seed, progress=False)
#     return net, (net.predict(x_test).argmax(axis=1) == y_test).mean()
#
# for seed in range(3):
#     bp, score = trained(mf.rules.BP(), seed)
#     for m in (1, 100, 10_000):
#         net, of_stale = trained(mf.rules.Stale(every=m), seed)
#         print(f"seed {seed}: renewed every {m} updates {of_stale:.3f}, backpropagation {score:.3f}")
#         assert of_stale > 0.93                                       # measured with six seeds: 0.950 to 0.978
#         assert (m == 1) == np.allclose(net["linear1"].W, bp["linear1"].W)
# ```
#
# With a copy that is renewed after every update the numbers are exactly those of backpropagation. A copy that is never
# renewed still has the initial values of $W$ in common with it; in the six seeds it was at most 0.02 behind.
# </details>
