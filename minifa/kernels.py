"""Kernels between the examples of a batch, their derivatives, and the measures of dependence made from them.

For n examples with the activities z_i (all values of an example; u of them), K (n, n) is

    cosine      z^_i . z^_j              z^_i = (z_i - mean(z_i)) / max(r_i, floor), r_i = |z_i - mean(z_i)|: the mean
                                         and the norm are over the values of one example, not over the batch
    gaussian    exp(-|z_i - z_j|^2 / (2 sigma^2 u))
    grouped     another kernel of (v_1^p, v_2^p, ...), v = variance of a group + delta / (number of its values)

A loss of K reaches the activities by `Kernel.error`, from G = dL/dK, which must be symmetric:

    cosine      g = 2 G z^; delta_i = P[(g_i - [r_i > floor] z^_i (z^_i . g_i)) / max(r_i, floor)], P subtracts the mean
    gaussian    M = G * K;   delta_i = -(2 / (sigma^2 u)) (sum_j M_ij z_i - sum_j M_ij z_j)
    grouped     (2 p / n) c v^(p-1) times the other kernel's delta;  c = z without the mean of its group of n values

With H = I - 11^T / n and C = H K H:

    nHSIC(K, L) = trace(Kt Lt),  Kt = C (C + eps n I)^-1      Ma, Lewis & Kleijn 2020, "The HSIC bottleneck"; eps 1e-5
    CKA(K, L)   = sum(C_K * C_L) / (norm(C_K) norm(C_L))      Kornblith et al. 2019, "Similarity of neural network
                                                              representations revisited"; linear: K = z z^T
"""

from __future__ import annotations

__all__ = ["Cosine", "Gaussian", "Grouped", "Kernel", "centred", "cka", "make", "nhsic"]

from collections.abc import Callable

from .array_checks import require_float, require_like
from .backend import Array, quietly, xp
from .layers.divisive_norm import group_variance
from .linalg import norm, solve_products
from .parallel.chunks import matmul, with_one_thread
from .registry import make_described, register_table
from .validation import check_int, check_positive, check_type

FLOOR = 1e-3  # least norm of a row: rows that are nearly constant would otherwise receive errors of any size
EPS = 1e-5


class Kernel:
    """The base class of kernels. Subclasses implement `matrix` and `error`.

    Raises:
        TypeError: an argument of a method that is not a floating-point array of the backend.
        ValueError: K or G of another shape than (n, n).
    """

    def matrix(self, z: Array) -> Array:
        """K (n, n) of the activities (n, ...)."""
        raise NotImplementedError

    def error(self, z: Array, K: Array, G: Array) -> Array:
        """dL/dz, of z's shape, from K = `matrix` (z) and the symmetric G = dL/dK (n, n)."""
        raise NotImplementedError


def _check_matrices(n: int, *matrices: Array) -> None:
    """Raise TypeError or ValueError unless these are kernel matrices (n, n)."""
    for matrix in matrices:
        require_like(matrix, (n, n), "a kernel", "a matrix")


class Cosine(Kernel):
    """The cosine of the centred activities of two examples.

    Args:
        floor: least norm that a row is divided by.

    Raises:
        TypeError, ValueError: a floor that is not a number above 0.

    >>> mf.kernels.Cosine().matrix(mf.asarray([[1.0, 2.0], [5.0, 9.0], [3.0, 1.0]])).round(3).tolist()
    [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """

    def __init__(self, floor: float = FLOOR) -> None:
        self.floor = check_positive(floor, "floor")

    def rows(self, z: Array) -> tuple[Array, Array]:
        """z^ (n, u), and the norms r (n, 1)."""
        require_float(z, "a kernel")
        flat = z.reshape(len(z), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        r = xp.sqrt((flat * flat).sum(axis=1, keepdims=True))
        return flat / xp.maximum(r, self.floor), r

    @quietly
    def matrix(self, z: Array) -> Array:
        rows, _ = self.rows(z)
        return matmul(rows, rows.T)

    @quietly
    def error(self, z: Array, K: Array, G: Array) -> Array:
        rows, r = self.rows(z)
        _check_matrices(len(z), K, G)
        g = 2 * matmul(G, rows)
        along = (rows * g).sum(axis=1, keepdims=True) * (r > self.floor)
        error = (g - rows * along) / xp.maximum(r, self.floor)
        return (error - error.mean(axis=1, keepdims=True)).reshape(z.shape)


class Gaussian(Kernel):
    """exp(-squared distance / (2 sigma^2 u)).

    Args:
        sigma: width of the kernel, relative to the root of the number u of values.

    Raises:
        TypeError, ValueError: a sigma that is not a number above 0.

    >>> K = mf.kernels.Gaussian(sigma=1.0).matrix(mf.asarray([[0.0], [1.0]]))
    >>> round(float(K[0, 1]), 4)  # exp(-1/2)
    0.6065
    """

    def __init__(self, sigma: float = 5.0) -> None:
        self.sigma = check_positive(sigma, "sigma")

    @quietly
    def matrix(self, z: Array) -> Array:
        require_float(z, "a kernel")
        flat = z.reshape(len(z), -1)
        flat = flat - flat.mean(axis=0)  # distances stay, and their rounding error shrinks
        squares = (flat * flat).sum(axis=1)
        distances = squares[:, None] + squares - 2 * matmul(flat, flat.T)
        distances *= 1 - xp.eye(len(flat), dtype=flat.dtype)  # exactly 0 on the diagonal
        return xp.exp(xp.maximum(distances, 0) * (-0.5 / (self.sigma**2 * flat.shape[1])))

    @quietly
    def error(self, z: Array, K: Array, G: Array) -> Array:
        require_float(z, "a kernel")
        _check_matrices(len(z), K, G)
        flat, M = z.reshape(len(z), -1), G * K
        error = M.sum(axis=1, keepdims=True) * flat - matmul(M, flat)
        return (error * (-2 / (self.sigma**2 * flat.shape[1]))).reshape(z.shape)


class Grouped(Kernel):
    """Another kernel of the groups of an example's values: each group of neighbouring channels, at all positions,
    counts as one value, a power of its variance (Pogodin & Latham 2020; their delta is called ``smoothing`` here).

    Args:
        kernel: the other kernel.
        groups: number of groups, of which the number of channels must be a multiple.
        power: p, above 0.
        smoothing: delta, above 0: added to a group's sum of squares.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range; in use, another number of channels.

    >>> grouped = mf.kernels.Grouped(mf.kernels.Gaussian(sigma=1.0), groups=1, power=1.0, smoothing=1.0)
    >>> K = grouped.matrix(mf.asarray([[0.0, 0.0], [2.0, 4.0]]))  # v = 1/2, and 1 + 1/2
    >>> round(float(K[0, 1]), 4)  # exp(-1/2)
    0.6065
    """

    def __init__(self, kernel: Kernel, groups: int, power: float = 0.5, smoothing: float = 1.0) -> None:
        self.kernel = check_type(kernel, Kernel, "the kernel must be a minifa.kernels.Kernel")
        self.groups, self.power = check_int(groups, "groups"), check_positive(power, "power")
        self.smoothing = check_positive(smoothing, "smoothing")

    def _variance(self, z: Array) -> tuple[Array, Array]:
        require_float(z, "a kernel")
        if z.ndim < 2 or z.shape[-1] % self.groups:
            raise ValueError(
                f"the number of channels must be a multiple of groups, got activities of shape {z.shape} and "
                f"{self.groups} groups"
            )
        return group_variance(z, self.groups, self.smoothing)

    @quietly
    def matrix(self, z: Array) -> Array:
        _, variance = self._variance(z)
        return self.kernel.matrix(xp.power(variance.reshape(len(z), -1), self.power))

    @quietly
    def error(self, z: Array, K: Array, G: Array) -> Array:
        centred, variance = self._variance(z)
        n = z.size // variance.size
        error = self.kernel.error(xp.power(variance.reshape(len(z), -1), self.power), K, G).reshape(variance.shape)
        error *= xp.power(variance, self.power - 1)
        return (centred * (2 * self.power / n * error)).reshape(z.shape)


KERNELS: dict[str, Callable[..., Kernel]] = {"cosine": Cosine, "gaussian": Gaussian}
register_table("kernel", KERNELS)


def make(description: str) -> Kernel:
    """Make a kernel from its name and options, such as ``"cosine"`` or ``"gaussian:sigma=1"``.

    Raises:
        ValueError: an unknown kernel or option, or an invalid value.

    >>> mf.kernels.make("gaussian:sigma=1").sigma
    1.0
    """
    return make_described(KERNELS, description, "kernel")


def centred(K: Array) -> Array:
    """H K H: the symmetric K (n, n) without the means of its rows and columns.

    Raises:
        TypeError, ValueError: K is not a floating-point array (n, n) of the backend.

    >>> mf.kernels.centred(mf.asarray([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    require_float(K, "a kernel")
    _check_matrices(len(K), K)
    means = K.mean(axis=0)
    return K - means - means[:, None] + means.mean()


@quietly
def normalised(K: Array, eps: float = EPS) -> tuple[Array, Array]:
    """Kt = C (C + eps n I)^-1 and R = (C + eps n I)^-1 of a kernel matrix K (n, n), with C = H K H."""
    C, n = centred(K), len(K)
    if C.dtype not in ("float32", "float64"):
        raise TypeError(f"a kernel must be of float32 or float64 to be normalised, got {C.dtype}: convert it")
    least = 10 * float(xp.finfo(C.dtype).eps)  # the condition number is at most about 1 / eps: K has entries up to 1
    if eps < least:
        raise ValueError(f"eps must be at least {least:.0e} with {C.dtype}, got {eps}: use a larger eps")
    identity = xp.eye(n, dtype=K.dtype)
    R = with_one_thread(lambda: xp.linalg.inv(C + (eps * n) * identity), solve_products(identity, identity))
    return identity - (eps * n) * R, R


@quietly
def nhsic(K: Array, L: Array, eps: float = EPS) -> Array:
    """The normalised Hilbert-Schmidt independence criterion of two kernel matrices (n, n) of the same examples, a
    scalar on the backend between 0 and n - 1; with C balanced classes in L at most C - 1.

    Args:
        eps: of C + eps n I, above 0.

    Raises:
        TypeError, ValueError: arguments that are not kernel matrices of the same examples, an eps that is not a number
            above 0; an eps so small that C + eps n I may be ill-conditioned.

    >>> K = mf.kernels.Cosine().matrix(mf.asarray(np.eye(4)))
    >>> round(float(mf.kernels.nhsic(K, K)), 3)  # four examples, none like another
    3.0
    """
    eps = check_positive(eps, "eps")
    first, _ = normalised(K, eps)
    _check_matrices(len(K), L)
    return (first * normalised(L, eps)[0]).sum()


@quietly
def cka(K: Array, L: Array) -> Array:
    """The centred kernel alignment of two kernel matrices (n, n) of the same examples, a scalar on the backend from 0
    to 1 for positive semidefinite kernels; 0 where all examples of one kernel are alike.

    Raises:
        TypeError, ValueError: arguments that are not kernel matrices of the same examples.

    >>> z = mf.asarray([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> round(float(mf.kernels.cka(z @ z.T, 4 * z @ z.T)), 6)
    1.0
    """
    K = centred(K)
    _check_matrices(len(K), L)
    L = centred(L)
    size = norm(K) * norm(L)
    return (K * L).sum() / xp.where(size > 0, size, xp.ones_like(size))
