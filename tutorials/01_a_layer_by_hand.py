# %% [markdown]
# # 01 · A layer by hand
#
# **A linear layer is three matrix products: one for the forward pass, one for the gradient of the weights, and one
# that carries the error down to the layer below. You will write them in NumPy, check them against a numerical
# derivative, and find the same numbers in minifa's own layer.**
#
# You need only NumPy and the chain rule. The later tutorials change one of the three products and measure the effect.
#
# **A layer in the explorer:** `minifa explore --rules bp -o page.html`, then open `page.html#step/bp/9` ("The gradient
# of linear3"): one of the three products, with every number; the forward pass is moment 7, the error below moment 11.
# In the terminal, a step of a smaller network: `minifa step --rule bp`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.figures.style import diverging

plt.rcParams.update(mf.figures.STYLE)
mf.use("numpy", dtype="float64")  # double precision, because we check derivatives
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
SIGNED = diverging()  # blue below zero, white at zero, orange above

# %% [markdown]
# ## The data
#
# The UCI handwritten digits come with minifa: 1437 training images and 360 test images of 8 x 8 grey values, shifted
# and scaled to mean 0 and standard deviation 1, so a blank pixel is negative. A linear layer takes a vector, so an
# image becomes a row of 64 numbers. We write **one example per row**: `x` has the shape (examples, 64). The target is
# +1 for the digit's own output and -1 for the nine others.

# %%
data = mf.data.load("digits")
x_train = data.train.x.reshape(-1, 64).astype("float64")  # (1437, 64)
x_test = data.test.x.reshape(-1, 64).astype("float64")  # (360, 64)
t_train = np.where(np.eye(10)[data.train.y] == 1, 1.0, -1.0)  # (1437, 10)

# %% [figure]
fig, axes = plt.subplots(1, 12, figsize=(9, 1.1), layout="constrained")
for ax, row, digit in zip(axes, x_train, data.train.y, strict=False):
    ax.imshow(row.reshape(8, 8), cmap="gray_r")
    ax.set_title(digit, loc="center")
    ax.set_axis_off()

# %% [markdown]
# ## Forward pass
#
# A linear layer with weights $W$ (64, 10) and biases $b$ (10), followed by a tanh:
#
# $$a = xW + b \qquad h = \tanh(a)$$
#
# Column $j$ of $W$ contains the 64 weights of output $j$. One product computes all examples of a batch.

# %%
rng = np.random.default_rng(0)
W = 0.03 * rng.standard_normal((64, 10))
b = np.zeros(10)
# a small batch, so that every number can be inspected
x, t = x_train[:16], t_train[:16]
n = len(x)


def forward(x, W, b):
    a = x @ W + b  # (n, 10)
    return np.tanh(a)  # (n, 10)


h = forward(x, W, b)
print("x", x.shape, "@ W", W.shape, "-> h", h.shape)

# %% [markdown]
# ## The loss
#
# The loss is half the squared distance to the targets, averaged over the $n$ examples of the batch:
#
# $$L = \frac{1}{n} \sum_{\mathrm{examples}} \frac{1}{2} \sum_j (h_j - t_j)^2
# \qquad\Rightarrow\qquad \frac{\partial L}{\partial h} = \frac{h - t}{n}$$
#
# This derivative is the **error** at the layer's output: it states how the loss changes when an output becomes slightly
# larger. The factor $1/n$ of the average is contained in it, and appears nowhere else.


# %%
def half_squared(h, t):
    return 0.5 * ((h - t) ** 2).sum(axis=1).mean()


error = (h - t) / n  # (n, 10)
print(f"loss {half_squared(h, t):.3f}")

# %% [markdown]
# ## Backward pass
#
# First through the tanh: since $\tanh' = 1 - \tanh^2$, the error at $a$ is
# $\delta = \frac{\partial L}{\partial h} (1 - h^2)$, element by element. It is called **delta**. Then through
# $a_{nj} = \sum_i x_{ni} W_{ij} + b_j$: the weight $W_{ij}$ affects output $j$ of every example, with the factor
# $x_{ni}$; the input $x_{ni}$ affects every output $j$, with the factor $W_{ij}$. The chain rule sums over all these
# contributions:
#
# $$\frac{\partial L}{\partial W} = x^\top \delta \qquad \frac{\partial L}{\partial b} = \sum_n \delta_n
# \qquad \frac{\partial L}{\partial x} = \delta W^\top$$


# %%
def backward(x, W, h, error):
    delta = error * (1 - h**2)  # (n, 10)   dL/da
    dW = x.T @ delta  # (64, 10)  presynaptic activity (the input) times delta
    db = delta.sum(axis=0)  # (10,)
    dx = delta @ W.T  # (n, 64)   the error for the layer below
    return delta, dW, db, dx


delta, dW, db, dx = backward(x, W, h, error)

# %% [markdown]
# The figure shows the three products to scale with their actual values: blue is negative, orange positive, and each
# matrix has its own colour scale. Compare the inner dimensions. The forward pass uses $W$ itself; the last product uses
# its transpose, because now the sum runs over the ten outputs and not over the 64 inputs. This **transpose** is the
# subject of the whole series.

# %%
mf.figures.products(
    {
        "forward": "a = x @ W",
        "learn": "dW = x.T @ delta",
        "carry the error down": "dx = delta @ W.T",
    },
    {"x": x, "W": W, "a": x @ W, "delta": delta, "dW": dW, "dx": dx},
)

# %% [markdown]
# ## Numerical check
#
# Derivatives can be checked with the loss alone. Change one number by a small $\pm\epsilon$, compute the loss both
# times, and divide:
#
# $$\frac{\partial L}{\partial w} \approx \frac{L(w + \epsilon) - L(w - \epsilon)}{2 \epsilon}$$
#
# This is slow (two forward passes for every weight), but it does not use the chain rule, so the check is independent.
#
# > **Predict, then run.** With $\epsilon = 10^{-5}$, how closely will it agree with the largest entry of the gradient,
# > which is about 1? (a) To 3 digits. (b) To 9 or 10 digits. (c) To all 16 digits of double precision.


# %%
def numeric_gradient(loss, array, eps=1e-5):
    """Central differences of the scalar loss() with respect to every entry of an array
    that it reads."""
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        original = array[place]
        array[place] = original + eps
        above = loss()
        array[place] = original - eps
        below = loss()
        array[place] = original
        gradient[place] = (above - below) / (2 * eps)
    return gradient


for name, array, exact in (("W", W, dW), ("b", b, db), ("x", x, dx)):
    numeric = numeric_gradient(lambda: half_squared(forward(x, W, b), t), array)
    difference = np.abs(numeric - exact).max()
    print(
        f"d{name}: largest entry {np.abs(exact).max():.3f}, largest difference "
        f"{difference:.1e}"
    )
    assert difference < 1e-9  # measured: at most 1.9e-10, with five initialisations

# %% [markdown]
# The answer is (b). Why $\epsilon = 10^{-5}$? If it is too large, the curvature between the two points matters: the
# truncation error is of order $\epsilon^2$. If it is too small, the two losses agree in almost all their digits, so
# that their difference is mostly rounding error, amplified by $1/\epsilon$. The best $\epsilon$ lies between. A central
# difference is more accurate than a one-sided one, and single precision has too few digits: check derivatives in
# float64.
#
# > **Predict, then run.** What happens to the error of the derivative if the step is made a thousand times *smaller*,
# > $\epsilon = 10^{-8}$? (a) It becomes smaller. (b) It stays the same. (c) It becomes larger.

# %%
steps = 10.0 ** np.arange(-11, 0.5, 0.5)
curves = {"central, float64": [], "one-sided, float64": [], "central, float32": []}
x32, W32, b32, t32 = (array.astype("float32") for array in (x, W, b, t))
here = half_squared(h, t)
for eps in steps:
    # four inputs are enough
    central = numeric_gradient(lambda: half_squared(forward(x, W, b), t), W[:4], eps)
    single = numeric_gradient(
        lambda: half_squared(forward(x32, W32, b32), t32), W32[:4], np.float32(eps)
    )
    one_sided = np.empty_like(central)
    for i, j in np.ndindex(central.shape):
        W[i, j] += eps
        one_sided[i, j] = (half_squared(forward(x, W, b), t) - here) / eps
        W[i, j] -= eps
    for curve, estimate in zip(
        curves.values(), (central, one_sided, single), strict=True
    ):
        curve.append(np.abs(estimate - dW[:4]).max())

# %% [figure]
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for (name, curve), colour, marker in zip(
    curves.items(), (BLUE, GREEN, ORANGE), "osv", strict=True
):
    ax.loglog(steps, curve, color=colour, marker=marker, markersize=4, label=name)
ax.set(
    xlabel=r"step $\epsilon$",
    ylabel="largest error of the derivative",
    title="Too small is as bad as too large",
)
_ = ax.legend(loc="lower left")

# %%
assert min(curves["central, float64"]) < 1e-9 < 1e-8 < min(curves["one-sided, float64"])
assert min(curves["central, float32"]) > 1e-6

# %% [markdown]
# The answer is (c): left of the minimum the curves rise again.
#
# A check is useful only if it can fail. Here are three classic mistakes and the differences that the check measures.
#
# > **Predict, then run.** Which of the three mistakes gives the largest difference? (a) The forgotten slope of tanh.
# > (b) The forgotten $1/n$. (c) The wrong slope $1 - a^2$.

# %%
numeric = numeric_gradient(lambda: half_squared(forward(x, W, b), t), W)
attempts = {
    "right": x.T @ delta,
    "forgot the slope of tanh": x.T @ error,
    "forgot the 1/n": x.T @ (delta * n),
    "slope 1 - a**2": x.T @ (error * (1 - (x @ W + b) ** 2)),
}
for name, attempt in attempts.items():
    difference = np.abs(attempt - numeric).max()
    print(f"{name:26} off by {difference:.1e}")
    assert (difference < 1e-9) == (name == "right")

# %% [markdown]
# The answer is (b): that gradient is 16 times too large.
#
# ## The same layer in minifa
#
# minifa's `Linear` has the same `W` and `b`, its `Tanh` the same derivative. The loop over the layers is
# `net.backward(delta, rule)`: it takes the error at the output and stores each layer's gradients in `layer.grads`. The
# **rule** answers one question: *which matrix carries the error down through this layer?* For backpropagation,
# `rules.BP`, the answer is `W`. (With `input_error=True` the error below the lowest layer, our `dx`, is computed as
# well.)

# %%
net = mf.Network([mf.Linear(64, 10), mf.Tanh()], input_error=True)
net["linear1"].W, net["linear1"].b = W, b  # assigning copies the numbers
rule = mf.rules.BP().attach(net)

# a training pass keeps the activations for the backward pass
output = net.forward(x, mf.Pass(training=True))
below = net.backward((output - t) / n, rule)

for name, ours, theirs in (
    ("h", h, output),
    ("dW", dW, net["linear1"].grads["W"]),
    ("db", db, net["linear1"].grads["b"]),
    ("dx", dx, below),
):
    print(f"{name:3} largest difference {np.abs(ours - theirs).max():.1e}")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)

# %% [markdown]
# The two layers agree to within rounding error. (minifa's backward pass of all weighted layers, linear and
# convolutional alike, is the short method `Weighted.backward` in `minifa/layers/weighted.py`: compute the gradients
# from delta, then let the rule carry it down.)

# %% [markdown]
# ## Training
#
# Take 300 steps of gradient descent, each on all 1437 examples: $W \leftarrow W - \eta\, \partial L/\partial W$. We do
# it twice, with our own code and with minifa's `rule.gradients` and `optimizer.step`.

# %%
W_start, lr = W.copy(), 0.03
optimizer, half = mf.SGD(lr), mf.HalfSquaredError()
losses = []
for _ in range(300):
    h_all = forward(x_train, W, b)
    _, dW, db, _ = backward(x_train, W, h_all, (h_all - t_train) / len(x_train))
    W, b = W - lr * dW, b - lr * db
    losses.append(half_squared(h_all, t_train))

    rule.gradients(net, x_train, t_train, half)
    optimizer.step(net, rule)

accuracy = (forward(x_test, W, b).argmax(axis=1) == data.test.y).mean()
difference = np.abs(W - net["linear1"].W).max()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, test accuracy {accuracy:.3f}")
print(f"our W and minifa's differ by {difference:.0e} at most")
assert accuracy > 0.93  # measured with five initialisations: 0.956 to 0.961
assert difference < 1e-12

# %% [markdown]
# Each output has 64 weights, one per pixel, so a column of $W$ can be shown as an image: orange where ink is evidence
# for the digit, blue where it is evidence against it. At the start it is noise. After training you find the empty
# middle of the 0, the gap at the left of a 3, and the empty corner under a 7. These patterns are sums of the updates
# `x.T @ delta`.

# %% [figure]
fig, axes = plt.subplots(2, 10, figsize=(9, 2.3), layout="constrained")
for row, matrix, name in zip(axes, (W_start, W), ("start", "after 300"), strict=True):
    strength = np.abs(matrix).max()
    for digit, ax in enumerate(row):
        ax.imshow(
            matrix[:, digit].reshape(8, 8), cmap=SIGNED, vmin=-strength, vmax=strength
        )
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    row[0].set_ylabel(name)
for digit, ax in enumerate(axes[0]):
    ax.set_title(digit, loc="center")

# %% [markdown]
# ## Summary
#
# A linear layer is three products: `x @ W` for the forward pass, `x.T @ delta` for the gradient of the weights,
# `delta @ W.T` to carry the error down. They agree with a numerical derivative and with minifa's layer. With a single
# layer the third product is not needed, since there is no layer below that learns. With two or more layers it is
# essential. [Tutorial 02](02_backpropagation_and_transport.ipynb) begins there.

# %% [markdown]
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. Another nonlinearity.** Replace tanh by the rectifier $\max(a, 0)$. What is delta now? Where can the numerical
# derivative be wrong although your gradient is correct?


# %%
def forward_relu(x, W, b):
    return np.maximum(x @ W + b, 0)


h_relu = forward_relu(x, W, b)  # (n, 10)
delta_relu = ...  # (n, 10), from h_relu, t and n

# Check
if delta_relu is ...:
    print("not filled in yet")
else:
    numeric = numeric_gradient(lambda: half_squared(forward_relu(x, W, b), t), W)
    difference = np.abs(x.T @ delta_relu - numeric).max()
    print(f"largest difference {difference:.1e}")
    assert difference < 1e-9, "the gradient differs from the numerical one"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# # slope 1 where the unit is active, 0 elsewhere
# delta_relu = (h_relu - t) / n * (h_relu > 0)
# ```
#
# The rectifier has a corner at 0. If some `a` lies within $\epsilon$ of it, the two points of the difference lie on
# different sides of the corner, and the numerical derivative mixes both slopes.
# </details>
#
# **2. Softmax.** For classification one usually takes $p = \mathrm{softmax}(a)$ and the cross-entropy
# $L = -\frac{1}{n} \sum \log p_y$ of the correct class $y$. What is $\partial L / \partial a$? (A factor for the slope
# is not needed. Tutorial 02 uses the result.)


# %%
def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))  # the maximum prevents overflow
    return e / e.sum(axis=1, keepdims=True)


y = data.train.y[:16]
a = x @ W + b
delta_softmax = ...  # (n, 10), from softmax(a), np.eye(10)[y] and n

# Check
if delta_softmax is ...:
    print("not filled in yet")
else:
    numeric = numeric_gradient(lambda: -np.log(softmax(a)[np.arange(n), y]).mean(), a)
    difference = np.abs(delta_softmax - numeric).max()
    print(f"largest difference {difference:.1e}")
    assert difference < 1e-9, "not the derivative of the loss"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# delta_softmax = (softmax(a) - np.eye(10)[y]) / n
# ```
#
# The derivatives of softmax and of the logarithm cancel. This is why the two are used together, and why a confident
# wrong answer still receives a large error.
# </details>
