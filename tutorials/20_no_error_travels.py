# %% [markdown]
# # 20 · No error travels
#
# **A hidden layer can have a loss of its own: it predicts the labels from its own activity, or makes the activities of
# examples of one class similar. Then no error has to come from the layers above, and depth costs little. With eight
# hidden layers three such rules reach 0.96 to 0.98 on the digits, where backpropagation reaches 0.96. Feedback
# alignment and direct feedback alignment, whose errors come from the output, are no better there than a network whose
# hidden layers do not learn at all.**
#
# You need feedback alignment (tutorial 03) and direct feedback (08). The rule is `local`, from "Training neural
# networks with local error signals" (Nokland & Eidnes 2019).
#
# **A local error in the explorer:** `minifa explore --rules local,local:loss=sim -o page.html`, then open
# `page.html#step/local/11` ("Teaching signal of relu2"). In the terminal, a step of a smaller network (2-4-2):
# `minifa step --rule local`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN, PINK = mf.figures.COLOURS[:4]
GREY = "#666666"
mf.use("numpy", threads=1)

data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
few = np.argsort(data.test.y[:100], kind="stable")  # 100 test digits, sorted by class
x, y = mf.asarray(data.transform(data.test.x[few])), data.test.y[few]
t = np.eye(10, dtype="float32")[y]
DEPTH = 8
hidden = [f"relu{i}" for i in range(1, DEPTH + 1)]


def network(seed=0, depth=DEPTH):
    """Hidden layers of 64 ReLUs, no batch norm; 8 x 8 digits, ten outputs."""
    layers = mf.models.mlp(data.input_shape, 10, (64,) * depth)
    return mf.Network(layers, seed, data.input_shape)


# %% [markdown]
# ## Two losses of one layer
#
# Let $h$ be the activity of a hidden layer, one row for each of the $n$ examples of a batch, and $t$ the one-hot
# labels. The rule `local` gives the layer one of two losses, or both.
#
# **Prediction** (`loss=pred`). A linear read-out of the layer's own, its *head*, predicts the class, and has the
# loss of the network:
#
# $$a = h H + c, \qquad e_l = \frac{\partial L}{\partial a}\,\frac1n, \qquad \delta = e_l H^\top$$
#
# The head learns as an output layer does: $\Delta H \propto h^\top e_l$. It is used in training alone; predictions come
# from the network's own outputs. With `heads=fixed` the error comes back through a random matrix $M$ instead of $H$.
#
# **Similarity matching** (`loss=sim`). $S$ has the similarity of every two examples of the batch, the cosine of their
# activities after the mean of each example has been subtracted; $T$ is the same for the labels. The loss is the mean of
# the $n^2$ entries of $(S - T)^2$, and $\delta$ its derivative by $h$. There is no head, and nothing learns but $W$.
#
# The default, `predsim`, is $(1 - \beta)$ times the first plus $\beta$ times the second, with $\beta = 0.99$.
#
# Here are both by hand, in the third hidden layer of an untrained network.

# %%
net = network()
rule = mf.rules.make("local:loss=pred,heads=fixed").attach(net)
rule.gradients(net, x, y, loss)
h, n = rule.activities["relu3"], len(x)  # (100, 64)

H, c, M = rule.memory["relu3/H"], rule.memory["relu3/c"], rule.B["relu3"]
a = h @ H + c  # the head starts at zero
p = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
delta = (p - t) / n @ M.T
dW = rule.activities["relu2"].T @ (delta * (h > 0))
print(f"pred: dW differs by {np.abs(dW - net['linear3'].grads['W']).max():.0e}")
assert np.allclose(dW, net["linear3"].grads["W"], atol=1e-6)


def similarities(rows):
    """The cosines of all pairs of rows, each row without its mean."""
    z = rows - rows.mean(axis=1, keepdims=True)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


sim = mf.rules.make("local:loss=sim").attach(net)
sim.gradients(net, x, y, loss)
S, T = similarities(h), similarities(t)
by_hand, by_rule = ((S - T) ** 2).mean(), float(sim.local["relu3"]["loss"])
print(f"sim: loss by hand {by_hand:.6f}, by the rule {by_rule:.6f}")
print(f"T: {T.max():.3f} within a class, {T.min():.3f} between classes")
assert abs(by_hand - by_rule) < 1e-5 and abs(T.min() + 1 / 9) < 1e-6

# %% [markdown]
# The heads start at zero, as in the publication.
#
# > **Predict, then run.** The rule `local:loss=pred`, with heads that are learned and start at zero: after the very
# > first update, which weights of the network have moved? (a) All. (b) Those of the output layer alone. (c) None.

# %%
for description in ("local:loss=pred", "local:loss=pred,heads=fixed", "local:loss=sim"):
    net = network()
    rule, before = mf.rules.make(description).attach(net), net.state()
    rule.gradients(net, x, y, loss)
    mf.SGD(0.1).step(net, rule)
    moved = [
        layer.name
        for layer in net.weighted
        if np.abs(layer.W - before[f"{layer.name}.W"]).max() > 0
    ]
    print(f"{description:28} {len(moved)} of {len(net.weighted)} layers have moved")
    assert len(moved) == (1 if description == "local:loss=pred" else 9)

# %% [markdown]
# The answer is (b). The error $e_l H^\top$ is zero as long as $H$ is; the head moves in the first update and the hidden
# layers in the second. A fixed $M$ is random from the start, and `sim` has no head.
#
# ## Eight layers
#
# All rules train the same network: eight hidden layers of 64 ReLUs, without batch norm. Feedback alignment (`fa`)
# carries the output's error down through eight random matrices, direct feedback alignment (`dfa`) sends it to each
# layer through one, and `shallow` trains the output layer alone. The learning rates of Adam are the best of the search
# with `minifa tune` on held-out digits, for each rule its own (rates half a decade apart, seeds 100 to 104); the three
# seeds here were not part of it.
#
# > **Predict, then run.** Nothing tells the lower layers what the upper ones need: each layer is greedy. Where will
# > `local:loss=pred` end after 15 epochs? (a) Near `shallow`: the lower layers spoil what the upper ones need. (b)
# > Between `dfa` and `fa`, like other rules without the true error. (c) Within a few percent of backpropagation.

# %%
RATES = {
    "bp": 0.003,
    "local": 0.01,
    "local:loss=sim": 0.003,
    "local:loss=pred": 0.03,
    "local:loss=pred,heads=fixed": 0.01,
    "dfa": 0.01,
    "fa": 0.003,
    "shallow": 0.1,
}
NAMES = ("bp", "predsim", "sim", "pred", "pred, fixed M", "dfa", "fa", "shallow")
LABELS = dict(zip(RATES, NAMES, strict=True))
OTHERS = "#56b4e9", "#b07d00", "#999999"
COLOURS = dict(zip(RATES, (GREY, BLUE, GREEN, ORANGE, PINK, *OTHERS), strict=True))


def train(description, seed, epochs=15):
    """Train a network under this rule; returns the trainer."""
    net = network(seed)
    rule = mf.rules.make(description, seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, loss, mf.Adam(RATES[description]), seed=seed)
    trainer.fit(data.train, epochs, batch_size=64)
    return trainer


trained = {name: [train(name, seed) for seed in range(3)] for name in RATES}
accuracy = {
    name: [trainer.evaluate(data.test)["accuracy"] for trainer in trainers]
    for name, trainers in trained.items()
}
for name, scores in accuracy.items():
    print(
        f"{LABELS[name]:14} rate {RATES[name]:<6}",
        *(f"{score:.3f}" for score in scores),
        f"  mean {np.mean(scores):.3f}",
    )
three = ("local", "local:loss=sim", "local:loss=pred")
assert min(np.mean(accuracy[name]) for name in three) > 0.92
assert max(np.mean(accuracy[name]) for name in ("dfa", "fa", "shallow")) < 0.8

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
for i, (name, scores) in enumerate(accuracy.items()):
    ax.bar(i, np.mean(scores), 0.7, color=COLOURS[name], alpha=0.45)
    ax.plot([i] * 3, scores, "o", color=COLOURS[name], markersize=5)
    ax.text(i, max(scores) + 0.04, f"{np.mean(scores):.3f}", ha="center")
ax.set(xticks=range(8), xticklabels=LABELS.values(), ylim=(0, 1.12))
ax.set(ylabel="test accuracy", title="Eight hidden layers, 15 epochs, three seeds")
_ = ax.axvspan(0.5, 4.5, color=BLUE, alpha=0.06)

# %% [markdown]
# The answer is (c). The rules with local losses have a shaded background. `predsim`, `sim` and `pred` are not behind
# backpropagation (with 360 test digits and three seeds, a difference below 0.03 says little). There are eight layers,
# and no error has passed one of them. A fixed $M$ costs several percent. Direct feedback alignment depends on the seed
# here, and feedback alignment has hardly learned: without batch norm their random matrices are of little use through so
# many layers, and neither is on average above `shallow`, whose hidden layers stay as they were drawn.
#
# This is one small task. On CIFAR-10 the authors report 5.6 % errors for `predsim` in a convolutional network and 6.0 %
# for backpropagation, but 8.4 % for `pred` and 7.2 % for `sim`: there one of the two losses is not enough.
#
# ## What each layer knows
#
# A rule with local losses has numbers that no other rule has: each layer's own loss, and the accuracy of its head. They
# are in `rule.local` after each batch, and in the history after each epoch (`relu3.local_loss`,
# `relu3.local_accuracy`). The figures of a run have the losses, its page `index.html` both.

# %%
for name in ("local", "local:loss=pred"):
    row = trained[name][0].history[-1]
    print(
        f"{LABELS[name]:8} accuracy of the heads, layers 1 to 8, last epoch:",
        *(f"{row[f'{layer}.local_accuracy']:.2f}" for layer in hidden),
    )

# %% [figure]
fig, axes = plt.subplots(2, 2, figsize=(9, 5.2), layout="constrained", sharex=True)
shades = plt.cm.viridis(np.linspace(0, 0.9, DEPTH))
for column, name in zip(axes.T, ("local", "local:loss=pred"), strict=True):
    rows = trained[name][0].history[1:]  # without epoch 0
    for ax, quantity in zip(column, ("loss", "accuracy"), strict=True):
        for layer, shade in zip(hidden, shades, strict=True):
            values = [row[f"{layer}.local_{quantity}"] for row in rows]
            ax.plot(range(1, len(rows) + 1), values, color=shade, label=layer)
        ax.set(ylabel=f"local {quantity}")
    column[0].set(title=LABELS[name], yscale="log")
    column[1].set(xlabel="epoch", ylim=(0, 1.03))
_ = axes[1, 1].legend(ncols=2, fontsize=8, loc="lower right")

# %% [markdown]
# In the first epochs the lower layers are ahead: they see the image, and the upper ones see activities that still
# change below them. Under `predsim` this order is soon reversed: the first layer has the largest loss, and each of the
# next ones starts from classes that are already separated. Nobody has told the lower layers to prepare for that. Under
# `pred` the upper layers stay behind for longer, and at this high rate their losses jump when the layers below change.
#
# ## The similarities
#
# What `sim` asks of a layer can be seen at a glance: the picture of $S$ should become that of $T$, a bright square for
# each class. Below, 100 test digits, sorted by class.

# %% [figure]
shown = ("relu1", "relu4", "relu8")
fig, axes = plt.subplots(2, 4, figsize=(9, 4.9), layout="constrained")
for row, net, title in zip(
    axes, (network(), trained["local"][0].net), ("untrained", "predsim"), strict=True
):
    listen = mf.Listen(shown)
    net.forward(x, listen)
    for ax, layer in zip(row, shown, strict=False):
        S = similarities(listen.outputs[layer])
        image = ax.imshow(S, vmin=-1, vmax=1, cmap="RdBu_r")
        value = ((S - T) ** 2).mean()
        ax.set_title(f"S of {layer}, {title}\nloss {value:.3f}", fontsize=9)
    row[3].imshow(T, vmin=-1, vmax=1, cmap="RdBu_r")
    row[3].set_title("T, of the labels", fontsize=9)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
_ = fig.colorbar(image, ax=axes, label="similarity")

# %% [markdown]
# Before training, depth makes all examples alike: in the eighth layer every pair has a similarity near 1. This is what
# the loss of the untrained network shows, too: it grows from layer to layer. After training each layer shows the
# classes, the first one with exceptions, the eighth almost without.
#
# ## Is it the gradient in disguise?
#
# > **Predict, then run.** In the networks trained above, take the error that a rule gives to a layer, and the error
# > that backpropagation would give to the same layer. Is the local error close to backpropagation's?
# > (a) Yes, within 30 degrees: otherwise the network could not learn. (b) No: it is not much closer than chance, 90
# > degrees. (c) Only in the lower layers, which have the most to prepare for others.


# %%
def steps(net, rule):
    """The step h - t of each hidden layer under this rule, n times its error."""
    rule.gradients(net, x, y, loss)
    h, t = rule.activities, rule.targets
    return [h[layer] - t[layer] for layer in hidden]


angles = {}  # mean over the examples, then (3 seeds, 8 layers)
for name in ("local", "local:loss=sim", "local:loss=pred", "dfa", "fa"):
    angles[name] = np.zeros((3, DEPTH))
    for i, trainer in enumerate(trained[name]):
        net = trainer.net
        both = steps(net, trainer.rule), steps(net, mf.rules.BP().attach(net))
        angles[name][i] = [
            float(mf.metrics.mean_angle(own, bp)) for own, bp in zip(*both, strict=True)
        ]
    means = (f"{angle:3.0f}°" for angle in angles[name].mean(axis=0))
    print(f"{LABELS[name]:14}", *means)
assert all(some.mean() > 70 for some in angles.values())

# %% [figure]
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
layers = range(1, DEPTH + 1)
for (name, some), marker in zip(angles.items(), mf.figures.MARKERS, strict=False):
    ends = some.min(axis=0), some.max(axis=0)
    ax.plot(
        layers, some.mean(axis=0), f"-{marker}", color=COLOURS[name], label=LABELS[name]
    )
    ax.fill_between(layers, *ends, color=COLOURS[name], alpha=0.15)
ax.axhline(90, color=GREY, linewidth=1, linestyle=":")
ax.set(xlabel="hidden layer", ylabel="angle (degrees)", ylim=(0, 120))
ax.set_title("Angle of errors to backpropagation's, after training by each rule")
_ = ax.legend(ncols=5, fontsize=9, loc="lower left")

# %% [markdown]
# The answer is (b). In the trained networks the local errors are about as far from backpropagation's as those of
# feedback alignment, and yet these networks have learned. A layer with a loss of its own goes down that loss, and not
# down the network's. For feedback alignment, whose error stands for the true one, the angle tells whether the rule
# works (tutorial 03). For a rule with another objective it does not.
#
# ## What it takes
#
# | rule | a hidden layer waits for | it is sent | it has besides $W$ |
# |---|---|---|---|
# | `bp` | all layers above, up and down | the error of the layer above, through $W^\top$ | |
# | `fa` | all layers above, up and down | the error of the layer above, through $B$ | $B$ (64 x 64), fixed |
# | `dfa` | all layers above, up | the output's error, ten numbers | $F$ (64 x 10), fixed |
# | `pred` | nothing | the label | $H$ (64 x 10) and $c$, learned; perhaps $M$, fixed |
# | `sim` | nothing | the labels of a batch | the activities of a batch, compared in pairs |
#
# So locality has a price. The label, or the target, must be known at every layer. With learned heads $H$ is used in
# both directions, the transport of a weight that feedback alignment wants to avoid, although only inside of a layer;
# `heads=fixed` avoids it, and costs accuracy above. `sim` compares examples, which a brain sees one after the other;
# Pogodin & Latham 2020 turn this into a rule with three factors (`phsic`). `bio=true` is the authors' own variant:
# fixed $M$ and random codes in the place of classes.
#
# No layer waits for another: the update of a layer could begin as soon as its activity is there. minifa updates all of
# them at the end of the step, as for every other rule; the authors update each layer before its output goes on.
#
# ## Summary
#
# - With a loss in each layer nothing has to be carried back. `pred` is a small network of one layer and its read-out,
#   `sim` needs no read-out; the default combines them.
# - Eight layers without batch norm learned the digits about as well as with backpropagation, at rates searched for each
#   rule. `fa` and `dfa` did not.
# - The local errors are far from the gradient of the network's loss, and need not be near it.
# - With one hidden layer `pred` can be backpropagation exactly, and with fixed heads feedback alignment (exercise 1).
# - The price: labels at every layer, and a head or the comparison of examples.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. When is it backpropagation?** With one hidden layer, `local:loss=pred` can be made equal to backpropagation, not
# only at the start but in every update. Fill in the start of the head.

# %%
nets = [network(depth=1) for _ in range(2)]
local = mf.rules.make("local:loss=pred").attach(nets[0])
bp = mf.rules.BP().attach(nets[1])

H, c = ..., ...  # from nets[0]

# Check
if H is ... or c is ...:
    print("not filled in yet")
else:
    local.set_feedback("relu1", H)
    local.set_feedback("relu1/c", c)
    for rule, net in ((local, nets[0]), (bp, nets[1])):
        optimizer = mf.Adam(0.01, weight_decay=0.01)
        for _ in range(50):
            rule.gradients(net, x, y, loss)
            optimizer.step(net, rule)
    ends = zip(nets[0].state().values(), nets[1].state().values(), strict=True)
    difference = max(np.abs(one - other).max() for one, other in ends)
    print(f"largest difference after 50 updates: {difference:.0e}")
    assert difference == 0, "not equal to backpropagation"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# H, c = nets[0]["linear2"].W, nets[0]["linear2"].b
# ```
#
# The head then computes what the output layer computes, has the same error, receives the same gradient, and so the same
# update by the same optimizer: $H = W_2$ for ever, and $e_l H^\top = e\,W_2^\top$.
# </details>
#
# **2. The error of `sim`.** The loss is the mean of $(S - T)^2$ over all $n^2$ pairs, and $S = z z^\top$, where the row
# $z_i$ is $h_i$ without its mean, divided by the norm $r_i$ of what remains. Fill in $\partial L/\partial z$, a matrix
# of the shape of `z`. (Each $z_i$ is in a row and in a column of $S$.) The check takes it through the
# norm and the mean.

# %%
rule = mf.rules.make("local:loss=sim").attach(net := network())
rule.gradients(net, x, y, loss)
h = rule.activities["relu5"]
centred = h - h.mean(axis=1, keepdims=True)
r = np.linalg.norm(centred, axis=1, keepdims=True)
z = centred / r
S, n = z @ z.T, len(h)

dL_dz = ...

# Check
if dL_dz is ...:
    print("not filled in yet")
else:
    delta = (dL_dz - z * (dL_dz * z).sum(axis=1, keepdims=True)) / r
    delta = delta - delta.mean(axis=1, keepdims=True)
    exact = (h - rule.targets["relu5"]) / n
    relative = np.linalg.norm(delta - exact) / np.linalg.norm(exact)
    print(f"relative difference to the rule's error: {relative:.0e}")
    assert relative < 1e-2, "not the derivative of the loss"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# dL_dz = 4 / n**2 * (S - T) @ z
# ```
#
# $\partial L/\partial S = 2 (S - T)/n^2$, and $S = z z^\top$ contains every $z_i$ twice. The error of an example
# depends on all examples of the batch, as with batch norm.
# </details>
