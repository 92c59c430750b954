"""Learning curves that are known exactly, to test a rule with and to draw beside a simulation.

Each curve is the solution of a differential equation without free parameters, by the Runge-Kutta method of order 4, or
a closed form. It is computed with NumPy on the host, in float64, for every backend. Networks of minifa follow the
curves when they are wide and their steps are small (tests/rules/test_theory.py).

1. Two wide linear layers. P orthonormal inputs x with targets y (P,), h = x @ W1, outputs f = h @ W2 / gamma0, N hidden
   units, N -> infinity; W1 and W2 start with the standard deviation 1 / sqrt(N), B = rho W2(0) + sqrt(1 - rho^2) M.

       H = |h^T y|^2 / |y|^2        size of the features in the direction of the targets; 1 at the start
       G = sum(W2 * B)              overlap of W2 and B; rho at the start
       u = gamma0 (|y| - error)     error = |y - f|

       feedback alignment:  a' = gamma0 |y| - u, a(0) = 0         u = a^3 / 2 + (1 + rho) a
                            H = 1 + a^2                           G = rho + a^2 / 2
                            cos(W2, B) = G / sqrt(1 + (1 + rho) a^2 + a^4 / 4)
       backpropagation:     u' = 2 H (gamma0 |y| - u), u(0) = 0   H = G = sqrt(1 + u^2)

   In both, error' = -(H + G) error, and at the end u = gamma0 |y|. For large gamma0, H - 1 is gamma0 |y| under
   backpropagation and (2 gamma0 |y|)^(2/3) under feedback alignment. The same in minifa: SGD with lr = P dt on half the
   squared error to the targets gamma0 y. Source: Bordelon & Pehlevan 2022, "The influence of learning rule on
   representation dynamics in wide neural networks"; the cosine is derived here from their solution.

2. Online learning of a teacher network. Inputs x ~ N(0, 1/N) of N dimensions, N -> infinity, K units
   g(l) = erf(l / sqrt(2)), half the squared error, a new example in each step. W1 learns at the rate lr, W2 at lr / N;
   the time is the number of steps over N. With the fields l = (x @ W1, x @ teacher_W1), their covariances C,
   c = (W2, -teacher_W2), F = B (backpropagation: F = W2), and sums over j and l:

       C_ik' = -lr F_i c_j I3(i, k, j) - lr F_k c_j I3(k, i, j) + lr^2 F_i F_k c_j c_l I4(i, k, j, l)
       C_im' = -lr F_i c_j I3(i, m, j)           i and k are units of the network, m of the teacher
       W2_i' = -lr c_j I2(i, j)
       error = 1/2 c_j c_l I2(j, l)

   I2 = E[g(l_a) g(l_b)], I3 = E[g'(l_a) l_b g(l_c)], I4 = E[g'(l_a) g'(l_b) g(l_c) g(l_d)] have closed forms. Source:
   Refinetti, d'Ascoli, Ohana & Goldt 2021, "Align, then memorise: the dynamics of learning with feedback alignment".

3. One mode of two linear layers, f = W A x with the target T.

       feedback alignment:  A' = B T - A^3 / 2, A(0) = 0, W = A^2 / (2 B): the fraction q of the target is learned after
                            t = 2 |2 B T|^(-2/3) * integral of du / (1 - u^3) from 0 to q^(1/3)
       backpropagation:     f' = 2 f (T - f), A(0) = W(0): t = log(q (T - f(0)) / (f(0) (1 - q))) / (2 T)

   Half of the target is learned after 1.8754 |2 B T|^(-2/3): modes are learned in the order of |B T|. Derived here;
   Girotti, Mitliagkas & Gidel 2021, "Convergence analysis and implicit regularization of feedback alignment for deep
   linear networks", describe that small components can come first. Backpropagation: Saxe, McClelland & Ganguli 2014,
   "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".
"""

from __future__ import annotations

__all__ = [
    "LinearCurves",
    "OnlineCurves",
    "bp_learning_time",
    "fa_learning_time",
    "online_erf",
    "online_error",
    "wide_linear_bp",
    "wide_linear_fa",
]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from .backend import to_host
from .validation import check_float, check_positive

Host = numpy.ndarray
MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class LinearCurves:
    """Curves of two wide linear layers, arrays (times,).

    Attributes:
        t: the times, from 0.
        error: norm of targets minus outputs.
        H: size of the features in the direction of the targets.
        G: overlap of W2 and B.
        cosine: of W2 and B.
    """

    t: Host
    error: Host
    H: Host
    G: Host
    cosine: Host


@dataclass(frozen=True)
class OnlineCurves:
    """Curves of online learning, the first axis is the time.

    Attributes:
        t: the times, from 0, (times,): steps over N.
        error: the test error, half the squared error on a new example, (times,).
        Q: covariances of the network's fields, (times, K, K).
        R: covariances of the network's fields with the teacher's, (times, K, M).
        W2: weights of the output layer, (times, K).
    """

    t: Host
    error: Host
    Q: Host
    R: Host
    W2: Host

    def cosine(self, B: Any) -> Host:
        """The cosine of W2 and the feedback B (K,) or (K, 1) at each time. Raises TypeError, ValueError for a B of
        other numbers or another shape."""
        B = _numbers(B, "B", (self.W2.shape[1],))
        return self.W2 @ B / (numpy.linalg.norm(self.W2, axis=1) * numpy.linalg.norm(B))


# Two wide linear layers


def wide_linear_fa(
    target: float, correlation: float = 0.0, gamma0: float = 1.0, until: float = 8.0, dt: float = 0.01
) -> LinearCurves:
    """Two wide linear layers under feedback alignment (equations 1).

    Args:
        target: norm of the targets of all examples, above 0.
        correlation: rho, of B with W2 at the start, from -1 to 1; 0 for feedback drawn independently.
        gamma0: strength of feature learning, above 0: the features move more if it is large.
        until, dt: last time and step of the integration, above 0.

    Raises:
        TypeError: an argument that is not a number.
        ValueError: a number outside its range; a step so large that the integration is unstable.

    >>> curves = mf.theory.wide_linear_fa(target=1.0, gamma0=1.5, until=20.0, dt=0.1)
    >>> curves.H[0].item(), curves.G[0].item(), curves.error[-1].round(6).item()
    (1.0, 0.0, 0.0)
    >>> curves.H[-1].round(6).item(), curves.G[-1].round(6).item()  # a^3 / 2 + a = 1.5 has the solution a = 1
    (2.0, 0.5)
    """
    target, gamma0 = check_positive(target, "target"), check_positive(gamma0, "gamma0")
    rho = check_float(correlation, "correlation")
    if not -1 <= rho <= 1:
        raise ValueError(f"correlation must lie in [-1, 1], got {correlation}")

    def u(a: Host) -> Host:
        return a * a * a / 2 + (1 + rho) * a

    t, a = _integrate(lambda a: gamma0 * target - u(a), numpy.zeros(1), until, dt)
    a = a[:, 0]
    squared = a * a
    G = rho + squared / 2
    cosine = G / numpy.sqrt(1 + (1 + rho) * squared + squared * squared / 4)
    return LinearCurves(t, target - u(a) / gamma0, 1 + squared, G, cosine)


def wide_linear_bp(target: float, gamma0: float = 1.0, until: float = 8.0, dt: float = 0.01) -> LinearCurves:
    """Two wide linear layers under backpropagation, where B is W2 (equations 1). Arguments and errors are those of
    `wide_linear_fa`.

    >>> curves = mf.theory.wide_linear_bp(target=1.0, gamma0=0.75, until=20.0, dt=0.1)
    >>> curves.H[-1].round(6).item(), curves.G[-1].round(6).item()  # sqrt(1 + 0.75^2)
    (1.25, 1.25)
    """
    target, gamma0 = check_positive(target, "target"), check_positive(gamma0, "gamma0")
    t, u = _integrate(lambda u: 2 * numpy.sqrt(1 + u * u) * (gamma0 * target - u), numpy.zeros(1), until, dt)
    u = u[:, 0]
    H = numpy.sqrt(1 + u * u)
    return LinearCurves(t, target - u / gamma0, H, H, numpy.ones_like(H))


# Online learning of a teacher


def online_erf(
    W1: Any,
    W2: Any,
    teacher_W1: Any,
    teacher_W2: Any,
    B: Any = None,
    lr: float = 0.1,
    until: float = 60.0,
    dt: float = 0.1,
) -> OnlineCurves:
    """A network of erf units that learns a teacher of erf units from a new example in each step (equations 2).

    Args:
        W1, W2: the weights at the start, (N, K) and (K, 1); only their overlaps enter.
        teacher_W1, teacher_W2: the teacher's weights, (N, M) and (M, 1).
        B: fixed feedback (K, 1), of feedback alignment or direct feedback, which are the same with one hidden layer;
            None: backpropagation.
        lr: learning rate of W1, above 0; that of W2 is lr / N.
        until, dt: last time and step of the integration, above 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: arrays whose shapes do not belong together or entries that are not finite; a number outside its
            range; a step so large that the integration is unstable.

    A network that starts as its teacher stays there; one with other output weights learns the teacher's:

    >>> W1, W2 = [[3.0], [4.0]], [[0.5]]
    >>> mf.theory.online_erf(W1, W2, W1, W2, B=[[1.0]], until=1.0).error.max().item()
    0.0
    >>> curves = mf.theory.online_erf(W1, [[0.1]], W1, W2, B=[[1.0]], lr=0.5, until=200.0, dt=1.0)
    >>> curves.error[0].round(3).item(), curves.error[-1].round(6).item(), curves.W2[-1].round(2).tolist()
    (0.06, 0.0, [0.5])
    """
    W1, W2, teacher_W1, teacher_W2 = _networks(W1, W2, teacher_W1, teacher_W2)
    K = len(W2)
    fixed = None if B is None else _numbers(B, "B", (K,))
    lr = check_positive(lr, "lr")
    covariances = _covariances(W1, teacher_W1)

    def unpack(state: Host) -> tuple[Host, Host]:
        """C (K + M, K + M) and c (K + M,) of a state (K, K + M + 1): K rows of C, and W2 as the last column."""
        C = covariances.copy()
        C[:K], C[K:, :K] = state[:, :-1], state[:, K:-1].T
        return C, numpy.concatenate([state[:, -1], -teacher_W2])

    def slope(state: Host) -> Host:
        C, c = unpack(state)
        F = (c[:K] if fixed is None else fixed)[:, None]
        dC = -lr * F * (i3(C)[:K] @ c)  # (K, K + M)
        dC[:, :K] += dC[:, :K].T + lr * lr * F * F.T * (i4(C)[:K, :K] @ c @ c)
        return numpy.concatenate([dC, -lr * (i2(C) @ c)[:K, None]], axis=1)

    t, states = _integrate(slope, numpy.concatenate([covariances[:K], W2[:, None]], axis=1), until, dt)
    error = numpy.array([_error(*unpack(state)) for state in states])
    return OnlineCurves(t, error, states[:, :, :K], states[:, :, K:-1], states[:, :, -1])


def online_error(W1: Any, W2: Any, teacher_W1: Any, teacher_W2: Any) -> float:
    """The test error of a network of erf units: half its squared error to the teacher, averaged over all inputs, not
    over a sample of them. Arguments and errors are those of `online_erf`.

    >>> W1 = [[3.0], [4.0]]
    >>> mf.theory.online_error(W1, [[1.0]], W1, [[1.0]])
    0.0
    >>> round(mf.theory.online_error(W1, [[0.0]], W1, [[2.0]]), 4)  # 2 I2 = (4 / pi) asin(C / (1 + C)), C = 25/2
    1.5069
    """
    W1, W2, teacher_W1, teacher_W2 = _networks(W1, W2, teacher_W1, teacher_W2)
    return float(_error(_covariances(W1, teacher_W1), numpy.concatenate([W2, -teacher_W2])))


def _networks(W1: Any, W2: Any, teacher_W1: Any, teacher_W2: Any) -> tuple[Host, Host, Host, Host]:
    W1 = _numbers(W1, "W1", (None, None))
    teacher_W1 = _numbers(teacher_W1, "teacher_W1", (len(W1), None))
    W2, teacher_W2 = _numbers(W2, "W2", W1.shape[1:]), _numbers(teacher_W2, "teacher_W2", teacher_W1.shape[1:])
    return W1, W2, teacher_W1, teacher_W2


def _covariances(W1: Host, teacher_W1: Host) -> Host:
    """C (K + M, K + M) for x ~ N(0, 1/N)."""
    weights = numpy.concatenate([W1, teacher_W1], axis=1)
    return weights.T @ weights / len(weights)


def _error(C: Host, c: Host) -> Any:
    return c @ i2(C) @ c / 2


def i2(C: Host) -> Host:
    """E[g(l_a) g(l_b)] for fields of the covariances C (n, n), g(l) = erf(l / sqrt(2)): (n, n)."""
    s = 1 + numpy.diag(C)
    return 2 / math.pi * numpy.arcsin(C / numpy.sqrt(numpy.outer(s, s)))


def i3(C: Host) -> Host:
    """E[g'(l_a) l_b g(l_c)]: (n, n, n)."""
    a, b, c = numpy.ogrid[tuple(slice(len(C)) for _ in range(3))]
    s = 1 + numpy.diag(C)
    root = numpy.sqrt(s[a] * s[c] - C[a, c] * C[a, c])
    return 2 / math.pi * (C[b, c] * s[a] - C[a, b] * C[a, c]) / (s[a] * root)


def i4(C: Host) -> Host:
    """E[g'(l_a) g'(l_b) g(l_c) g(l_d)]: (n, n, n, n)."""
    a, b, c, d = numpy.ogrid[tuple(slice(len(C)) for _ in range(4))]
    s = 1 + numpy.diag(C)
    L4 = s[a] * s[b] - C[a, b] * C[a, b]

    def minor(c: Host, d: Host, C_cd: Host) -> Host:
        mixed = C[a, b] * (C[a, c] * C[b, d] + C[a, d] * C[b, c])
        return L4 * C_cd - C[b, c] * C[b, d] * s[a] - C[a, c] * C[a, d] * s[b] + mixed

    L0, L1, L2 = minor(c, d, C[c, d]), minor(c, c, s[c]), minor(d, d, s[d])
    return 4 / (math.pi * math.pi) * numpy.arcsin(L0 / numpy.sqrt(L1 * L2)) / numpy.sqrt(L4)


# A mode


def fa_learning_time(target: float, feedback: float, fraction: float = 0.5) -> float:
    """The time until a fraction of the target is learned under feedback alignment from zero weights (equations 3).

    Args:
        target, feedback: T and B of the mode, not 0. Only their product enters.
        fraction: of the target, from 0 to below 1; 0.5 gives the half-time.

    Raises:
        TypeError: an argument that is not a number.
        ValueError: a number outside its range.

    >>> round(mf.theory.fa_learning_time(target=1.0, feedback=1.0), 3)
    1.181
    >>> round(mf.theory.fa_learning_time(target=0.1, feedback=8.0) / mf.theory.fa_learning_time(0.1, 1.0), 9)
    0.25
    """
    product = 2 * check_float(target, "target") * check_float(feedback, "feedback")
    if not 0 < abs(product) < math.inf:
        raise ValueError(f"target and feedback must be finite numbers other than 0, got {target} and {feedback}")
    u = math.pow(_fraction(fraction, 0.0), 1 / 3)
    # The integral of 1 / (1 - u^3) by partial fractions
    logarithms = math.log1p(u + u * u) / 6 - math.log1p(-u) / 3
    integral = logarithms + (math.atan((2 * u + 1) / math.sqrt(3)) - math.pi / 6) / math.sqrt(3)
    return 2 * math.pow(abs(product), -2 / 3) * integral


def bp_learning_time(target: float, start: float, fraction: float = 0.5) -> float:
    """The time until a fraction of the target is learned under backpropagation from two equal small weights
    (equations 3).

    Args:
        target: T of the mode, above 0.
        start: product of the two weights at the start, above 0 and below the target.
        fraction: of the target, from start / target to below 1.

    Raises:
        TypeError: an argument that is not a number.
        ValueError: a number outside its range.

    >>> round(mf.theory.bp_learning_time(target=1.0, start=0.0001), 3)  # log(9999) / 2
    4.605
    """
    target = check_positive(target, "target")
    if not check_positive(start, "start") < target:
        raise ValueError(f"start must be below the target of {target:g}, got {start}")
    share = start / target
    fraction = _fraction(fraction, share)
    return math.log(fraction / share * (1 - share) / (1 - fraction)) / (2 * target)


def _fraction(fraction: float, least: float) -> float:
    value = check_float(fraction, "fraction")
    if not least <= value < 1:
        raise ValueError(f"fraction must be at least {least:g}, the start's, and below 1, got {fraction}")
    return value


# Integration


def _integrate(slope: Callable[[Host], Host], state: Host, until: float, dt: float) -> tuple[Host, Host]:
    """Times (n + 1,) and states (n + 1, ...) of state' = slope(state), by the classical Runge-Kutta method."""
    until, dt = check_positive(until, "until"), check_positive(dt, "dt")
    if until > MOST_STEPS * dt:
        raise ValueError(f"until / dt must be at most {MOST_STEPS:,} steps, got until={until:g} and dt={dt:g}")
    n = max(1, round(until / dt))
    h, states = until / n, [state]
    with numpy.errstate(over="ignore", invalid="ignore"):
        for _ in range(n):
            k1 = slope(state)
            k2 = slope(state + h / 2 * k1)
            k3 = slope(state + h / 2 * k2)
            k4 = slope(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            states.append(state)
    if not numpy.isfinite(state).all():
        raise ValueError(f"the integration with steps of dt={dt:g} is unstable: choose a smaller dt")
    return numpy.linspace(0.0, until, n + 1), numpy.array(states)


def _numbers(value: Any, what: str, shape: tuple[int | None, ...]) -> Host:
    """A host array in float64; a column (n, 1) for a vector becomes (n,). None in the shape: any size."""
    try:
        array = numpy.asarray(to_host(value))
    except ValueError:
        array = numpy.empty(0, object)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what} must be an array of real numbers, got {type(value).__name__} of dtype {array.dtype}")
    if len(shape) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    wanted = tuple(given if size is None else size for size, given in zip(shape, array.shape, strict=False))
    if array.shape != wanted or array.ndim != len(shape) or array.size == 0:
        expected = " x ".join("any size" if size is None else str(size) for size in shape)
        raise ValueError(f"{what} must be an array of shape {expected}, got {array.shape}")
    if not numpy.isfinite(array).all():
        raise ValueError(f"{what} must have finite entries")
    return array.astype(numpy.float64)
