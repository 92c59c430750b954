# %% [markdown]
# # 25 · Bursts
#
# **A neuron can send two messages at once: how often it fires, and how often it answers with a burst of spikes instead
# of a single one. In the rule `burst` the first message is the activity, which goes up, and the second carries the
# error, which comes down. For small errors the result is feedback alignment, with the error multiplied by
# $p\,(1 - p)$ in each hidden layer, $p$ being the probability of a burst. On the digits it recognises what feedback
# alignment recognises, and it fails where feedback alignment fails.**
#
# You need feedback alignment (tutorial 03) and a layer by hand (01). The rule is from "Burst-dependent synaptic
# plasticity can coordinate learning in hierarchical circuits" (Payeur, Guerguiev, Zenke, Richards & Naud 2021), in the
# form of the authors' code, which has rates in the place of spikes.
#
# **A teacher in the explorer:** `minifa explore --model mlp --activation sigmoid --hidden 4,3 --rules burst,fa -o
# page.html`, then open `page.html#step/burst/18` ("Teaching signal of sigmoid1"). In the terminal:
# `minifa step --rule burst --model mlp --activation sigmoid --hidden 2`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN, PINK = mf.figures.COLOURS[:4]
GREY = "#666666"
mf.use("numpy", dtype="float64", threads=1)

data, loss = mf.data.load("digits"), mf.HalfSquaredError()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# %% [markdown]
# ## Two messages in one train of spikes
#
# A unit fires **events**. An event is a single spike, or a burst of several spikes within a few milliseconds. Two
# numbers describe the unit:
#
# - its **event rate** $h$, which depends on the input from below, as the activity of every other layer does;
# - its **burst probability** $p$: of its events the fraction $p$ are bursts. It depends on the input from above, which
#   arrives at the dendrites of the unit, far from where the input from below arrives. The **burst rate** is $b = p\,h$.
#
# Here is one unit, as a population of 30 neurons that behave alike. In each bin of time every neuron has an event with
# probability $h = 0.3$, and the event is a burst with probability $p$. In the second half a teacher raises $p$ from 0.2
# to 0.6. (This is an illustration with coins, and not the authors' spiking model.)
#
# > **Predict, then run.** A layer above that reads events, and cannot tell a burst from a single spike, receives the
# > event rate. What does it notice of the teacher? (a) The rate rises, because bursts have more spikes. (b) Nothing.
# > (c) The rate falls, because the bursts are taken from the single spikes.

# %%
NEURONS, BINS = 30, 400
rng = np.random.default_rng(0)
p_of_time = np.where(np.arange(BINS) < BINS // 2, 0.2, 0.6)
events = rng.random((NEURONS, BINS)) < 0.3
bursts = events & (rng.random((NEURONS, BINS)) < p_of_time)

halves = [slice(0, BINS // 2), slice(BINS // 2, BINS)]
for name, half in zip(("without teacher", "with teacher"), halves, strict=True):
    h, b = events[:, half].mean(), bursts[:, half].mean()
    print(f"{name:15}  h {h:.3f}  b {b:.3f}  p = b / h {b / h:.3f}")
rates = [events[:, half].mean() for half in halves]
assert abs(rates[0] - rates[1]) < 0.03

# %% [figure]
fig, axes = plt.subplots(
    2, 1, figsize=(9, 4.8), layout="constrained", sharex=True, height_ratios=(2, 1)
)
neuron, time = np.nonzero(events & ~bursts)
axes[0].plot(time, neuron, ".", color=BLUE, markersize=2, label="single spike")
neuron, time = np.nonzero(bursts)
axes[0].plot(time, neuron, "|", color=ORANGE, markersize=6, label="burst")
axes[0].set(ylabel="neuron", title="One unit: 30 neurons that behave alike")
axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), markerscale=2)
window = np.ones(20) / 20


def smooth(a):
    return np.convolve(a.mean(axis=0), window, mode="valid")


middle = np.arange(BINS - 19) + 9.5
axes[1].plot(middle, smooth(events), color=BLUE, label="event rate h")
axes[1].plot(middle, smooth(bursts), color=ORANGE, label="burst rate b")
axes[1].plot(middle, smooth(bursts) / smooth(events), color=GREY, label="p = b / h")
axes[1].set(xlabel="bin of time", ylabel="in 20 bins", ylim=(0, 0.8))
axes[1].legend(ncols=3, loc="upper left")
for ax in axes:
    ax.axvline(BINS / 2, color=GREY, linestyle=":")
_ = axes[1].text(BINS / 2 + 3, 0.7, "teacher")

# %% [markdown]
# The answer is (b). The event rate of the second half is that of the first, up to the chance of the coins; the burst
# rate has tripled. The same axon carries both, and a synapse decides which of the two it passes on: one that weakens
# from spike to spike of a burst passes on the events, one that strengthens passes on the bursts. So the layer below can
# receive the bursts as feedback, while the layer above goes on reading events.
#
# ## One update by hand
#
# From here on all units have rates, as in the authors' code: $h = \sigma(a)$ is the activity. The **output** units have
# the burst probability $p_b = 0.2$; the teacher, who knows the target $t$, changes it to
#
# $$p^t = p_b\,\bigl(1 + (t - h)(1 - h)\bigr)$$
#
# In a **hidden** layer the bursts of the layer above arrive through a random matrix $B$, without the teacher and, a
# moment later, with it:
#
# $$p = \sigma\bigl((1 - h) \odot b_{above} B^\top\bigr), \qquad
# p^t = \sigma\bigl((1 - h) \odot b^t_{above} B^\top\bigr)$$
#
# Every weight learns from what happens at its own unit: $\delta = (b - b^t)/n$ for $n$ examples, and
# $\Delta W \propto -x^\top \delta$. An event that comes with more bursts than before strengthens the synapses that were
# active, one with fewer weakens them.

# %%
SIZES = 12, 10, 9, 4


def small_network():
    """Three layers of Sigmoids, the output too."""
    layers = mf.models.mlp(
        SIZES[:1], 4, SIZES[1:3], activation="sigmoid", output_activation="sigmoid"
    )
    return mf.Network(layers, 1, SIZES[:1])


def with_feedback(net, *names):
    """These rules with the same B for each layer, from N(0, 1)."""
    rules = [mf.rules.make(name).attach(net) for name in names]
    draws = np.random.default_rng(2)
    for layer in ("linear2", "linear3"):
        B = draws.standard_normal(net[layer].weight_shape)
        for rule in rules:
            rule.set_feedback(layer, B)
    return rules


net, draws = small_network(), np.random.default_rng(3)
burst, inhibited, fa = with_feedback(net, "burst", "burst:inhibition=true", "fa")
x = draws.standard_normal((6, 12))
direction = draws.uniform(-1, 1, (6, 4))


def forward(x):
    """The event rates of the three layers."""
    h = [x]
    for layer in net.weighted:
        h.append(sigmoid(h[-1] @ layer.W + layer.b))
    return h


t = forward(x)[-1] + 0.1 * direction  # a teacher that is content with small changes
burst.gradients(net, x, t, loss)
B = burst.B["linear3"]

x, h1, h2, h3 = forward(x)
b, b_t = 0.2 * h3, 0.2 * (1 + (t - h3) * (1 - h3)) * h3
p = sigmoid((1 - h2) * (b @ B.T))
p_t = sigmoid((1 - h2) * (b_t @ B.T))
delta2 = (p - p_t) * h2 / len(x)
dW2 = h1.T @ delta2
print(f"dW2 differs by {np.abs(dW2 - net['linear2'].grads['W']).max():.0e}")
rates = burst.rates("sigmoid2")
print(f"burst probabilities of layer 2: {p.min():.2f} to {p.max():.2f}")
assert np.allclose(dW2, net["linear2"].grads["W"], atol=1e-12)
assert np.allclose(p, rates["p"]) and np.allclose(p_t, rates["p_t"])

# %% [markdown]
# `rule.rates(layer)` has the rates of the last pass: `h`, `p`, `p_t`, `b`, `b_t`, and what arrived from above, `v`
# without and `v + dv` with the teacher.
#
# ## Feedback alignment in disguise
#
# Without the teacher the argument of $\sigma$ is $u$, with it $u + du$, and $du = -(1 - h) \odot n\,\delta_{above}
# B^\top$. If $du$ is small,
#
# $$p^t - p \approx p\,(1 - p)\,du \qquad\Rightarrow\qquad
# \delta \approx p\,(1 - p) \odot \bigl(\delta_{above} B^\top\bigr) \odot h\,(1 - h)$$
#
# This is the error of feedback alignment, with its exact slope $h\,(1 - h)$, times $p\,(1 - p)$. At the output the
# error is exactly $p_b$ times the true one, because $b - b^t = p_b\,(h - t)\,h\,(1 - h)$.
#
# $p\,(1 - p)$ is another number for each unit and example. The authors add recurrent **inhibition**, which learns to
# cancel $u$ (`inhibition=true` assumes that it has succeeded): the dendrite then sees $du$ alone. Below, each
# gradient of `burst` is fitted by a factor times that of feedback alignment (divided by $p_b$); the residual is the
# part that the factor does not fit, relative to the gradient's norm.
#
# > **Predict, then run.** With inhibition and small errors, the gradient of the first of two hidden layers is that of
# > feedback alignment times which number (apart from the output's $p_b$)? (a) None: it differs from unit to unit.
# > (b) 1/4. (c) 1/16.


# %%
def factors(rule, distance):
    """The gradients of W1 to W3 as multiples of fa's: factor and residual of each."""
    t = forward(x)[-1] + distance * direction
    found = []
    for one in (rule, fa):
        one.gradients(net, x, t, loss)
        found.append([layer.grads["W"].copy() for layer in net.weighted])
    pairs = []
    for own, of_fa in zip(*found, strict=True):
        factor = np.vdot(own, of_fa) / np.vdot(of_fa, of_fa)
        residual = np.linalg.norm(own - factor * of_fa) / np.linalg.norm(own)
        pairs.append((factor / 0.2, residual))
    return np.array(pairs)


for name, rule in (("burst", burst), ("burst, inhibition", inhibited)):
    for distance in (0.3, 0.01):
        print(f"{name:18} targets at {distance:<5}", end="")
        for (factor, residual), layer in zip(
            factors(rule, distance), "123", strict=True
        ):
            print(f"  W{layer} {factor:.5f} (residual {residual:.0e})", end="")
        print()
assert np.allclose(factors(inhibited, 0.01)[:, 0], (1 / 16, 1 / 4, 1), atol=1e-6)
assert factors(burst, 0.01)[0, 1] > 10 * factors(inhibited, 0.01)[0, 1]

# %% [figure]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
burst.gradients(net, x, t, loss)
for name, colour in (("sigmoid1", BLUE), ("sigmoid2", ORANGE)):
    p = burst.rates(name)["p"]
    axes[0].hist(
        (p * (1 - p)).ravel(),
        np.linspace(0.22, 0.25, 31),
        color=colour,
        alpha=0.6,
        label=name,
    )
axes[0].axvline(0.25, color=GREY, linestyle=":")
axes[0].set(xlabel="p (1 - p)", ylabel="units and examples", title="Without inhibition")
axes[0].legend()
distances = 10.0 ** np.arange(0, -4.5, -0.5)
for rule, label, colour in (
    (burst, "burst", BLUE),
    (inhibited, "with inhibition", ORANGE),
):
    axes[1].loglog(
        distances,
        [factors(rule, d)[0, 1] for d in distances],
        "o-",
        color=colour,
        label=label,
    )
axes[1].set(
    xlabel="distance of the targets",
    ylabel="residual of W1",
    title="Distance from feedback alignment",
)
_ = axes[1].legend()

# %% [markdown]
# The answer is (c): a quarter for each hidden layer that the error has entered. With inhibition the difference from
# feedback alignment disappears with the square of the error (right); such a factor is part of the learning rate.
# Without inhibition each unit has a factor of its own, at most 1/4 (left), and a residual stays.
#
# ## Digits
#
# One hidden layer of 64 Sigmoids, ten Sigmoids at the output, half the squared error. The output and the hidden layer
# have a learning rate each. Those of `burst` are the best of a small grid on held-out digits (seeds 100 and 101, half a
# decade apart), as are those of `learned` and `shallow`; the three seeds here are new. In the rows `fa / 4` and
# `bp / 4` the rates are those of `burst` times $p_b$ at the output and $p_b / 4$ in the hidden layer: they show what
# `burst` would do if $p\,(1 - p)$ were 1/4 everywhere. In the row `learned` $B$ receives the update of $W$
# (Kolen-Pollack learning, tutorial 09).
#
# > **Predict, then run.** Both networks start with the same $W$ and $B$ and see the same batches. On how many of the
# > 360 test digits do `burst` and feedback alignment give the same answer after 20 epochs? (a) About 70 %. (b) About
# > 90 %. (c) More than 98 %.

# %%
mf.use("numpy", dtype="float32", threads=1)
P_B, QUARTER = 0.2, 0.25
ROWS = {  # rule, rate of the output, rate of the hidden layer, weight decay
    "burst": ("burst", 1.0, 30.0, 0.0),
    "burst, inhibition": ("burst:inhibition=true", 1.0, 30.0, 0.0),
    "fa / 4": ("fa", P_B, 30 * P_B * QUARTER, 0.0),
    "learned": ("burst:learned=true", 1.0, 10.0, 1e-4),
    "bp / 4": ("bp", P_B, 30 * P_B * QUARTER, 0.0),
    "shallow": ("shallow", 0.3, 0.0, 0.0),
}


def train(rule, output, hidden, decay, seed, gain=1.0):
    """Train a network of Sigmoids under this rule; returns the trainer."""
    ends = {"activation": "sigmoid", "output_activation": "sigmoid"}
    layers = mf.models.mlp(data.input_shape, 10, (64,), init="xavier_normal", **ends)
    net = mf.Network(layers, seed, data.input_shape)
    for layer in net.weighted:
        layer.W = gain * layer.W
    rates = {"linear1": hidden / output}
    optimizer = mf.SGD(output, 0.8, weight_decay=decay, lr_factors=rates)
    rule = mf.rules.make(rule, seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, loss, optimizer, seed=seed)
    trainer.fit(data.train, 20, batch_size=32)
    return trainer


SEEDS = (0, 1, 2)
trained = {name: [train(*row, seed) for seed in SEEDS] for name, row in ROWS.items()}

# %%
answers = {
    name: [trainer.net.classify(data.test.x) for trainer in trainers]
    for name, trainers in trained.items()
}
accuracy = {name: np.mean(answers[name] == data.test.y, axis=1) for name in ROWS}
for name, scores in accuracy.items():
    same = np.mean(np.equal(answers[name], answers["fa / 4"]))
    values = " ".join(f"{score:.3f}" for score in scores)
    print(f"{name:18} {values}  mean {scores.mean():.3f}  as fa / 4: {same:.1%}")
mean = {name: scores.mean() for name, scores in accuracy.items()}
assert (
    abs(mean["burst"] - mean["fa / 4"]) < 0.01
    and mean["burst"] > mean["shallow"] + 0.02
)
assert np.mean(np.equal(answers["burst"], answers["fa / 4"])) > 0.98

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
colours = (BLUE, BLUE, ORANGE, GREEN, GREY, PINK)
for i, (name, colour) in enumerate(zip(ROWS, colours, strict=True)):
    scores = accuracy[name]
    ax.plot([i - 0.3, i + 0.3], 2 * [scores.mean()], color=colour)
    ax.plot([i] * len(scores), scores, "o", color=colour, markersize=5)
    ax.text(i, scores.max() + 0.008, f"{scores.mean():.3f}", ha="center")
ax.set(xticks=range(len(ROWS)), xticklabels=ROWS, ylim=(0.88, 1.0))
_ = ax.set(ylabel="test accuracy", title="64 hidden Sigmoids, 20 epochs, three seeds")


# %%
def weight_angle(name):
    """The angle between W and B of the output layer in degrees, of each seed."""
    nets = [
        (trainer.net["linear2"].W, trainer.rule.B["linear2"])
        for trainer in trained[name]
    ]
    return [float(mf.metrics.angle(W, B)) for W, B in nets]


angles = {name: weight_angle(name) for name in ("burst", "fa / 4", "learned")}
for name, of_seeds in angles.items():
    print(
        f"{name:8} angle of W and B:", " ".join(f"{angle:.0f}°" for angle in of_seeds)
    )
assert max(angles["learned"]) < min(angles["burst"]) < 80

# %% [markdown]
# The answer is (c). Although $p\,(1 - p)$ differs from unit to unit, the answers are those of feedback alignment: the
# factors are near 1/4. As under feedback alignment $W$ turns towards $B$, and more so where $B$ learns, too. All of
# these rules are near backpropagation, and above a network whose hidden layer does not learn. The row `bp / 4` has a
# peer in PyTorch, with the same rates (`tutorials/results/burst`).
#
# ## Where it fails
#
# A hidden unit learns only if it is neither silent nor always active: its error has the factor $h\,(1 - h)$. Nothing in
# the rule repairs a bad start. The authors draw $W$ with a gain of 3.6, for 784 pixels most of which are black. The 64
# pixels of the digits are standardised, and this gain is too much for them.

# %%
few = mf.asarray(data.test.x[:100])
for gain in (1.0, 3.6):
    listen, scores = mf.Listen({"sigmoid1"}), {}
    trained = {
        name: [train(*ROWS[name], seed, gain) for seed in SEEDS]
        for name in ("burst", "fa / 4", "bp / 4", "shallow")
    }
    for name, trainers in trained.items():
        scores[name] = [trainer.evaluate(data.test)["accuracy"] for trainer in trainers]
    trained["shallow"][0].net.forward(few, listen)  # its hidden layer is as drawn
    h = listen.outputs["sigmoid1"]
    angles = " ".join(f"{angle:.0f}°" for angle in weight_angle("burst"))
    print(f"gain {gain}: mean h (1 - h) at the start {(h * (1 - h)).mean():.3f}")
    print(
        "  accuracy:",
        "  ".join(f"{name} {np.mean(scores[name]):.3f}" for name in scores),
    )
    print(f"  W and B of burst at the end: {angles}")
assert max(scores["burst"]) < 0.88 and min(scores["bp / 4"]) > 0.94
assert abs(np.mean(scores["burst"]) - np.mean(scores["fa / 4"])) < 0.02
assert min(weight_angle("burst")) > 62

# %% [markdown]
# With the large gain the slopes are less than half as large at the start. Backpropagation learns nevertheless. `burst`
# and feedback alignment lose the same: their $W$ starts large and turns less towards $B$ than above. The reason is not
# the bursts: where feedback alignment does not align, they do not help.
#
# ## A softmax at the output
#
# With classes one would rather end in a softmax. Then $h$ is the softmax of the outputs, and the teacher sets
#
# $$p^t = \min\Bigl(p_b\,\bigl(1 + \kappa\,\tfrac{t - h}{h}\bigr),\; 1\Bigr), \qquad
# n\,\delta = \frac{b - b^t}{\kappa} = p_b\,(h - t)\ \text{ as long as } p^t < 1$$
#
# A burst probability cannot exceed 1. If the network gives the right class a small $h$, its teacher would have to: the
# error **saturates**, and the less confident the network is of the right class, the less it learns of it. $\kappa$
# says how early this happens (default 0.5; the authors' code has $10^{-5}$, which never saturates, but asks the layer
# below to read a very small change of a rate). This is the rule on networks without a Sigmoid at the end:
# `minifa train --rule burst --model mlp --activation sigmoid`.

# %%
KAPPAS, h_of_class = (0.1, 0.5, 1.0), np.linspace(0.004, 0.5, 100)
net = mf.Network([mf.Linear(1, 2, bias=False)])
errors = {}
for kappa in KAPPAS:
    rule = mf.rules.make(f"burst:kappa={kappa}").attach(net)
    errors[kappa] = []
    for h in h_of_class:
        net["linear1"].W = [[np.log(h / (1 - h)), 0.0]]  # class 0 has the probability h
        rule.gradients(net, mf.asarray([[1.0]]), [0], mf.SoftmaxCrossEntropy())
        errors[kappa].append(-float(net["linear1"].grads["W"][0, 0]))
assert np.allclose(errors[0.1][10:], 0.2 * (1 - h_of_class[10:]), atol=1e-5)
assert errors[1.0][0] < errors[0.5][0] < errors[0.1][0]

# %% [figure]
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for kappa, colour in zip(KAPPAS, (BLUE, ORANGE, GREEN), strict=True):
    ax.plot(h_of_class, errors[kappa], color=colour, label=f"kappa = {kappa}")
ax.plot(h_of_class, 0.2 * (1 - h_of_class), ":", color=GREY, label="p_b (1 - h)")
ax.set(
    xlabel="h of the right class",
    ylabel="minus its error",
    title="A teacher that saturates",
)
_ = ax.legend()

# %% [markdown]
# ## What it takes
#
# | | `fa` | `burst` |
# |---|---|---|
# | goes up | activity | events: bursts and single spikes alike |
# | comes down | the error, with its sign, on a path of its own | bursts of the same units |
# | the unit must | multiply by $f'$ | keep what arrives at its dendrites apart from what arrives at its soma |
# | the synapse must | | tell bursts from single spikes, and compare two moments in time |
#
# A rate is never negative; the sign of the error is that of the change by the teacher. That is the answer of the paper
# to an old question: which signal in the brain could be an error? What this tutorial does not have is the spiking model
# of the paper, in which rates are measured over a population, and the inhibition that learns.
#
# ## Summary
#
# - Event rate and burst probability are two messages of one unit. The first depends on the input from below alone.
# - With a Sigmoid at the output the error there is $p_b$ times the true one; in hidden layers it is feedback
#   alignment's times $p\,(1 - p)$ for each layer, for small errors. With inhibition that is 1/4.
# - On the digits the rule answers what feedback alignment with a quarter of the rate answers, and fails with it.
# - The authors' code sums over the batch: its rates are those here divided by the number of examples.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. The teacher's limit.** Below which $h$ of the right class does the error of a softmax saturate? Fill in the
# bound, from $\kappa$ and $p_b$. ($t = 1$ for the right class.)


# %%
def bound(kappa, p_b):
    return ...


# Check
if bound(0.5, 0.2) is ...:
    print("not filled in yet")
else:
    for kappa in KAPPAS:
        above = h_of_class > bound(kappa, 0.2)
        free = np.isclose(errors[kappa], 0.2 * (1 - h_of_class), atol=1e-5)
        assert (above == free).all(), (
            "not the place where the curves leave the dotted line"
        )
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def bound(kappa, p_b):
#     return kappa * p_b / (1 - p_b + kappa * p_b)
# ```
#
# $p_b\,(1 + \kappa\,(1 - h)/h) = 1$, solved for $h$. For $\kappa = 1$ it is $p_b$ itself.
# </details>
#
# **2. Without cancellation.** With inhibition $p^t - p = \sigma(du) - 1/2$. If $du$ is small, the difference loses its
# digits: in float32 nothing is left of a $du$ of $10^{-8}$. Fill in the same function of $du$ without a difference.
# (Hint: $\tanh$.)

# %%
du = np.float32([1e-8, 1e-4, -0.3, 2.0])

change = ...

# Check
if change is ...:
    print("not filled in yet")
else:
    exact = 1 / (1 + np.exp(-np.float64(du))) - 0.5
    exact[0] = 0.25e-8  # its first term; float64 has only eight digits of it
    print(
        "p_t - p:",
        change,
        " by the difference:",
        1 / (1 + np.exp(-du)) - np.float32(0.5),
    )
    assert np.allclose(change, exact, rtol=1e-6, atol=0), "not the same function"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# change = np.tanh(du / 2) / 2
# ```
#
# $\sigma(du) = (1 + \tanh(du/2))/2$. With $u$ it is $p^t - p = \tanh(du/2)\,\bigl(p\,(1 - p^t) + p^t\,(1 - p)\bigr)$,
# which is how minifa computes it (`minifa.rules.burst_rates`).
# </details>
