# %% [markdown]
# # 05 · A convolution is a matrix product
#
# **A convolution is a linear layer twice over: on patches its weights are the kernel, on whole images they are a large
# matrix in which the same few numbers are repeated. So there are two kinds of random B for the backward pass: a kernel,
# with as many free parameters as W, or a dense matrix between the feature maps, with up to hundreds of times more. You
# will see that the first is a special case of the second, and that five seeds cannot tell which of them trains a small
# network better.**
#
# From the earlier tutorials you need this: the forward pass is `x @ W`, the backward pass `delta @ B.T`, where
# backpropagation has `B = W` and feedback alignment a fixed random matrix of W's shape.
#
# **The backward pass of a convolution in the explorer:** `minifa explore --model cnn --depth 2 --rules fa,bp -o
# page.html`, then open `page.html#step/fa/16` ("Backward through conv2"). In the terminal: `minifa step --model cnn
# --depth 2 --data digits --rule fa`.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa.experiments import Experiment, run
from minifa.figures.style import diverging

plt.rcParams.update(mf.figures.STYLE)
BLUE, ORANGE, GREEN = mf.figures.COLOURS[:3]
SIGNED = diverging()  # blue below zero, white at zero, orange above


def show(ax, array, title, limit=None):
    """An array as an image; zero is white, and the colour scale ends at limit (default:
    the largest entry)."""
    limit = limit or abs(array).max()
    ax.imshow(array, cmap=SIGNED, vmin=-limit, vmax=limit)
    ax.set_title(title, fontsize=10, loc="center")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set(visible=True, color="#bbbbbb")


# %% [markdown]
# ## A convolution with loops
#
# A kernel of 3 x 3 numbers slides over the image. At every position it is multiplied element by element with the patch
# that it covers, and the sum of the products is one output pixel. With a border of zeros (`padding=1`) the kernel can
# be centred on the edge pixels too, so that 8 x 8 pixels give 8 x 8 outputs. This kernel detects edges along one
# diagonal.

# %%
data = mf.data.load("digits")
image = data.train.x[4, :, :, 0]  # (8, 8)
image = image - image.min()  # the background is 0, like the border
kernel = np.array([[2, 1, 0], [1, 0, -1], [0, -1, -2]], dtype="float32")


def convolve(image, kernel):
    padded = np.pad(image, 1)
    out = np.zeros_like(image)
    for i in range(8):
        for j in range(8):
            out[i, j] = (padded[i : i + 3, j : j + 3] * kernel).sum()
    return out


by_loops = convolve(image, kernel)

# %% [figure]
fig, axes = plt.subplots(
    1, 3, figsize=(9, 2.9), layout="constrained", width_ratios=[8, 3.5, 8]
)
show(axes[0], image, "image, 8 × 8")
axes[0].images[0].set(cmap="gray_r", clim=(0, image.max()))
axes[0].add_patch(
    plt.Rectangle((0.5, 1.5), 3, 3, fill=False, edgecolor=ORANGE, linewidth=3)
)
show(axes[1], kernel, "kernel, 3 × 3")
for (i, j), number in np.ndenumerate(kernel):
    axes[1].text(
        j,
        i,
        f"{number:g}",
        ha="center",
        va="center",
        color="white" if abs(number) == 2 else "black",
    )
show(axes[2], by_loops, "output, 8 × 8")
frame = axes[2].add_patch(
    plt.Rectangle((1.5, 2.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=3)
)

# %% [markdown]
# The framed pixel of the output is the sum of the products of the orange patch and the kernel.
#
# ## A matrix product with the patches
#
# The entries of a matrix product are sums of products. So write every patch as one row: `columns(x)` has one row per
# position and one column per entry of the kernel. The kernel becomes a single column. One product replaces all loops:
#
# $$y = \mathrm{columns}(x)\; W$$
#
# Rearranging patches this way is called **im2col**. Here is an example, an image of 4 x 4 numbers, in which a 3 x 3
# kernel has four positions:

# %%
mf.figures.im2col(height=4, width=4, kernel_size=3)

# %% [markdown]
# With several channels a patch is 3 x 3 x channels numbers, and W gets a column for each output channel. minifa's
# `Conv2d` does exactly this; the remaining code is shared with `Linear`.

# %%
net = mf.Network(
    [mf.Conv2d(1, 1, 3, padding=1, bias=False)], input_shape=(8, 8, 1), input_error=True
)
conv = net["conv1"]
conv.W = kernel.reshape(3, 3, 1, 1)  # (height, width, channels in, channels out)
x = image.reshape(1, 8, 8, 1)  # a batch of one image with one channel

by_product = conv.columns(x) @ conv.W.reshape(9, 1)  # (64, 9) @ (9, 1)
by_layer = net.forward(x, mf.Pass(training=True))

print("columns(x)", conv.columns(x).shape, "@ W", (9, 1), "->", by_product.shape)
assert np.allclose(by_product.reshape(8, 8), by_loops, atol=1e-5)
assert np.allclose(by_layer.reshape(8, 8), by_loops, atol=1e-5)

# %% [markdown]
# ## A matrix product with the whole image
#
# The output depends linearly on the pixels, so there must also be a matrix $T$ that maps all 64 pixels to all 64
# outputs. The matrix of a linear map is found by applying the map to the unit vectors. Here these are the images with a
# single pixel of 1; the output for pixel $i$ is row $i$ of $T$.
#
# > **Predict, then run.** $T$ has 64 x 64 = 4096 entries, the kernel 9 (two of them are 0 here). How many entries of
# > $T$ are not zero? (a) 9. (b) Fewer than 64 · 9 = 576. (c) All 4096.


# %%
def toeplitz(layer, kernel):
    """The matrix (pixels in, pixels out) of a convolution with this kernel: its output
    for every unit image."""
    n = math.prod(layer.input_shape)
    units = np.eye(n, dtype="float32").reshape(n, *layer.input_shape)
    # project: columns(units) @ kernel
    return layer.project(units, kernel).reshape(n, -1)


T = toeplitz(conv, conv.W)  # (64, 64)
assert np.allclose(image.reshape(64) @ T, by_loops.reshape(64), atol=1e-5)

# %% [figure]
fig, axes = plt.subplots(
    1, 2, figsize=(9, 4.4), layout="constrained", width_ratios=[1, 4]
)
show(axes[0], kernel, "the kernel:\n9 numbers")
show(
    axes[1],
    T,
    f"its Toeplitz matrix: 64 × 64 numbers, {np.count_nonzero(T)} of them not zero",
)
axes[1].set(xlabel="output pixel, row by row", ylabel="input pixel, row by row")
for edge in range(8, 64, 8):
    axes[1].axhline(edge - 0.5, color="#cccccc", linewidth=0.6)
    axes[1].axvline(edge - 0.5, color="#cccccc", linewidth=0.6)

# %% [markdown]
# The answer is (b): at the edges of the image a part of the kernel falls outside. Every diagonal line is one number of
# the kernel, repeated for every position (the grey lines separate the rows of the image). A matrix that is constant
# along its diagonals is called a **Toeplitz matrix**; this one is a Toeplitz matrix of Toeplitz blocks.
#
# ## Backward pass with a kernel B
#
# A linear layer with weights $T$ carries the error down as $\delta\, T^\top$. Backpropagation through the convolution
# must give the same result. If *another* kernel B carries the error, the large linear layer has *B's* Toeplitz matrix
# in its backward pass. The computation does not depend on whether the kernel is W.

# %%
rng = np.random.default_rng(0)
B = 1.4 * rng.standard_normal((3, 3, 1, 1)).astype("float32")
delta = rng.standard_normal((1, 8, 8, 1)).astype("float32")  # an error at the output

for name, one in (("W", conv.W), ("B", B)):
    # adds every patch of delta @ kernel.T at the position of that patch
    through_kernel = conv.carry(delta, one)
    through_matrix = delta.reshape(1, 64) @ toeplitz(conv, one).T
    gap = abs(through_kernel.reshape(1, 64) - through_matrix).max()
    print(
        f"carried by the kernel {name} and by its Toeplitz matrix: largest difference "
        f"{gap:.1e}"
    )
    assert gap < 1e-5

# %% [markdown]
# ## Two kinds of random B
#
# Feedback alignment has a random B in the place of W. For a convolution there are two choices, and both are in the
# literature (Lance & Kieu 2026 compare them):
#
# - a random **kernel**, `FA()`: as many numbers as W, used at every position;
# - a random **dense matrix** between the maps, `FA(conv="dense")`: every output unit has its own connection to every
#   input unit, near or far.

# %%
kernel_rule = mf.rules.FA(seed=1).attach(net)
dense_rule = mf.rules.FA(seed=1, conv="dense").attach(net)
B, D = kernel_rule.B["conv1"], dense_rule.B["conv1"]
print("kernel B", B.shape, "  dense B", D.shape)

# %% [figure]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show(axes[0], T, "W, as a matrix\n9 different numbers")
show(axes[1], toeplitz(conv, B), "kernel B, as a matrix\n9 different numbers")
_ = show(axes[2], D, f"dense B\n{D.size} different numbers")

# %% [markdown]
# ## The error of a single unit
#
# Let a single output unit have an error, and compare the errors that are carried down, for two positions of this unit.
# W places its kernel at this position. A kernel B places another kernel, but at the correct position, and the same one
# everywhere. A dense B spreads the error over the whole map, and at the other position the pattern is entirely
# different.

# %%
carriers = {
    "backpropagation: W": lambda delta: conv.carry(delta, conv.W),
    "kernel B": lambda delta: kernel_rule.carry(conv, delta),
    "dense B": lambda delta: dense_rule.carry(conv, delta),
}

# %% [figure]
fig, axes = plt.subplots(2, 4, figsize=(9, 4.4), layout="constrained")
for row, (i, j) in zip(axes, ((2, 2), (4, 5)), strict=True):
    one_wrong = np.zeros((1, 8, 8, 1), dtype="float32")
    one_wrong[0, i, j] = 1
    show(row[0], one_wrong[0, :, :, 0], "the error above" if i == 2 else "")
    for ax, (name, carry) in zip(row[1:], carriers.items(), strict=True):
        show(ax, carry(one_wrong)[0, :, :, 0], name if i == 2 else "")
        ax.add_patch(
            plt.Rectangle(
                (j - 1.5, i - 1.5), 3, 3, fill=False, edgecolor="#555555", linewidth=1
            )
        )
axes[0, 0].set_ylabel("unit (2, 2)")
label = axes[1, 0].set_ylabel("unit (4, 5)")

# %% [markdown]
# The frame is the receptive field of the unit: only these pixels can have caused its error. The next cell tests this:
# when the error moves two rows down and three columns to the right, the error that a kernel carries down moves by the
# same amount.
#
# > **Predict, then run.** For which of the three carriers does this hold? (a) For all. (b) For W and the kernel B. (c)
# > For W only.

# %%
here, there = (np.zeros((1, 8, 8, 1), dtype="float32") for _ in range(2))
here[0, 2, 2] = there[0, 4, 5] = 1


def is_equivariant(carry):
    return np.allclose(
        np.roll(carry(here), (2, 3), axis=(1, 2)), carry(there), atol=1e-6
    )


moves = {name: is_equivariant(carry) for name, carry in carriers.items()}
print(moves)
assert list(moves.values()) == [True, True, False]

# %% [markdown]
# The answer is (b).
#
# ## A kernel is a dense matrix with shared entries
#
# So the kernel is a special case of the dense matrix. This holds in whole networks, too: if the dense rule has the
# Toeplitz matrix of every kernel, both rules give every layer the same gradient. `set_feedback` sets a matrix of a
# rule.

# %%
deep = mf.Network(
    mf.models.cnn((8, 8, 1), 10, depth=4, channels=8), seed=0, input_shape=(8, 8, 1)
)
x, y, loss = data.train.x[:64], data.train.y[:64], mf.SoftmaxCrossEntropy()

kernel_rule = mf.rules.FA(seed=0).attach(deep)
dense_rule = mf.rules.FA(seed=0, conv="dense").attach(deep)
for name, matrix in kernel_rule.B.items():
    layer = deep[name]
    dense_rule.set_feedback(
        name, toeplitz(layer, matrix) if layer.kind == "conv" else matrix
    )

kernel_rule.gradients(deep, x, y, loss)
by_kernels = deep.gradients()
dense_rule.gradients(deep, x, y, loss)
by_matrices = deep.gradients()
for name, gradient in by_kernels.items():
    assert np.allclose(gradient, by_matrices[name], atol=1e-5), name
print(f"{len(by_kernels)} gradients, all equal")

# %% [markdown]
# ## Number of parameters, and the smallest angle
#
# We count the free parameters of B in minifa's default network, six convolutions of 16 channels. Then we ask a second
# question. W is always a kernel. Of all kernels, take the one whose Toeplitz matrix is **closest** to a dense B: which
# angle is left between them? The nearest kernel is the average of B over the entries that share a weight. The gradient
# of a convolution is a sum over the same entries, so the engine has this computation already: `weight_gradient`.
#
# > **Predict, then run.** Between a random dense B at 8 x 8 pixels and the nearest of all kernels, which angle is left?
# > (a) About 30 degrees. (b) About 60. (c) Nearly 90.


# %%
def nearest_kernel(layer, dense):
    """The kernel whose Toeplitz matrix is closest to a dense matrix: the mean over the
    entries that share a weight."""
    n = math.prod(layer.input_shape)
    units = np.eye(n, dtype="float32").reshape(n, *layer.input_shape)
    maps = dense.reshape(n, *layer.output_shape)
    return layer.weight_gradient(units, maps) / layer.weight_gradient(
        units, np.ones_like(maps)
    )


cnn = mf.Network(mf.models.cnn((8, 8, 1), 10), seed=0, input_shape=(8, 8, 1))
kernels, dense = (
    mf.rules.FA(seed=0, conv=kind).attach(cnn) for kind in ("kernel", "dense")
)
rows = []
# the lowest convolution carries no error down, the output layer is linear
for layer in cnn.weighted[1:-1]:
    D = dense.B[layer.name]
    angle = float(mf.metrics.angle(toeplitz(layer, nearest_kernel(layer, D)), D))
    floor = math.degrees(math.acos(math.sqrt(layer.W.size / D.size)))
    sizes = kernels.feedback_size(layer), dense.feedback_size(layer)
    rows.append((layer.name, *sizes, angle, floor))
    print("{}: kernel {:,} numbers, dense {:,}; ".format(*rows[-1][:3]), end="")
    print(f"nearest kernel {angle:.2f}° away (by counting {floor:.2f}°)")
    # measured with six seeds: 1.4 at most, in the smallest maps
    assert abs(angle - floor) < 2.5

# %% [figure]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
places, names = np.arange(len(rows)), [row[0] for row in rows]
axes[0].bar(places - 0.2, [row[1] for row in rows], 0.4, color=BLUE, label="kernel B")
axes[0].bar(
    places + 0.2,
    [row[2] for row in rows],
    0.4,
    color=ORANGE,
    label="dense B",
    hatch="//",
    edgecolor="white",
)
axes[0].set(
    yscale="log",
    xticks=places,
    xticklabels=names,
    ylabel="free numbers",
    ylim=(1e2, 1e7),
)
axes[0].set_title("Numbers to draw")
axes[0].legend(ncols=2, loc="upper right")
axes[1].plot(
    places,
    [row[4] for row in rows],
    "_",
    markersize=28,
    color="black",
    label="by counting",
)
axes[1].plot(places, [row[3] for row in rows], "o", color=ORANGE, label="measured")
axes[1].axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)), label="chance")
axes[1].set(
    xticks=places,
    xticklabels=names,
    ylabel="degrees",
    ylim=(0, 95),
    xlim=(-0.5, len(rows) - 0.5),
)
axes[1].set_title("Angle of dense B and the nearest kernel")
legend = axes[1].legend(loc="lower left")

# %% [markdown]
# The answer is (c). The black marks are computed by counting dimensions. Kernels span a linear subspace with one
# dimension per entry of the kernel, within a space with one dimension per entry of the dense matrix. A random direction
# lies in it with the share $\cos^2\theta = \frac{\text{numbers of the kernel}}{\text{numbers of the dense matrix}}$. At
# 8 x 8 pixels this is 1 in 455: **no W can come closer to a dense B than 87 degrees.** Tutorial 16 uses this number
# again. (It is an angle between matrices, not between the errors that they carry.)
#
# ## Does a dense B train better?
#
# We train the same network for eight epochs, with five seeds each, and with batch norm: layers that rescale their
# inputs, with which deep networks learn faster (tutorial 07 explains it).

# %%
scores = {}
for rule in ("fa", "fa:conv=dense"):
    runs = [
        run(
            Experiment(
                model_options={"batch_norm": True},
                rule=rule,
                lr=0.03,
                epochs=8,
                seed=seed,
                alignment=False,
            )
        )[0]
        for seed in range(5)
    ]
    scores[rule] = np.array([result.score for result in runs])
    print(
        f"{rule:14} test accuracy",
        scores[rule].round(3),
        f"mean {scores[rule].mean():.3f}",
    )

difference = scores["fa:conv=dense"] - scores["fa"]
print(
    f"dense - kernel: {difference.mean():+.3f}, standard error "
    f"{difference.std(ddof=1) / math.sqrt(5):.3f}"
)
assert min(map(np.min, scores.values())) > 0.75  # measured with ten seeds: 0.80 to 0.95
assert abs(difference.mean()) < 0.08  # 0.004 with these seeds, -0.011 with seeds 5 to 9

# %% [markdown]
# Five seeds show no difference; 0.044 would be two standard errors. Without batch norm both are slow (tutorial 07): 60
# epochs of Adam give 0.73 with kernels (0.90, 0.50, 0.78) and 0.58 with dense matrices (0.48, 0.65, 0.60), too few
# seeds to rank the two
# (`minifa compare --rules fa,fa:conv=dense --optimizer adam --lr 0.001 --epochs 60 --seed 30 --seeds 3`). On CIFAR-10,
# with a larger network, Lance & Kieu (2026) report 40.1 % for kernels against 35.8 % for dense matrices, and 75.8 % for
# backpropagation. In none of these comparisons is a dense B clearly better. The kernel has fewer parameters and is
# minifa's default.
#
# ## Summary
#
# - A convolution is `columns(x) @ W`: a linear layer whose examples are patches.
# - On whole images it is a Toeplitz matrix $T$, and `delta @ T.T` is the backward pass, with W's kernel or any other.
# - A kernel B carries errors to the correct position; a dense B has 455 times as many parameters at 8 x 8, and W cannot
#   come closer to it than 87 degrees.
#
# ## Exercises
#
# Replace each `...`, then run the cell: it checks your answer.
#
# **1. Pooling.** Average pooling over 2 x 2 pixels is a convolution with a fixed kernel. Fill in the kernel and the
# stride.

# %%
pooling_kernel = ...  # an array (2, 2)
stride = ...

# Check
if pooling_kernel is ... or stride is ...:
    print("not filled in yet")
else:
    layers = [mf.Conv2d(1, 1, 2, stride=stride, bias=False)]
    pool = mf.Network(layers, input_shape=(8, 8, 1))["conv1"]
    P = toeplitz(pool, np.array(pooling_kernel, dtype="float32").reshape(2, 2, 1, 1))
    average, x = mf.AvgPool(2), data.train.x[:5]
    y = average.forward(x, mf.Pass(training=True))
    print("the Toeplitz matrix", P.shape, "for outputs", y.shape[1:])
    assert P.shape == (64, 16), "another stride"
    assert np.allclose(x.reshape(5, 64) @ P, y.reshape(5, 16), atol=1e-6), (
        "forward differs"
    )
    delta = np.random.default_rng(0).standard_normal(y.shape).astype("float32")
    below = average.backward(delta, mf.rules.make("bp"))
    assert np.allclose(delta.reshape(5, 16) @ P.T, below.reshape(5, 64), atol=1e-6)
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# pooling_kernel = [[0.25, 0.25], [0.25, 0.25]]
# stride = 2
# ```
#
# Pooling has no weights, so under every rule its own transpose carries the error.
# </details>
#
# **2. The gradient of a shared weight.** A dense layer in the place of the convolution has the gradient
# `x.T @ delta`, 64 x 64 numbers: one for each pair of an input pixel and an output pixel. The gradient of the kernel is
# this matrix, summed over the pairs that share a weight. Fill in the input pixel that the entry $(k, m)$ of the kernel
# connects with the output pixel $(i, j)$, with `padding=1`.


# %%
def input_pixel(i, j, k, m):
    """Row and column of the input pixel; outside the image they are -1 or 8."""
    return ...


# Check
if input_pixel(0, 0, 0, 0) is ...:
    print("not filled in yet")
else:
    x = data.train.x[:5]
    y = net.forward(x, mf.Pass(training=True))
    delta = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    conv.store_gradients(delta)
    dense_gradient = x.reshape(5, 64).T @ delta.reshape(5, 64)  # (64, 64)
    summed = np.zeros((3, 3))
    for i, j, k, m in np.ndindex(8, 8, 3, 3):
        row, column = input_pixel(i, j, k, m)
        if 0 <= row < 8 and 0 <= column < 8:
            summed[k, m] += dense_gradient[8 * row + column, 8 * i + j]
    difference = np.abs(summed - conv.grads["W"][:, :, 0, 0]).max()
    print(f"largest difference to the kernel's gradient {difference:.0e}")
    assert difference < 1e-3, "other pixels"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def input_pixel(i, j, k, m):
#     return i + k - 1, j + m - 1
# ```
#
# Each number of the kernel receives the sum of up to 64 gradients. Tutorial 16 begins with the effect of this sum on
# the angle between W and a dense target.
# </details>
