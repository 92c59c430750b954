# %% [markdown]
# # 23 · Correlation is not causation
#
# **A weight mirror measures correlations: noise drives the units of a layer, and the feedback learns how the units
# above covary with them. If the noise of different units is correlated, a unit is credited with the effects of the
# others, and feedback that was to copy the weights ends about 50 degrees from them; training becomes worse than under
# feedback alignment. A spiking unit has a way out. Just above and just below its threshold everything else is alike,
# so that the jump of the activity above it is the effect of its own spike. The rule `rdd` learns these jumps, and
# trains as backpropagation does under the very noise that misleads the mirror.**
#
# You need feedback alignment (tutorial 03) and the weight mirror (09). The rules are those of Guerguiev et al. 2019
# (`rdd`), Ahmad et al. 2020 (`stdwi`), Gierlich et al. 2025 (`sal`) and Max et al. 2022 (`pal`), in discrete time.
#
# **The jump in the explorer:** `minifa explore --rules rdd,weight_mirror -o page.html`, then open
# `page.html#step/rdd/24` ("Update of linear2.B by the rule"). In the terminal, a step of a smaller network (2-4-2):
# `minifa step --rule rdd`.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.metrics import angle

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN, PINK = mf.figures.COLOURS[:4]
GREY = "#666666"
mf.use("numpy", threads=1)

data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
FAN_IN, FAN_OUT, N = 30, 20, 20_000
net = mf.Network([mf.Linear(1, FAN_IN), mf.Linear(FAN_IN, FAN_OUT)])
W = net["linear2"].W


def learned(rule, samples=N, rate=1):
    """B of a layer of 30 inputs and 20 outputs after one phase of noise."""
    rule += f"{',' if ':' in rule else ':'}samples={samples},rate={rate}"
    return mf.rules.make(f"{rule},warmup_phases=1").attach(net).B["linear2"]


# %% [markdown]
# ## What a mirror measures
#
# In a phase of a weight mirror noise $x$ drives the inputs of a layer, the outputs answer with $y = x W$, and $B$
# moves towards the mean of $x^\top y$. With $\sigma^2$ the variance of the noise and $C$ the matrix of its
# correlations between inputs,
#
# $$E[x^\top y] = E[x^\top x]\, W = \sigma^2\, C\, W$$
#
# For white noise $C$ is the identity, and $B$ learns $W$. Now let every pair of inputs be correlated. In this
# tutorial a unit has a normally distributed drive $u$ and **spikes** where $u \ge 0$; the mirror receives the spikes,
# shifted and scaled to mean 0 and variance 1. If the drives have the correlation $c$, spikes have $c' = \frac{2}{\pi}
# \arcsin c$.
#
# > **Predict, then run.** The drives have the weak correlation 0.3, and the phase is so long (20,000 patterns) that
# > chance plays no part. How far from $W$ does the mirror end? (a) 5 degrees. (b) 15 degrees. (c) More than 40 degrees.

# %%
CORRELATIONS = (0.0, 0.3, 0.6)
mirror, predicted = {}, {}
for c in CORRELATIONS:
    B = learned(f"weight_mirror:noise=spikes,correlation={c}")
    of_spikes = 2 / math.pi * math.asin(c)
    C = of_spikes + (1 - of_spikes) * np.eye(FAN_IN)
    mirror[c], predicted[c] = float(angle(W, B)), float(angle(W, C @ W))
    print(f"c = {c}: mirror {mirror[c]:4.1f} degrees from W, C W {predicted[c]:4.1f}")
    assert abs(mirror[c] - predicted[c]) < 3
assert mirror[0.3] > 40

# %% [markdown]
# The answer is (c). A correlation of 0.3 looks small, but each unit has 29 others with which it is active, and all of
# their effects count as its own. More patterns do not help: $CW$ is the exact limit.
#
# ## The jump at the threshold
#
# Economists call it a **regression discontinuity**. Scholarships go to pupils with at least 80 points. Comparing all
# with and without a scholarship confounds its effect with ability; but pupils with 79 and with 80 points differ in
# nothing else, and the jump of their later success at 80 is the effect of the scholarship. A spike is given to the unit
# whose drive reaches its threshold:
#
# $$B_{ij} = \lim_{u_i \downarrow 0} E[y_j \mid u_i] - \lim_{u_i \uparrow 0} E[y_j \mid u_i]$$
#
# On each side, from the patterns with $|u_i| < 0.5$, the rule fits a straight line and takes its value at 0. Here is
# one unit and one output, at $c = 0.6$. The other units make $y$ rise with $u$ on both sides; the unit itself makes the
# jump.

# %%
rng, c, window = np.random.default_rng(0), 0.6, 0.5
u = math.sqrt(1 - c) * rng.normal(size=(N, FAN_IN)) + math.sqrt(c) * rng.normal(
    size=(N, 1)
)
spikes = u >= 0
y = spikes @ W
j = int(np.argmax(W.sum(axis=0)))  # an output that most units excite
i = int(np.argmin(W[:, j]))  # and the unit that inhibits it most
near = {
    side: (spikes[:, i] == side) & (abs(u[:, i]) < window) for side in (False, True)
}
lines = {side: np.polyfit(u[m, i], y[m, j], 1) for side, m in near.items()}
jump = lines[True][1] - lines[False][1]
means = y[near[True], j].mean() - y[near[False], j].mean()
all_patterns = y[spikes[:, i], j].mean() - y[~spikes[:, i], j].mean()
print(f"the weight                              {W[i, j]:+.2f}")
print(f"y with a spike minus y without          {all_patterns:+.2f}")
print(f"the same, |u| < {window} only                 {means:+.2f}")
print(f"the jump of the lines                   {jump:+.2f}")
assert W[i, j] < 0 < all_patterns and abs(jump - W[i, j]) < abs(means - W[i, j])

# %% [figure]
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
shown = slice(0, 3000)
ax.scatter(u[shown, i], y[shown, j], s=3, color=GREY, alpha=0.35, linewidths=0)
bins = np.linspace(-2, 2, 33)
for low, high in zip(bins, bins[1:], strict=False):
    inside = (u[:, i] >= low) & (u[:, i] < high)
    ax.plot((low + high) / 2, y[inside, j].mean(), "o", color="black", markersize=3)
for side, colour in ((False, BLUE), (True, ORANGE)):
    ends = np.array([0, window if side else -window])
    ax.plot(
        ends,
        np.polyval(lines[side], ends),
        color=colour,
        linewidth=3,
        solid_capstyle="butt",
    )
ax.annotate(
    f"jump {jump:+.2f}\nweight {W[i, j]:+.2f}",
    (0.03, lines[True][1]),
    (0.7, y[:, j].min()),
    arrowprops={"arrowstyle": "->", "color": GREY},
)
ax.axvline(0, color=GREY, linewidth=0.8)
ax.set(
    xlim=(-2, 2),
    xlabel="drive u of one unit (threshold 0)",
    ylabel="output y",
    title="The mean of y (black) rises, and falls at the threshold",
)
plt.show()

# %% [markdown]
# With a spike $y$ is larger than without: the correlation has the wrong **sign**. The lines find the effect. Without
# them the window would have to be very narrow; then few patterns remain. (The two grey rows in the picture are
# patterns in which no unit or every unit spikes.)
#
# > **Predict, then run.** `rdd` for the whole layer, with lines and with means (`fit=constant`). Which is nearer to $W$
# > at $c = 0$, where nothing confounds? (a) Lines: they are always right. (b) Means: two numbers less are estimated.
# > (c) They are equally near.

# %%
measured = {"weight mirror": mirror}
for name, fit in (("rdd, means", "constant"), ("rdd, lines", "line")):
    estimates = {c: learned(f"rdd:correlation={c},fit={fit}") for c in CORRELATIONS}
    measured[name] = {c: float(angle(W, B)) for c, B in estimates.items()}
print("angle to W in degrees" + "".join(f"{f'c = {c}':>10}" for c in CORRELATIONS))
for name, angles in measured.items():
    print(f"{name:21}" + "".join(f"{angles[c]:10.1f}" for c in CORRELATIONS))
line, mean = measured["rdd, lines"], measured["rdd, means"]
assert max(line.values()) < 10 and mean[0.0] < line[0.0]
assert mean[0.6] > 25 and mirror[0.6] > 55

# the variance of the jump: 8 v / m, of the difference of means 2 v / m
m = N * 0.1915  # patterns on each side of the threshold
v = ((W * W).sum(axis=0) - W * W) / 4  # variance of y from the other units, at c = 0
for name, times in (("rdd, lines", 8), ("rdd, means", 2)):
    tangent = math.sqrt(times * v.mean() / m / (W * W).mean())
    print(
        f"{name}: closed form at c = 0 {math.degrees(math.atan(tangent)):.1f} degrees"
    )

# %% [markdown]
# The answer is (b). The variance of a line's value at the end of its interval is four times that of a mean. That is the
# price of an estimate without bias. At $c = 0$ it buys nothing, at $c = 0.6$ it does.

# %% [figure]
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for (name, angles), colour in zip(measured.items(), (ORANGE, GREY, BLUE), strict=True):
    ax.plot(CORRELATIONS, [angles[c] for c in CORRELATIONS], "o", color=colour)
    ax.text(0.62, angles[0.6], name, color=colour, va="center")
ax.plot(CORRELATIONS, predicted.values(), "--", color=ORANGE, linewidth=1)
for name, colour in (("rdd, means", GREY), ("rdd, lines", BLUE)):
    ax.plot(CORRELATIONS, measured[name].values(), color=colour, linewidth=1)
ax.set(
    xlim=(-0.03, 0.8),
    ylim=(0, 75),
    xticks=CORRELATIONS,
    xlabel="correlation c of the noise",
    ylabel="angle to W, degrees",
    title="After 20,000 patterns; dashed: the angle of C W",
)
plt.show()

# %% [markdown]
# ## One bit per unit is enough
#
# What must a synapse know of the unit above it? The mirror receives its activity as a number. `stdwi` receives only
# its spikes: the mean input at the moments of a spike, $E[x_i \mid \text{unit } j \text{ spikes}]$, is proportional
# to $W_{ij}$. Each output unit needs a gain control, so that it spikes at the rate $r = 0.3$. And `sal` needs no
# constant for the size of $B$: both directions of a pair of synapses act, and $B$ learns what follows a unit's
# activity minus what precedes it. Each rule has a law for noise without correlations, with 30 inputs, 20 outputs, $n$
# patterns and $w^2$ the mean square of the weights (the 16 comes from the gain control, under which the probability
# of a spike has the standard deviation $r/4$):
#
# | rule | $\tan^2$ of the angle after $n$ patterns |
# |---|---|
# | `weight_mirror` | $(30 + 1) / n$ |
# | `sal` | $((30 + 1) + (20 + 1) + 1 / w^2) / n$ |
# | `stdwi` | $16\,\frac{1 - r}{r} \cdot 30 / n$ |
#
# > **Predict, then run.** How many times as many patterns does `stdwi` need as the mirror, for the same angle?
# > (a) Twice as many. (b) About ten times. (c) About forty times.

# %%
laws = {
    "weight_mirror": FAN_IN + 1,
    "sal": FAN_IN + FAN_OUT + 2 + 1 / (W * W).mean(),
    "stdwi": 16 * 0.7 / 0.3 * FAN_IN,
}
COUNTS = (500, 2_000, 8_000, 32_000)
found = {}
for name in laws:
    found[name] = [float(angle(W, learned(name, n))) for n in COUNTS]
    law = [math.degrees(math.atan(math.sqrt(laws[name] / n))) for n in COUNTS]
    print(f"{name:14} measured " + " ".join(f"{a:5.1f}" for a in found[name]))
    print(f"{'':14} law      " + " ".join(f"{a:5.1f}" for a in law))
    assert np.allclose(found[name], law, rtol=0.15)
ratio = laws["stdwi"] / laws["weight_mirror"]
print(f"patterns of stdwi for one of the mirror: {ratio:.0f}")
assert 30 < ratio < 45

# %% [markdown]
# The answer is (c): a bit says less than a number, but it says enough.

# %% [figure]
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
many = np.geomspace(400, 40_000, 50)
for (name, angles), colour in zip(found.items(), (ORANGE, GREEN, PINK), strict=True):
    ax.plot(COUNTS, angles, "o", color=colour)
    law = np.degrees(np.arctan(np.sqrt(laws[name] / many)))
    ax.plot(many, law, color=colour, linewidth=1)
    ax.text(44_000, law[-1], name, color=colour, va="center")
ax.set(
    xscale="log",
    yscale="log",
    xlim=(400, 150_000),
    ylim=(1, 80),
    yticks=[1, 3, 10, 30],
    yticklabels=["1", "3", "10", "30"],
    xlabel="patterns n",
    ylabel="angle to W, degrees",
    title="Measured (points) and the laws (lines)",
)
plt.show()

# %% [markdown]
# ## Training
#
# Now $W$ learns, and $B$ follows it, with one phase of 128 patterns after every update. 64-48-48-48-10 ReLUs on the
# digits, SGD with momentum, learning rate 0.005 for all, 12 epochs. In the two rows "c = 0.3" the noise is correlated.

# %%
ROWS = {
    "bp": "bp",
    "fa": "fa",
    "weight mirror": "weight_mirror",
    "weight mirror, c = 0.3": "weight_mirror:correlation=0.3,noise=spikes",
    "rdd, c = 0.3": "rdd:correlation=0.3",
    "stdwi": "stdwi",
    "sal": "sal",
    "pal": "pal",
}
SEEDS = range(5)


def train(description, seed):
    """Accuracy on the test set, and the mean angle between B and W over the layers."""
    layers = mf.models.mlp(data.input_shape, 10, (48, 48, 48))
    net = mf.Network(layers, seed, data.input_shape)
    rule = mf.rules.make(description, seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, loss, mf.SGD(0.005, momentum=0.9), seed=seed)
    trainer.fit(data.train, epochs=12, batch_size=64)
    angles = [float(angle(net[name].W, B)) for name, B in rule.B.items()]
    return trainer.evaluate(data.test)["accuracy"], np.mean(angles)


# %% [markdown]
# > **Predict, then run.** Where does the mirror with correlated noise end? (a) Between feedback alignment and
# > backpropagation, because its $B$ is nearer to $W$ than a random one. (b) Near feedback alignment. (c) Far below
# > feedback alignment.

# %%
scores, angles = {}, {}
print("rule                    test, mean ± sd   angle of B and W   (five seeds)")
for name, description in ROWS.items():
    runs = [train(description, seed) for seed in SEEDS]
    scores[name], angles[name] = (np.array(one) for one in zip(*runs, strict=True))
    mean, sd = scores[name].mean(), scores[name].std(ddof=1)
    print(f"{name:24}{mean:.3f} ± {sd:.3f} {angles[name].mean():15.1f}")
misled, causal = "weight mirror, c = 0.3", "rdd, c = 0.3"
assert (scores[misled] < scores["fa"] - 0.05).all()
assert (scores[causal] > scores["fa"] + 0.02).all()
assert (angles[causal] < 15).all() and (angles[misled] > 40).all()
assert all((scores[name] > 0.92).all() for name in ("stdwi", "sal", "pal"))

# %% [figure]
fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
for k, name in enumerate(ROWS):
    colour = ORANGE if name == misled else BLUE if name == causal else GREY
    ax.plot(scores[name], [k] * len(SEEDS), "o", color=colour, alpha=0.7)
ax.set(
    yticks=range(len(ROWS)),
    yticklabels=ROWS,
    xlabel="test accuracy (one point per seed)",
    title="64-48-48-48-10 on the digits, 12 epochs",
)
ax.invert_yaxis()
plt.show()

# %% [markdown]
# The answer is (c), although at 55 degrees its $B$ is nearer to $W$ than that of feedback alignment at 84. The limit is
#
# $$C W = (1 - c')\, W + c'\, \mathbf{1} s^\top$$
#
# with $s$ the sum of $W$ over its inputs: each unit receives its own error and a common one, the same for all units.
# For random weights the common part has the share $c'^2 F / (c'^2 F + (1 - c')^2)$ of the squared norm, which is 74 %
# for $F = 48$ inputs and $c = 0.3$.
#
# `stdwi` trains as the others do at 21 degrees, from one bit per unit and pattern. `pal` needs no phases: its noise
# is added to the activity of the batch itself, and a high-pass filter removes a part of the signal; the part that is
# left makes the estimate of $W$ noisier.
#
# One rate for all is not fair to all. The table with each rule's own rate, its command and PyTorch beside it is in
# `tutorials/results/README.md` ("Feedback from noise"). There, too, the misled mirror is far below feedback alignment
# and `rdd` above it; backpropagation gains from a rate of 0.03, at which rules with a noisy $B$ diverge.
#
# ## Exercises
#
# **1. Gaussian noise.** The mirror here received spikes. With `noise=gaussian`, the default, it receives the drives
# themselves. Fill in `C`, their matrix of correlations at $c = 0.3$.

# %%
c = 0.3
C = ...

# Check
if C is ...:
    print("not filled in yet")
else:
    B = learned(f"weight_mirror:correlation={c}")
    print(f"B and C W: {angle(B, C @ W):.1f} degrees; W and C W: {angle(W, C @ W):.1f}")
    assert np.shape(C) == (FAN_IN, FAN_IN), "one row and one column for each input"
    assert angle(B, C @ W) < 3, "another matrix than the mirror's limit"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# C = c + (1 - c) * np.eye(FAN_IN)
# assert angle(W, C @ W) > mirror[0.3]
# ```
#
# A threshold makes correlations smaller: $\frac{2}{\pi} \arcsin 0.3 = 0.19$. The drives themselves mislead even more.
# </details>
#
# **2. How long to average.** With a rate below 1, $B$ averages over about $2 / \text{rate}$ phases: the squared tangent
# of the angle is that of one phase times $\text{rate} / (2 - \text{rate})$. Fill in `degrees`, the angle of a mirror
# with 128 patterns in a phase and the rate 0.02.

# %%
degrees = ...

# Check
if degrees is ...:
    print("not filled in yet")
else:
    rule = "weight_mirror:rate=0.02,warmup_phases=400"
    B = mf.rules.make(rule).attach(net).B["linear2"]
    print(f"predicted {degrees:.2f} degrees, measured {angle(W, B):.2f}")
    assert degrees < 60, "an angle in degrees, not its tangent's square"
    assert abs(degrees - float(angle(W, B))) < 0.4, "not the law of this section"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# degrees = math.degrees(math.atan(math.sqrt(31 / 128 * 0.02 / 1.98)))
# assert 2.7 < degrees < 3
# ```
#
# Half the angle takes a quarter of the rate, and then $B$ follows a moving $W$ four times as slowly.
# </details>
