"""Why does weight perturbation end above node perturbation in six convolutions, although its estimate is noisier?

Both estimate the same gradient. For networks trained by backpropagation for some epochs, this script measures the
cosine of both estimates with the gradient, their relative norm, and the change of the loss on other examples by one
step of SGD at each rate (means over 40 draws). The estimate with the larger cosine need not give the better step: the
effect of the noise on the output matters.

    python tutorials/results/why/perturbation.py > tutorials/results/why/perturbation.txt
"""

import numpy as np

import minifa as mf

RATES, DRAWS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), 40

mf.use("numpy", dtype="float64", threads=1)
data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
x, y = mf.asarray(data.train.x[:64]), data.train.y[:64]
others = data.train.x[64:576], data.train.y[64:576]


def loss_of(net):
    output = net.predict(others[0])
    return float(loss(output, loss.target(others[1], output))[0].mean())


def gradient(net, rule):
    rule.attach(net).gradients(net, x, y, loss)
    return np.concatenate([array.ravel() for layer in net.weighted for array in layer.grads.values()])


print("digits, six convolutions, a batch of 64, float64\n")
print("                                        cosine  length   change of the loss by one step at rate")
print("epochs  seed  rule                 of the estimate   " + "".join(f"{rate:<10.0e}" for rate in RATES))
for epochs in (0, 1, 3):
    for seed in range(3):
        net = mf.Network(mf.models.cnn(data.input_shape, data.n_out), seed=seed, input_shape=data.input_shape)
        if epochs:
            optimizer = mf.SGD(0.003, momentum=0.9)
            mf.train(net, mf.rules.BP().attach(net), data.train, loss, optimizer, epochs, seed=seed, progress=False)
        state = {name: array.copy() for name, array in net.state().items()}
        before, true = loss_of(net), gradient(net, mf.rules.BP())
        for name in ("node_perturbation", "weight_perturbation"):
            cosines, lengths, changes = [], [], {rate: [] for rate in RATES}
            for draw in range(DRAWS):
                rule = mf.rules.make(name, seed=draw)
                estimate = gradient(net, rule)
                lengths.append(np.linalg.norm(estimate) / np.linalg.norm(true))
                cosines.append(estimate @ true / np.linalg.norm(estimate) / np.linalg.norm(true))
                for rate in RATES:
                    mf.SGD(rate).step(net, rule)
                    changes[rate].append(loss_of(net) - before)
                    net.load_state(state)
            steps = "".join(f"{np.mean(change):<+10.4f}" for change in changes.values())
            print(
                f"{epochs:<7} {seed:<5} {name:20} {np.mean(cosines):6.3f}  {np.mean(lengths):6.1f}   {steps}",
                flush=True,
            )
