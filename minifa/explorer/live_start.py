"""What the engine in the page (web/src/live.ts) starts from: data, batches, weights and feedback, as the engine draws
them, and checks of the engine in the page against this one.

The network is the model "mlp" on the data set of the page: ``depth`` hidden layers of ``width`` units with ReLU,
softmax cross-entropy, plain SGD (no momentum), batches of 8. A reference ("ref") is an index into the page's list
"arrays".

    live = {
      "format": 1,
      "data": "digits", "classes": 10, "inputs": 64, "batch_size": 8,
      "activation": "relu", "loss": "softmax_cross_entropy", "optimizer": "sgd",
      "x": ref (N, inputs),  "y": ref (N,),  "test_x": ref (N_test, inputs),  "test_y": ref (N_test,),
      "seeds": [0, 1, 2],  "depths": [1, 2, 3],  "widths": [8, 16, 32],
      "orders": {"0": ref (epochs, N), ...},
      "noise": {"0": {"order": ref (N,), "labels": ref (N,)}, ...},
      "starts": [{"seed": 0, "depth": 1, "width": 8, "layers": [Layer, ...]}, ...],
      "weight_decay": {"kolen_pollack": 0.01},
      "checks": Checks
    }

**Arrays**: see `minifa.explorer.arrays`. x, test_x and all labels are coded ("u1f4", "u1f8"), indices are "u2", all
others "f4".

**Batches.** Update number u (from 0) takes the batch number k = u mod ceil(N / batch_size) of epoch
u div ceil(N / batch_size): the examples orders[seed][epoch][8 k .. 8 k + 8]. The last batch of an epoch is smaller, and
the loss is the mean over the examples that it has. There are epochs enough for 1000 updates.

**Label noise.** With a share p of wrong labels, the first round(p N) entries i of noise[seed].order have the label
noise[seed].labels[i] in place of y[i]; rounding is half up (floor(p N + 1/2)). `wrong_labels` does the same in Python.
The test labels stay.

**Layer** = {"name": "linear1", "sd": sd of W's initialiser, "W": ref (n_in, n_out), "M": ref | null, "N": ref | null,
"F": ref | null}, in forward order; depth + 1 of them. b is 0 at the start. The lowest layer has no M and no N, because
no error is carried through it; the output layer has no F.

    M   the matrix that the rule draws, of W's shape     fa, kolen_pollack (at the start)   B = M
                                                         frsf                               B = abs(M) sign(W)
    N   orthogonal to W, with W's norm                   fa:angle=a                         B = cos(a) W_0 + sin(a) N
    F   (n_out of this layer, classes), for the error    dfa      delta at the ReLU above this layer = e @ F.T
        at the output of the ReLU that follows
    usf     B = s sign(W), s = norm(W) / sqrt(number of nonzero entries of W), W the current one
    brsf    B = abs(M_t) sign(W), M_t of W's shape drawn for every update from a normal distribution with the
            standard deviation "sd". The engine's draws are not in the page, except those of the checks: in other runs
            the page draws its own.

B = cos(a) W_0 + sin(a) N is computed in double precision from the stored W and N, then rounded to single precision;
sign(0) = 0. Kolen-Pollack: W and B both move by -lr (gradient of W + weight_decay * itself); b has the weight decay,
too.

**Checks** = {"lr": 0.02, "seed": 0, "depth": 2, "width": 8, "updates": [1, 100],
              "M_t": [null, ref (100, n_in, n_out), ...] (for each layer: brsf's M_t in update 0, 1, ..., already abs),
              "tolerance": [2e-6, 1e-5],
              "rules": [{"rule": "fa", "angle": null | degrees, "weight_decay": 0.0,
                         "after": [{"W": [ref, ...], "b": [ref, ...]}, ...]}, ...]}
Each item of "after" has the engine's weights after so many updates ("updates") from that start, with the rate "lr" and
no label noise. The relative error of an array is norm(page - engine) / norm(engine); its maximum over all arrays must
be at most the tolerance for that number of updates.
"""

from __future__ import annotations

__all__: list[str] = []

from dataclasses import replace
from typing import Any

import numpy
import numpy.typing as npt

from .. import backend, experiments, rules
from ..data.base import Dataset
from ..data.batches import Batches, count_batches
from ..experiments import Experiment
from ..experiments.experiment import default_loss
from ..layers.activations import Activation
from ..layers.weighted import Weighted
from ..network import Network
from ..rng import generator
from ..rules.angled_feedback import orthogonal_part
from ..tracing.stepper import Replay, make_update
from .arrays import MOST_DISTINCT, ArrayTable, Json

FORMAT = 1
BATCH_SIZE = 8
SEEDS, DEPTHS, WIDTHS = (0, 1, 2), (1, 2, 3), (8, 16, 32)
UPDATES = 1000  # for which there are batches
MOST_VALUES = 250_000  # of all inputs: the UCI digits have 115,008
MOST_EXAMPLES = 1 << 16  # that indices of two bytes can name

CHECKED = ("bp", "fa", "fa:angle=30", "fa:angle=120", "usf", "frsf", "brsf", "dfa", "kolen_pollack")
CHECK_RATE, CHECK_UPDATES, CHECK_TOLERANCE = 0.02, (1, 100), (2e-6, 1e-5)
CHECK_SEED, CHECK_DEPTH, CHECK_WIDTH = 0, 2, 8


def live_start(experiment: Experiment, data: Dataset, table: ArrayTable) -> Json | None:
    """What the engine in the page starts from, with the arrays in the table; None if it cannot train on this data set:
    one without classes or with a single output, with other than a few distinct values, or too large for a page."""
    parts = data.train, data.test
    values = numpy.unique(numpy.concatenate([numpy.unique(part.x) for part in parts]))
    if (
        default_loss(data) != "softmax_cross_entropy"
        or sum(part.x.size for part in parts) > MOST_VALUES
        or max(len(part) for part in parts) > MOST_EXAMPLES
        or len(values) > MOST_DISTINCT
        or backend.dtype() != numpy.float32
    ):
        return None
    base = _experiment(experiment)
    inputs = {
        key: table.index_coded(part.x.reshape(len(part), -1)) for key, part in zip(("x", "test_x"), parts, strict=True)
    }
    labels = {key: _labels(part.y, table) for key, part in zip(("y", "test_y"), parts, strict=True)}
    starts = [
        {"seed": seed, "depth": depth, "width": width, "layers": _layers(_sized(base, seed, depth, width), data, table)}
        for seed in SEEDS
        for depth in DEPTHS
        for width in WIDTHS
    ]
    return {
        "format": FORMAT,
        **{"data": data.name, "classes": len(data.classes), "inputs": int(numpy.prod(data.input_shape))},
        "batch_size": BATCH_SIZE,
        **{"activation": "relu", "loss": "softmax_cross_entropy", "optimizer": "sgd"},
        **inputs,
        **labels,
        **{"seeds": list(SEEDS), "depths": list(DEPTHS), "widths": list(WIDTHS)},
        "orders": {str(seed): table.index_integers(_orders(data, seed)) for seed in SEEDS},
        "noise": {str(seed): _noise(data, seed, table) for seed in SEEDS},
        "starts": starts,
        "weight_decay": {name: decay for name in CHECKED if (decay := rules.make(name).weight_decay)},
        "checks": _checks(base, data, table),
    }


def wrong_labels(y: npt.NDArray[Any], classes: int, seed: int, share: float) -> npt.NDArray[Any]:
    """The labels (N,) with a share of them, 0 to 1, replaced by others, as in the page; a copy."""
    order, wrong = _drawn_noise(y, classes, seed)
    changed, count = y.copy(), int(share * len(y) + 0.5)
    changed[order[:count]] = wrong[order[:count]]
    return changed


def _drawn_noise(y: npt.NDArray[Any], classes: int, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The order in which examples get a wrong label, and a wrong label for each example."""
    rng = generator(seed, "data", "wrong labels")
    return rng.permutation(len(y)), (y + rng.integers(1, classes, len(y))) % classes


def _noise(data: Dataset, seed: int, table: ArrayTable) -> Json:
    order, wrong = _drawn_noise(data.train.y, len(data.classes), seed)
    return {"order": table.index_integers(order), "labels": _labels(wrong, table)}


def _labels(y: npt.NDArray[Any], table: ArrayTable) -> int:
    return table.index_coded(y.astype(numpy.float32))


def _orders(data: Dataset, seed: int) -> npt.NDArray[Any]:
    """The order of the training examples in each epoch (epochs, N)."""
    epochs = -(-UPDATES // count_batches(len(data.train), BATCH_SIZE))
    return numpy.stack([Batches(data.train, BATCH_SIZE, seed, 1 + epoch).order for epoch in range(epochs)])


def _experiment(experiment: Experiment) -> Experiment:
    """The training that the engine in the page makes, on the data of this experiment."""
    return Experiment(
        data=experiment.data,
        data_dir=experiment.data_dir,
        data_options=experiment.data_options,
        model="mlp",
        lr=CHECK_RATE,
        optimizer_options={},
        batch_size=BATCH_SIZE,
    )


def _sized(base: Experiment, seed: int, depth: int, width: int) -> Experiment:
    return replace(base, seed=seed, model_options={"hidden": (width,) * depth})


def _layers(experiment: Experiment, data: Dataset, table: ArrayTable) -> list[Json]:
    """The initial matrices of every weighted layer."""
    net = experiments.build(experiment, data)[0]
    drawn = rules.make("fa", seed=experiment.seed).attach(net).B
    direct = rules.make("dfa", seed=experiment.seed).attach(net).B
    return [
        {
            "name": layer.name,
            "sd": layer.init.sd(*layer.fans),
            "W": _index(layer.W, table),
            "M": _index(drawn[layer.name], table) if layer.name in drawn else None,
            "N": table.index(orthogonal_part(layer, drawn[layer.name])) if layer.name in drawn else None,
            "F": None if above is None else _index(direct[above.name], table),
        }
        for layer, above in _with_activations(net)
    ]


def _with_activations(net: Network) -> list[tuple[Weighted, Activation | None]]:
    """The weighted layers, each with the activation that follows; the output layer with None."""
    activations = [layer for layer in net if isinstance(layer, Activation)]
    return list(zip(net.weighted, [*activations, None], strict=True))


def _index(array: backend.Array, table: ArrayTable) -> int:
    return table.index(numpy.asarray(backend.to_host(array)))


def _checks(base: Experiment, data: Dataset, table: ArrayTable) -> Json:
    """The engine's weights after some updates under every rule that the engine in the page has."""
    sized = _sized(base, CHECK_SEED, CHECK_DEPTH, CHECK_WIDTH)
    checked = [_check(replace(sized, rule=name), data, table) for name in CHECKED]
    return {
        **{"lr": CHECK_RATE, "seed": CHECK_SEED, "depth": CHECK_DEPTH, "width": CHECK_WIDTH},
        **{"updates": list(CHECK_UPDATES), "tolerance": list(CHECK_TOLERANCE)},
        "M_t": _redrawn(sized, data, table),
        "rules": checked,
    }


def _check(experiment: Experiment, data: Dataset, table: ArrayTable) -> Json:
    net, rule, loss, optimizer = experiments.build(experiment, data)
    batch_of, after = Replay(experiment, data).batch_of, []
    for update in range(CHECK_UPDATES[-1]):
        make_update(net, rule, loss, optimizer, batch_of(update))
        if update + 1 in CHECK_UPDATES:
            after.append({key: [_index(getattr(layer, key), table) for layer in net.weighted] for key in ("W", "b")})
    return {
        "rule": rule.name,
        "angle": getattr(rule, "angle", None),
        "weight_decay": experiment.decay(),
        "after": after,
    }


def _redrawn(experiment: Experiment, data: Dataset, table: ArrayTable) -> list[int | None]:
    """The magnitudes that `brsf` draws in every update of the checks (updates, n_in, n_out), by layer."""
    net, rule = experiments.build(experiment, data)[0], rules.BRSF(seed=experiment.seed)
    rule.attach(net)
    layers = rule.layers_with_feedback(net)
    drawn: dict[str, list[npt.NDArray[Any]]] = {layer.name: [] for layer in layers}
    for net.step in range(CHECK_UPDATES[-1]):
        for layer in layers:
            drawn[layer.name].append(numpy.array(backend.to_host(rule.magnitude(layer))))
    return [table.index(numpy.stack(drawn[layer.name])) if layer.name in drawn else None for layer in net.weighted]
