# %% [markdown]
# # 21 · Kernels teach
#
# **A layer can be taught without any error: it is enough to know which examples of a batch should be alike. The rule
# `phsic` moves the activities of each pair of examples together or apart by one number, which depends on how alike they
# are in this layer and on how alike their labels are. Nothing comes down from the output. After fifteen epochs the
# kernels of the hidden layers show the classes more clearly than under backpropagation (CKA with the labels 0.81, 0.91,
# 0.95 against 0.67, 0.72, 0.76), and the accuracy is nearly as high. The same measure serves every rule: under
# backpropagation, feedback alignment and direct feedback, too, each layer comes to depend more on the labels.**
#
# You need feedback alignment (tutorial 03) and direct feedback (08). The rules are those of Pogodin & Latham 2020
# (`phsic`) and Ma, Lewis & Kleijn 2020 (`hsic`); the measure CKA is that of Kornblith et al. 2019.
#
# **A layer's own loss in the explorer:** `minifa explore --rules phsic,bp -o page.html`, then open
# `page.html#step/phsic/11` ("Teaching signal of relu2"), which shows the kernel `K` and its derivative `Q`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.kernel_metrics import dependence, hidden_activities
from minifa.kernels import Cosine, Gaussian, cka, nhsic

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64", threads=1)

data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = mf.asarray(data.train.x[:200]), data.train.y[:200]
labels = np.eye(10)[y]
hidden, SEEDS = ("tanh1", "tanh2", "tanh3"), (0, 1, 2)


def network(seed=0):
    """Three hidden layers of 64 units; 8 x 8 digits, ten outputs."""
    layers = mf.models.mlp(data.input_shape, 10, (64,) * 3, activation="tanh")
    return mf.Network(layers, seed, data.input_shape)


def train(name, seed, epochs=15, net=None, callbacks=()):
    """Train a network under this rule; returns the trainer."""
    net = net or network(seed)
    rule = mf.rules.make(name, seed=seed).attach(net)
    parts = net, rule, loss, mf.Adam(3e-3)
    trainer = mf.Trainer(*parts, seed=seed, callbacks=callbacks)
    trainer.fit(data.train, epochs, batch_size=64)
    return trainer


def accuracy(trainer):
    return trainer.evaluate(data.test)["accuracy"]


# %% [markdown]
# ## The kernel of a layer
#
# $z_i$ are the activities of a layer for example $i$. The **kernel** $K$ of the layer says how alike two examples are
# there. `phsic` takes the cosine between activities from which their mean over the units is subtracted:
#
# $$K_{ij} = \hat z_i \cdot \hat z_j, \qquad \hat z_i = \frac{z_i - \bar z_i}{\lVert z_i - \bar z_i \rVert}$$
#
# The same formula for the one-hot labels of $k$ classes gives $K^y_{ij} = 1$ for two examples of one class and
# $-1/(k-1)$ for two examples of different classes. Each layer has a loss of its own, with $\mathrm{pHSIC}(A, B) =
# \mathrm{mean}_{ij}\,(A_{ij} - \bar A)\,B_{ij}$ (a bar over a matrix: the mean of its entries) and $\gamma = 2$:
#
# $$L = \mathrm{pHSIC}(K, K) - \gamma\,\mathrm{pHSIC}(K^y, K), \qquad Q_{ij} = \frac{\partial L}{\partial K_{ij}} =
# \frac{2\,(K_{ij} - \bar K) - \gamma\,(K^y_{ij} - \bar K^y)}{n^2}$$
#
# $Q_{ij}$ is one number for a pair of examples, and it is the same for all synapses of the layer.
#
# > **Predict, then run.** Two examples of *different* classes are very much alike in a layer. What does the update do?
# > (a) It moves the activities of the two apart. (b) It moves them together. (c) Nothing, because no error arrives.

# %%
net = network()
rule = mf.rules.PHSIC().attach(net)
rule.gradients(net, x, y, loss)
K, Q, z = rule.K["tanh1"], rule.Q["tanh1"], rule.activities["tanh1"]
different = np.where(y[:, None] != y, K, -1)
i, j = np.unravel_index(different.argmax(), K.shape)


def unit(z):
    centred = z - z.mean()
    return centred / np.linalg.norm(centred)


def slope(i, j):
    """dK_ij/dz_i: what makes example i more like example j."""
    a, b = unit(z[i]), unit(z[j])
    return (b - a * (a @ b)) / np.linalg.norm(z[i] - z[i].mean())


print(f"a {y[i]} and a {y[j]}: K {K[i, j]:.2f}, K_y {rule.K_y[i, j]:.2f}")
print(f"Q, times n^2: {Q[i, j] * len(x) ** 2:.2f}")
step = 0.5
moved = z.copy()
moved[i] -= step * np.sign(Q[i, j]) * slope(i, j)
print(f"K after a step down Q: {Cosine().matrix(moved)[i, j]:.2f}")
assert Q[i, j] > 0 and Cosine().matrix(moved)[i, j] < K[i, j]

# the rule's error at the layer is the sum over all pairs
delta = [2 * sum(Q[i, j] * slope(i, j) for j in range(len(x))) for i in range(5)]
given = Cosine().error(z, K, Q)[:5]
print(f"by hand and in minifa: {np.abs(np.array(delta) - given).max():.0e} apart")
assert np.abs(np.array(delta) - given).max() < 1e-15

# %% [markdown]
# The answer is (a). $K_{ij}$ is above the mean and $K^y_{ij}$ below it, so $Q_{ij} > 0$, and a step down the loss makes
# the two less alike. The error of example $i$ is a sum over its pairs,
#
# $$\delta_i = 2 \sum_j Q_{ij}\, \frac{\partial K_{ij}}{\partial z_i}$$
#
# and so the update of a weight has **three factors**: the presynaptic activity, a term of the postsynaptic activities
# (of the present example $i$ and of a remembered one, $j$), and the number $Q_{ij}$ that all synapses of the layer
# share. No error comes from above, and a layer does not even wait for the layers above it.
#
# ## The kernels during training
#
# We train with `phsic`. The output layer learns from the true error meanwhile; the hidden layers receive nothing of it.
#
# > **Predict, then run.** In which layer does the kernel become most like that of the labels? (a) In the first one,
# > which sees the digits. (b) In the last one, although no error comes down from the output. (c) In all alike.

# %%
order = np.argsort(y, kind="stable")[::2]  # every second example, sorted by class
times, films, notes = [], {name: [] for name in hidden}, {name: [] for name in hidden}
net = network()
for epochs in (0, 1, 3, 6):
    if epochs:
        train("phsic", 0, epochs, net)
    times.append(f"epoch {epochs + int(times[-1].split()[1]) if times else 0}")
    content = dependence(net, x, y, loss)
    for name, z in hidden_activities(net, x).items():
        films[name].append(Cosine().matrix(z)[order][:, order])
        notes[name].append(f"CKA {content[name]['cka_label']:.2f}")
for name in hidden:
    films[name].append(Cosine().matrix(labels)[order][:, order])
    notes[name].append("")
times.append("labels")
last = [content[name]["cka_label"] for name in hidden]
assert last[0] < last[1] < last[2]

# %% [figure]
mf.figures.snapshots(films, times, notes, "Kernels of the layers during training")

# %% [markdown]
# The answer is (b). Each layer sharpens what the layer below has sharpened: blocks of one class become orange (alike),
# and the rest loses its colour (blue: opposite). The number is the linear **CKA** between layer and labels: 1 if the
# two kernels $z z^\top$ and $t t^\top$, centred, are proportional; $t$ are the one-hot labels.
#
# ## The information plane
#
# The same can be measured for any rule. **nHSIC** is a normalised measure of dependence between two sets of values,
# from their Gaussian kernels, here $K_{ij} = \exp(-\lVert z_i - z_j \rVert^2 / (2 \sigma^2 u))$ for $u$ values per
# example, with $\sigma = 5$. With the centred kernel $C = H K H$, $H = I - 11^\top / n$, and $\epsilon = 10^{-5}$,
#
# $$\mathrm{nHSIC}(A, B) = \mathrm{tr}(\tilde A \tilde B), \qquad \tilde A = C\,(C + \epsilon n I)^{-1}$$
#
# For labels alone there is a closed form to check it with: for $k$ balanced classes and $a = \exp(-1 / (\sigma^2 k))$,
# $\mathrm{nHSIC}(Y, Y) = (k - 1)\,[(1 - a) / (1 - a + \epsilon k)]^2$, at most $k - 1$.
#
# The **information plane** of a rule shows for each layer how much it depends on the inputs (to the right) and on the
# labels (upwards), from before training to its end.
#
# > **Predict, then run.** Feedback alignment and direct feedback send errors that are far from backpropagation's. Do
# > their layers come to depend less on the labels than backpropagation's? (a) Much less, in all layers. (b) Less, but
# > only in the first layer. (c) About as much.

# %%
balanced = Gaussian().matrix(np.eye(10)[np.arange(60) % 10])
a = np.exp(-1 / (25 * 10))
closed = 9 * ((1 - a) / (1 - a + 1e-5 * 10)) ** 2
print(f"nHSIC(Y, Y) {float(nhsic(balanced, balanced)):.6f}, closed form {closed:.6f}")
assert abs(nhsic(balanced, balanced) - closed) < 1e-9

names = ("bp", "fa", "dfa", "phsic")
scores, before, after, results = {}, {}, {}, []
for name in names:
    for seed in SEEDS:
        record = mf.training.RecordKernels(data.train.head(200))
        trainer = train(name, seed, callbacks=[record])
        rows = list(trainer.history)
        scores[name, seed] = accuracy(trainer)
        for kept, row in ((before, rows[0]), (after, rows[-1])):
            kept[name, seed] = [row[f"{layer}.cka_label"] for layer in hidden]
        setting = mf.experiments.Experiment(rule=name, seed=seed)
        results.append(mf.experiments.Result(setting, rows, 0, "test", 0))
print("rule     test   CKA with the labels: before, after; seeds 0, 1, 2")
for name in names:
    start, end = (
        np.mean([kept[name, seed] for seed in SEEDS], axis=0)
        for kept in (before, after)
    )
    score = np.mean([scores[name, seed] for seed in SEEDS])
    print(f"{name:7} {score:.3f}   {start.round(2)}   {end.round(2)}")
for seed in SEEDS:
    for name in names:
        assert (np.array(after[name, seed]) > before[name, seed]).all()
    for name in ("fa", "dfa"):
        assert np.abs(np.subtract(after[name, seed], after["bp", seed])).max() < 0.12
    assert (np.array(after["phsic", seed]) > after["bp", seed]).all()

# %% [figure]
mf.figures.information_plane(results, "The information plane, means over three seeds")

# %% [markdown]
# The answer is (c). As far as the labels are concerned, the layers of feedback alignment and direct feedback end near
# those of backpropagation: the CKA differs by less than 0.12 in every layer. Cheng & Brown 2023 read feedback alignment
# so: it works because it puts information on the targets into the layers, not because it approximates a gradient.
# `phsic` goes further than all three, because the kernel of the labels is all that its layers learn from. It is not
# more accurate for that: its aim is the kernel of the training examples, not the errors of the outputs.
#
# ## A bottleneck, then a read-out
#
# `hsic` takes the information plane for its loss: $L = \mathrm{nHSIC}(X, Z) - \lambda\, \mathrm{nHSIC}(Y, Z)$, each
# layer to depend little on the inputs and much on the labels. The authors train the hidden layers so, and then, in a
# second phase, only a new read-out (they call it format). We do the same, and for comparison train the same read-out on
# hidden layers that are left as they were drawn.


# %%
def read_out(net, seed):
    """Train only the output layer, from new weights; returns the accuracy."""
    drawn = network(seed + 100)
    net["linear4"].W, net["linear4"].b = drawn["linear4"].W, drawn["linear4"].b
    return accuracy(train("shallow", seed, 15, net))


for seed in SEEDS:
    net = train("hsic", seed).net
    with_hsic, random = read_out(net, seed), read_out(network(seed), seed)
    print(
        f"seed {seed}: read-out above hsic {with_hsic:.3f}, above random {random:.3f}"
    )
    assert with_hsic > random + 0.02

# %% [markdown]
# The layers have learned something that the read-out can use, and no error took part in it. In minifa all layers learn
# at the same time, from one pass; the authors' code trains them one after another.
#
# ## Exercises
#
# **1. What pHSIC leaves out.** HSIC subtracts the means of rows and columns of a kernel, pHSIC only the mean of all its
# entries. Fill in `p` = pHSIC(A, B).

# %%
rng = np.random.default_rng(0)
A = Gaussian(0.5).matrix(rng.normal(size=(12, 3)))
B = Cosine().matrix(np.eye(3)[np.arange(12) % 3])  # three balanced classes

p = ...

# Check
if p is ...:
    print("not filled in yet")
else:
    H = np.eye(12) - 1 / 12
    hsic = np.trace(A @ H @ B @ H) / 12**2
    print(f"pHSIC {p:.6f}, HSIC {hsic:.6f}")
    assert np.shape(p) == (), "pHSIC is one number: the mean over all pairs"
    assert abs(p - hsic) < 1e-12, "not equal, as they are for balanced labels"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# p = ((A - A.mean()) * B).mean()
# covariance = ((A.mean(axis=0) - A.mean()) * (B.mean(axis=0) - B.mean())).mean()
# assert abs(covariance) < 1e-12
# ```
#
# The two differ by twice the covariance of the kernels' row means. With balanced labels all row means of their kernel
# are equal, and there is no difference.
# </details>
#
# **2. CKA by hand.** Fill in `own`, the linear CKA between the third hidden layer and the labels: the centred kernels
# as vectors, and the cosine between them. `H` centres: $C = H K H$.

# %%
z = hidden_activities(net, x)["tanh3"]
H = np.eye(len(x)) - 1 / len(x)

own = ...

# Check
if own is ...:
    print("not filled in yet")
else:
    given = float(cka(z @ z.T, labels @ labels.T))
    print(f"by hand {own:.6f}, minifa {given:.6f}")
    assert abs(own - given) < 1e-9, "not the cosine between the centred kernels"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# C_z, C_y = (H @ K @ H for K in (z @ z.T, labels @ labels.T))
# own = (C_z * C_y).sum() / (np.linalg.norm(C_z) * np.linalg.norm(C_y))
# assert 0 < own < 1
# ```
#
# A rotation of the units, or a common factor, changes nothing in it, so layers of different networks can be compared.
# </details>
