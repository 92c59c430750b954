# %% [markdown]
# # 13 · A rule into the package
#
# **A rule is finished when others can trust it. Three checks make this possible: the written formula, a control that
# must equal backpropagation bit for bit, and the rule's own claim. You will run them on the ternary rule of tutorial
# 12, then break the rule in four ways: each check overlooks a mistake that another one detects. At the end you will
# know the places to change in order to add a rule to minifa.**
#
# You need [tutorial 12](12_write_your_own_rule.ipynb), which introduces the rule.
#
# **What the engine does with a rule, moment by moment:** `minifa step --rule usf`; on a page, `minifa explore --rules
# usf,bp -o page.html` and `page.html#step/usf/14` ("Feedback matrix of linear2: B").

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa import figures, testing
from minifa.backend import xp
from minifa.linalg import norm, rescaled
from minifa.rules import Rule

plt.rcParams.update(figures.STYLE)
BLUE, ORANGE, GREEN = figures.COLOURS[:3]
mf.use("numpy", dtype="float64")
data = mf.data.load("digits")

# %% [markdown]
# ## The rule as a file
#
# For the package the class of tutorial 12 gets what its readers need: the equation, the source, what the rule requires
# of a brain or chip, and options that refuse wrong values. `norm` and `rescaled` replace the two lines that scaled $B$:
# they handle convolution kernels, and a $B$ that is zero everywhere. One option is new, `magnitudes="own"`: $B$ keeps
# the weights' own magnitudes. It is there for a check below.


# %%
class Ternary(Rule):
    """Sign-concordant feedback from the stronger weights alone.

    Args:
        threshold: t, at least 0, in units of the root mean square of W; weaker
            weights have no feedback synapse.
        magnitudes: "one" (all equal, B has W's norm) or "own" (those of W: with t = 0
            this is backpropagation).
    """

    name = "ternary"
    title = "ternary feedback"
    equation = "B = s sign(W) [abs(W) > t rms(W)]"
    paper = "none: tutorial 12"
    needs = "the sign of every strong weight at its feedback synapse, no other synapses"

    def __init__(self, seed=0, threshold=0.6, magnitudes="one"):
        super().__init__(seed)
        if not threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {threshold}")
        if magnitudes not in ("one", "own"):
            raise ValueError(f"magnitudes must be 'one' or 'own', got {magnitudes!r}")
        self.threshold, self.magnitudes = threshold, magnitudes

    def feedback(self, layer):
        W = layer.W
        strong = xp.abs(W) > self.threshold * norm(W) / math.sqrt(W.size)
        if self.magnitudes == "own":
            return W * strong
        return rescaled(xp.sign(W) * strong, norm(W))


layers = [mf.Linear(20, 24), mf.ReLU(), mf.Linear(24, 24), mf.ReLU(), mf.Linear(24, 5)]
net = mf.Network(layers)
rule = Ternary(threshold=0.6).attach(net)
figures.signs(net["linear2"].W, rule.B["linear2"], "Signs of W and of ternary feedback")

# %% [markdown]
# In the picture 51 % of the signs agree, and no sign disagrees: the other entries of $B$ are zero, because their
# weights are weak.
#
# ## First check: the formula
#
# The implementation may differ from your intention. So write the rule a second time in plain NumPy, for a network of
# three layers, directly from the formula and as simply as possible, and compare all gradients.


# %%
def task(seed=0):
    rng = np.random.default_rng(seed)
    layers = [mf.Linear(6, 7), mf.Tanh(), mf.Linear(7, 8), mf.Tanh(), mf.Linear(8, 3)]
    return (
        mf.Network(layers, seed),
        rng.standard_normal((5, 6)),
        rng.standard_normal((5, 3)),
    )


def plain_ternary(W, t):
    strong = [[abs(w) > t * np.sqrt(np.mean(W**2)) for w in row] for row in W]
    B = np.sign(W) * np.array(strong)
    return B * np.linalg.norm(W) / np.linalg.norm(B)


def check_formula(rule, plain):
    net, x, target = task()
    rule.attach(net).gradients(net, x, target, mf.HalfSquaredError())
    W1, W2, W3 = (layer.W for layer in net.weighted)  # the biases are zero at the start
    h1 = np.tanh(x @ W1)
    h2 = np.tanh(h1 @ W2)
    e = (h2 @ W3 - target) / len(x)
    d2 = e @ plain(W3).T * (1 - h2**2)
    d1 = d2 @ plain(W2).T * (1 - h1**2)
    for layer, expected in zip(
        net.weighted, (x.T @ d1, h1.T @ d2, h2.T @ e), strict=True
    ):
        np.testing.assert_allclose(layer.grads["W"], expected, rtol=1e-10, atol=1e-14)


for t in (0.0, 0.6, 1.1):
    check_formula(Ternary(threshold=t), lambda W, t=t: plain_ternary(W, t))
print("the engine agrees with the formula")

# %% [markdown]
# The properties that *every* rule must have are checked by one call, on a dense and on a convolutional network:
# gradients of the right shape and dtype for every layer that learns, weights and errors that are not modified, the same
# bits from the same seed and from a saved state. (`testing.check_layer` does the same for a layer.)

# %%
testing.check_rule(Ternary)
print("check_rule found nothing to report")

# %% [markdown]
# ## Second check: the sham control
#
# Turn off everything that is new (threshold 0, the weights' own magnitudes), and the rule must equal backpropagation:
# not approximately, but bit for bit, after many updates, also with convolutions, batch norm and a residual block. Such
# a control detects errors that a formula for a small network does not: a wrong layer, an outdated copy, a missing
# factor. And the rule itself must *differ* from backpropagation.
#
# > **Predict, then run.** After ten updates, the largest difference between the weights of the sham and those of
# > backpropagation is (a) exactly 0; (b) about 1e-16, rounding; (c) about 1e-3, since a rule is never quite the same.


# %%
def deep():
    block = [mf.Conv2d(4, 4, 3, padding=1), mf.BatchNorm(4), mf.ReLU()]
    layers = [
        mf.Conv2d(1, 4, 3, padding=1),
        mf.ReLU(),
        mf.MaxPool(2),
        mf.Residual(block),
    ]
    layers += [mf.Flatten(), mf.Linear(64, 12), mf.Tanh(), mf.Linear(12, 10)]
    return mf.Network(layers, input_shape=(8, 8, 1))


def train_a_little(rule, steps=10):
    net, optimizer, loss = deep(), mf.SGD(0.05, momentum=0.9), mf.SoftmaxCrossEntropy()
    rule.attach(net)
    for step in range(steps):
        rows = slice(32 * step, 32 * step + 32)
        rule.gradients(net, mf.asarray(data.train.x[rows]), data.train.y[rows], loss)
        optimizer.step(net, rule)
    return net.state()


def largest_difference(rule):
    true = train_a_little(mf.rules.BP())
    return max(
        np.abs(array - true[name]).max() for name, array in train_a_little(rule).items()
    )


def check_sham(sham, rule):
    assert largest_difference(sham) == 0, "the sham differs from backpropagation"
    assert largest_difference(rule) > 0, "the rule is backpropagation in disguise"


sham, rule = Ternary(threshold=0, magnitudes="own"), Ternary()
print("sham against backpropagation:", largest_difference(sham))
print(f"rule against backpropagation: {largest_difference(rule):.2g}")
check_sham(sham, rule)

# %% [markdown]
# The answer is (a): the same operations in the same order give the same bits.
#
# ## Third check: the claim
#
# The rule was made for one property: with Gaussian weights and $t = 0.6$, $B$ is at 25.87 degrees to $W$ (tutorial 12).
# Test it where it should hold, in a wide layer.


# %%
def check_claim(make, degrees=25.87):
    layers = [
        mf.Linear(4, 400),
        mf.ReLU(),
        mf.Linear(400, 400),
        mf.ReLU(),
        mf.Linear(400, 2),
    ]
    wide = mf.Network(layers)
    B = make(threshold=0.6).attach(wide).B["linear2"]
    angle = float(mf.metrics.angle(wide["linear2"].W, B))
    assert abs(angle - degrees) < 0.3, f"{angle:.2f} degrees instead of {degrees}"
    return angle


print(f"{check_claim(Ternary):.2f} degrees")

# %% [markdown]
# ## Can the checks fail?
#
# A check that never fails is worthless. Here are four plausible mistakes:
#
# - **no scale**: $B$ is $\pm 1$ and 0, without the factor $s$;
# - **no abs**: weights above the threshold are kept, and all negative ones are lost;
# - **read once**: $W$ is read only once, in the first pass;
# - **wrong unit**: the threshold is measured in units of the mean of $|W|$, not of the root mean square, in the rule
#   *and* in the plain formula, because their author misread the definition.
#
# > **Predict, then run.** Which of the four mistakes does the claim detect? (a) All. (b) "No abs" and "wrong unit". (c)
# > All but "read once". And which one is detected by the sham control alone?


# %%
class NoScale(Ternary):
    def feedback(self, layer):
        W = layer.W
        strong = xp.abs(W) > self.threshold * norm(W) / math.sqrt(W.size)
        return W * strong if self.magnitudes == "own" else xp.sign(W) * strong


class NoAbs(Ternary):
    def feedback(self, layer):
        W = layer.W
        strong = W > self.threshold * norm(W) / math.sqrt(W.size)
        if self.magnitudes == "own":
            return W * strong
        return rescaled(xp.sign(W) * strong, norm(W))


class ReadOnce(Ternary):
    def feedback(self, layer):
        if layer.name not in self.memory:
            self.memory[layer.name] = super().feedback(layer)
        return self.memory[layer.name]


class WrongUnit(Ternary):
    def feedback(self, layer):
        W = layer.W
        strong = xp.abs(W) > self.threshold * xp.abs(W).mean()
        if self.magnitudes == "own":
            return W * strong
        return rescaled(xp.sign(W) * strong, norm(W))


def plain_wrong_unit(W, t):
    strong = [[abs(w) > t * np.mean(abs(W)) for w in row] for row in W]
    B = np.sign(W) * np.array(strong)
    return B * np.linalg.norm(W) / np.linalg.norm(B)


def detected(check):
    try:
        check()
    except AssertionError:
        return True
    return False


def outcome(make, plain):
    """The names of the checks that detect that something is wrong."""
    checks = {
        "formula": lambda: check_formula(make(), lambda W: plain(W, 0.6)),
        "sham": lambda: check_sham(make(threshold=0, magnitudes="own"), make()),
        "claim": lambda: check_claim(make),
    }
    return tuple(name for name, check in checks.items() if detected(check))


rules = dict.fromkeys((Ternary, NoScale, NoAbs, ReadOnce), plain_ternary)
rules[WrongUnit] = plain_wrong_unit
outcomes = {make.__name__: outcome(make, plain) for make, plain in rules.items()}
for name, hits in outcomes.items():
    print(f"{name:9} detected by {', '.join(hits) or 'none'}")
assert outcomes == {
    "Ternary": (),
    "NoScale": ("formula",),
    "NoAbs": ("formula", "sham", "claim"),
    "ReadOnce": ("sham",),
    "WrongUnit": ("claim",),
}

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
names = {
    "Ternary": "the rule",
    "NoScale": "no scale",
    "NoAbs": "no abs",
    "ReadOnce": "read once",
    "WrongUnit": "wrong unit",
}
for row, hits in enumerate(outcomes.values()):
    for column, check in enumerate(("formula", "sham", "claim")):
        hit = check in hits
        colour = ORANGE if hit else "#e8e4d9"
        ax.add_patch(
            plt.Rectangle((column + 0.03, row + 0.06), 0.94, 0.88, color=colour)
        )
        text = "detected" if hit else "passes"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color="black")
ax.set(
    xlim=(0, 3),
    ylim=(5, 0),
    title="Each check overlooks a mistake that another one detects",
)
ax.set_xticks((0.5, 1.5, 2.5), ("formula", "sham control", "claim"))
ax.set_yticks((0.5, 1.5, 2.5, 3.5, 4.5), names.values())
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
_ = ax.grid(visible=False)

# %% [markdown]
# The answer is (b). An angle does not depend on the scale, and at the start "read once" has the right $B$. The formula
# covers a single update, so it cannot detect "read once": only the sham control does, after the second update. The sham
# control does not test the parts that are turned off, so it overlooks the missing scale and the wrong unit. And if the
# rule and the formula contain the same mistake, only the claim can contradict them. This is why there are three checks.
#
# ## The options
#
# With an entry in the table of rules, options can be given by name, and a wrong one is refused with a suggestion. No
# additional code is needed for this.
#
# > **Predict, then run.** `ternary:treshold=1` has a spelling mistake. What happens? (a) The option is ignored, and the
# > threshold is 0.6. (b) An error names the right spelling. (c) An error from deep inside Python.

# %%
mf.rules.RULES["ternary"] = Ternary
rule = mf.rules.make("ternary:threshold=1.2,magnitudes=own", seed=3)
assert rule.threshold == 1.2 and rule.magnitudes == "own" and rule.seed == 3
for wrong in ("ternary:treshold=1", "ternary:threshold=-1", "ternary:magnitudes=two"):
    try:
        mf.rules.make(wrong)
    except ValueError as error:
        print(error)
    else:
        raise AssertionError(f"{wrong} was accepted")

# %% [markdown]
# The answer is (b): minifa compares the name with the parameters of your constructor.
#
# ## On the command line, without a change to minifa
#
# A rule in a file of your own can be used by all commands: put the class into `ternary.py`, with these lines at the
# end, and run `python ternary.py compare --rules bp,ternary`. The details are in the guide
# (`tutorials/guide/rules.md`, "Write your own rule").
#
# ```python
# from minifa import cli
#
# if __name__ == "__main__":
#     mf.rules.RULES["ternary"] = Ternary
#     raise SystemExit(cli.main())
# ```
#
# ## In the package
#
# To add the rule to minifa itself, change four places; `CONTRIBUTING.md` has the details:
#
# 1. `minifa/rules/ternary.py`: a docstring with description, equation and paper, then the class, with type hints as in
#    the other files.
# 2. `minifa/rules/__init__.py`: its import, and its name in `RULES` and `__all__`. Then
#    `minifa compare --rules bp,ternary` works.
# 3. `minifa/testing/examples.py`: `"ternary"` and `"ternary:threshold=1.2"` in the list of rules. These two lines add
#    31 tests (we tried it: 29 pass, 2 need a GPU): on a network with convolutions, batch norm and residual blocks
#    training gives the same bits on NumPy and on the strict stand-in for CuPy, no step reads a number from the device,
#    `B` is exactly the matrix that carried the error, every layer learns, the rule differs from backpropagation, its
#    state can be saved and loaded, and metrics and traces do not change the training.
# 4. `tests/rules/test_rule_formulas.py`: the formula, as in the first check above. You have to write this test
#    yourself.
#
# ## Summary
#
# Formula, sham control, claim: each check overlooks mistakes that another one detects. They take longer to write than
# the rule, and they are the reason to trust it. The package adds the checks that all rules have in common.
#
# Others can trust a *result* if they can reproduce it: in [tutorial 14](14_from_recipe_to_figure.ipynb) an experiment
# is a text file, from which minifa makes a table.

# %% [markdown]
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. The formula of another rule.** minifa's `usf` gives $B$ the signs of $W$, one magnitude for all entries, and the
# norm of $W$. Write it in plain NumPy, for a matrix $W$.


# %%
def plain_usf(W):
    return ...


# Check
if plain_usf(np.eye(2)) is ...:
    print("not filled in yet")
else:
    W = np.array([[3.0, -4.0]])
    print(
        "B of [[3, -4]]:", plain_usf(W), "with the norm", np.linalg.norm(plain_usf(W))
    )
    assert np.isclose(np.linalg.norm(plain_usf(W)), 5), "not the norm of W"
    check_formula(mf.rules.USF(), plain_usf)
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def plain_usf(W):
#     return np.sign(W) * np.linalg.norm(W) / np.sqrt(W.size)
# ```
#
# All entries have the root mean square of $W$ as their magnitude. (This holds if no weight is exactly 0.)
# </details>
#
# **2. A mistake that all three checks overlook.** In the rule below every output channel of a convolution has its own
# threshold. For a `Linear` layer it is correct, and both the formula and the claim use only such layers; the sham
# control sets the threshold to 0. Write a check that detects it: the feedback that the formula requires for a kernel
# $W$ of the shape (3, 3, 4, 4). The kernel is a matrix of the shape (36, 4), a row for each weight of a window.


# %%
class PerChannel(Ternary):
    def feedback(self, layer):
        if layer.W.ndim == 2:
            return super().feedback(layer)
        W = layer.W
        rms = xp.sqrt((W**2).mean(axis=(0, 1, 2)))  # one for each output channel
        return rescaled(xp.sign(W) * (xp.abs(W) > self.threshold * rms), norm(W))


def kernel_by_formula(W, t=0.6):
    """The feedback for a kernel W (3, 3, 4, 4), in W's shape; use plain_ternary."""
    return ...


# Check
net = deep()
W = net["residual1.body.conv1"].W
if kernel_by_formula(W) is ...:
    print("not filled in yet")
else:
    for make in (Ternary, PerChannel):
        B = make().attach(net).B["residual1.body.conv1"]
        equal = np.allclose(B, kernel_by_formula(W))
        print(f"{make.__name__:10} equals the formula: {equal}")
        assert equal == (make is Ternary), "the formula must detect PerChannel only"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def kernel_by_formula(W, t=0.6):
#     return plain_ternary(W.reshape(36, 4), t).reshape(W.shape)
# ```
#
# A formula must be tested on every kind of layer that the rule treats differently. minifa's own tests compare all rules
# with their formulas on dense and convolutional layers.
# </details>
