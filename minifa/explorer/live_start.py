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

**Arrays** of a page are [shape, kind, bytes] or [shape, kind, bytes, table], the bytes little-endian in base64:
"f4", "f8" floats; "u1", "u2" unsigned integers of one and two bytes (labels, indices); "u1f4", "u1f8": each byte is an
index into the table, which has the distinct values as f4 or f8 (at most 256), also in base64. x has this kind.

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
