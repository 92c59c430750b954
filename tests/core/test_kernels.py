"""Kernels and the measures made from them, beside their definitions, central differences and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minifa as mf
from minifa import kernels
from minifa.backend import to_host

KERNELS = [kernels.Grouped(kernels.Cosine(), 2), kernels.Grouped(kernels.Gaussian(0.2), 1, 0.8, 0.5)]


def hsic(K, L):
    H = np.eye(len(K)) - 1 / len(K)
    return np.trace(K @ H @ L @ H) / len(K) ** 2


@pytest.mark.parametrize("kernel", [*KERNELS, kernels.Cosine(floor=2.0), kernels.Gaussian(sigma=0.7)])
@pytest.mark.parametrize("shape", [(5, 4), (5, 2, 3, 2)])
def test_the_error_of_a_kernel_is_the_derivative_of_a_loss_of_it(kernel, shape, float64):
    rng = np.random.default_rng(0)
    z, G = rng.normal(size=shape), rng.normal(size=(5, 5))
    z[0] *= 0.1  # one row under the floor of 2, others around it
    G += G.T
    error, step = kernel.error(z, kernel.matrix(z), G), 1e-6
    for place in np.ndindex(*shape):
        moved = np.zeros(shape)
        moved[place] = step
        slope = ((kernel.matrix(z + moved) - kernel.matrix(z - moved)) * G).sum() / (2 * step)
        assert error[place] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_kernels_of_two_points(float64):
    """Two points at the distance s with sigma = s: exp(-1/2) for one value an example, exp(-1/(2 u)) for u."""
    for u in (1, 4):
        K = kernels.Gaussian(sigma=3.0).matrix(np.array([np.zeros(u), [3.0] + [0.0] * (u - 1)]))
        assert np.allclose(K, [[1, math.exp(-0.5 / u)], [math.exp(-0.5 / u), 1]], atol=1e-15)
    targets = kernels.Cosine().matrix(np.eye(4))
    assert np.allclose(targets, np.eye(4) - (1 - np.eye(4)) / 3, atol=1e-15)


def test_rows_that_are_nearly_constant_have_bounded_errors(engine):
    noise = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    z, G = mf.asarray(1 + 1e-7 * noise), mf.asarray(np.ones((6, 6), "float32"))
    for kernel in (kernels.Cosine(), kernels.Gaussian()):
        error = to_host(kernel.error(z, kernel.matrix(z), G))
        assert np.isfinite(error).all()
        assert np.abs(error).max() < 10


@pytest.mark.parametrize(("classes", "sigma", "known"), [(10, 5.0, 8.565493), (10, 1.0, 8.981115), (4, 5.0, 2.976024)])
def test_nhsic_of_balanced_labels_has_its_closed_form(classes, sigma, known, float64):
    K = kernels.Gaussian(sigma).matrix(np.eye(classes)[np.arange(6 * classes) % classes])
    a = math.exp(-1 / (sigma**2 * classes))
    closed = (classes - 1) * ((1 - a) / ((1 - a) + 1e-5 * classes)) ** 2
    assert float(kernels.nhsic(K, K)) == pytest.approx(closed, rel=1e-9)
    assert closed == pytest.approx(known, abs=1e-6)


def test_hsic_by_centred_matrices(float64):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    K, L = kernels.Gaussian().matrix(z), kernels.Cosine().matrix(y)
    expected = (K * L).mean() - 2 * (K.mean(axis=0) * L.mean(axis=0)).mean() + K.mean() * L.mean()
    assert hsic(K, L) == pytest.approx(expected, abs=1e-15)
    assert (kernels.centred(K) * L).mean() == pytest.approx(expected, abs=1e-15)


def test_cka_beside_its_definition(float64):
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    centre = np.eye(8) - 1 / 8
    cross, own, other = (a.T @ centre @ b for a, b in ((y, z), (z, z), (y, y)))
    expected = np.linalg.norm(cross) ** 2 / (np.linalg.norm(own) * np.linalg.norm(other))
    assert float(kernels.cka(z @ z.T, y @ y.T)) == pytest.approx(expected, rel=1e-12)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = 5 * z @ rotation + 2
    assert float(kernels.cka(turned @ turned.T, z @ z.T)) == pytest.approx(1, rel=1e-12)
    assert float(kernels.cka(np.ones((8, 8)), y @ y.T)) == 0


def test_measures_run_on_every_backend(engine):
    z, y = (mf.asarray(np.random.default_rng(i).normal(size=(7, 3)).astype("float32")) for i in (0, 1))
    K, L = (kernels.Gaussian().matrix(array) for array in (z, y))
    assert 0 < float(kernels.nhsic(K, L)) < 6
    assert 0 < float(kernels.cka(K, L)) < 1


def test_what_is_no_kernel_is_refused(float64):
    K, z = np.eye(3), np.ones((3, 2))
    for wrong in (
        lambda: kernels.nhsic(K, np.eye(4)),
        lambda: kernels.cka(K, K[:, :2]),
        lambda: kernels.centred(z),
        lambda: kernels.Cosine().error(z, K, np.eye(2)),
        lambda: kernels.nhsic(K, K, eps=1e-300),
    ):
        with pytest.raises(ValueError, match="a kernel expects a matrix of shape|use a larger eps"):
            wrong()
    with pytest.raises(TypeError, match="float32 or float64 to be normalised, got float16"):
        kernels.nhsic(K.astype("f2"), K)
