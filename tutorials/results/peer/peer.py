"""The comparison of `minifa compare` in PyTorch, written independently.

    python tutorials/results/peer/peer.py --seeds 5
    python tutorials/results/peer/peer.py --seeds 3 --rules bp,fa --optimizer adam --epochs 150 --lr 0.001
    python tutorials/results/peer/peer.py --hidden 100,100 --rules bp,fa,usf,shallow --epochs 5
    python tutorials/results/peer/peer.py --hidden 64,64,64 --activation tanh --init lecun_normal --batch-size 32 \
        --lr 0.02 --epochs 10 --seeds 5 --rules bp,fa,dfa,shallow

    python tutorials/results/peer/peer.py --data mnist --hidden 256,256,256,256,256 --activation tanh \
        --init lecun_normal --batch-size 128 --lr 0.03 --epochs 20 --rules bp,fa

    python tutorials/results/peer/peer.py --data digits_parity --hidden 128,128 --activation tanh --lr 0.1 --seeds 5 \
        --rules bp,fa

The last three have the settings of `minifa reproduce digits_targets`, `mnist_targets` and `digits_parity`.

It does not use minifa's engine: layers, losses and optimizers are PyTorch's, the feedback is a
`torch.autograd.Function`, and initial weights, feedback and the order of the examples are drawn by PyTorch. Only the
images and the learning rates come from minifa. Needs ``pip install torch==2.13.0``.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional

import minifa as mf
from minifa.experiments import Experiment
from minifa.experiments.tables import mean_sd
from minifa.text import table


class ConvolutionWithFeedback(torch.autograd.Function):
    """A convolution with feedback matrix B."""

    @staticmethod
    def forward(ctx, x, W, B):
        ctx.save_for_backward(x, W, B)
        return functional.conv2d(x, W, padding=1)

    @staticmethod
    def backward(ctx, delta):
        x, W, B = ctx.saved_tensors
        below = nn.grad.conv2d_input(x.shape, B, delta, padding=1)
        return below, nn.grad.conv2d_weight(x, W.shape, delta, padding=1), None


class LinearWithFeedback(torch.autograd.Function):
    """A linear layer with feedback matrix B."""

    @staticmethod
    def forward(ctx, x, W, B):
        ctx.save_for_backward(x, W, B)
        return x @ W.T

    @staticmethod
    def backward(ctx, delta):
        x, W, B = ctx.saved_tensors
        return delta @ B, delta.T @ x, None


def strict(W):
    """The signs of W with a single magnitude, so that the norm is that of W."""
    signs = W.sign()
    return signs * (W.norm() / signs.norm())


FEEDBACK = {  # B from W and a matrix M that is drawn once, with W's distribution
    "bp": lambda W, M: W,
    "fa": lambda W, M: M,
    "usf": lambda W, M: strict(W),
    "frsf": lambda W, M: M.abs() * W.sign(),
}
RULES = (*FEEDBACK, "dfa", "shallow")
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
VARIANCES = {"he_normal": 2.0, "lecun_normal": 1.0}  # of the weights, times fan_in


class Net(nn.Module):
    """``depth`` 3x3 convolutions of 16 channels, ReLU, pooling after every second one, a linear layer; or, with
    ``hidden`` widths, a multilayer perceptron. Normal weights, biases at 0. A single output is positive for
    the second of two classes."""

    def __init__(
        self, rule, depth=6, batch_norm=False, hidden=(), activation="relu", init="he_normal", pixels=64, outputs=10
    ):
        super().__init__()
        self.activation, self.variance = ACTIVATIONS[activation], VARIANCES[init]
        self.rule, size, below = rule, 8, pixels if hidden else 1  # features of an example, or channels
        self.weights, self.biases, self.norms = nn.ParameterList(), nn.ParameterList(), nn.ModuleList()
        self.drawn, self.pools, units = [], [], []
        for width in hidden:
            self._add((width, below), below)
            self.norms.append(nn.Identity())
            below = width
            units.append(width)
            self.pools.append(False)
        for i in range(0 if hidden else depth):
            self._add((16, below, 3, 3), below * 9)
            self.norms.append(nn.BatchNorm2d(16) if batch_norm else nn.Identity())
            below = 16
            units.append(16 * size * size)
            self.pools.append(i % 2 == 1 and size >= 4 and i < depth - 1)
            size = size // 2 if self.pools[-1] else size
        inputs = below if hidden else 16 * size * size
        self.outputs = outputs
        self._add((outputs, inputs), inputs)
        self.direct = [(2 * torch.rand(count, outputs) - 1) / count**0.5 for count in units]  # Nokland's F

    def _add(self, shape, fan_in):
        sd = (self.variance / fan_in) ** 0.5
        self.weights.append(nn.Parameter(sd * torch.randn(shape)))
        self.biases.append(nn.Parameter(torch.zeros(shape[0])))
        self.drawn.append(sd * torch.randn(shape))

    def forward(self, x):
        """The output; ``self.taught`` are the activations whose error direct feedback sets."""
        self.taught = []
        cut = self.rule in ("dfa", "shallow")
        for i, (W, M) in enumerate(zip(list(self.weights)[:-1], self.drawn, strict=False)):
            B = FEEDBACK.get(self.rule, FEEDBACK["bp"])(W.detach(), M)
            if W.ndim == 4:
                x = ConvolutionWithFeedback.apply(x, W, B) + self.biases[i].reshape(-1, 1, 1)
            else:
                x = LinearWithFeedback.apply(x.flatten(1), W, B) + self.biases[i]
            x = self.activation(self.norms[i](x))
            self.taught.append(x)
            x = x.detach() if cut else x
            x = functional.max_pool2d(x, 2) if self.pools[i] else x
        B = FEEDBACK.get(self.rule, FEEDBACK["bp"])(self.weights[-1].detach(), self.drawn[-1])
        return LinearWithFeedback.apply(x.flatten(1), self.weights[-1], B) + self.biases[-1]

    def classes(self, x):
        output = self(x)
        return output.argmax(1) if self.outputs > 1 else (output[:, 0] > 0).long()

    def gradients(self, x, y):
        output = self(x)
        if self.outputs == 1:
            functional.binary_cross_entropy_with_logits(output, y[:, None].float()).backward()
            error = (output.detach().sigmoid() - y[:, None]) / len(y)
        else:
            functional.cross_entropy(output, y).backward()
            error = (output.detach().softmax(1) - functional.one_hot(y, self.outputs)) / len(y)
        if self.rule == "dfa":
            for activation, F in zip(self.taught, self.direct, strict=True):
                activation.backward((error @ F.T).reshape(activation.shape))


def accuracies(experiment, data):
    """Test accuracy after every epoch."""
    torch.manual_seed(experiment.seed)
    net = Net(experiment.rule, **experiment.model_options, pixels=data.train.x[0].size, outputs=data.n_out)
    make = {"sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), "adam": torch.optim.Adam}[experiment.optimizer]
    optimizer = make(net.parameters(), lr=experiment.rate())
    (x, y), (x_test, y_test) = (
        (torch.from_numpy(part.x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(part.y))
        for part in (data.train, data.test)
    )
    test_accuracies = []
    for _ in range(experiment.epochs):
        for chosen in torch.randperm(len(x)).split(experiment.batch_size):
            optimizer.zero_grad()
            net.gradients(x[chosen], y[chosen])
            optimizer.step()
        net.eval()
        with torch.no_grad():
            test_accuracies.append(float((net.classes(x_test) == y_test).float().mean()))
        net.train()
    return test_accuracies


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default="bp,usf,frsf,fa,shallow", help=", ".join(RULES))
    parser.add_argument(
        "--data", default="digits", choices=("digits", "mnist", "digits_parity"), help="the others with --hidden"
    )
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--hidden", help="widths of a multilayer perceptron instead of the convolutions, as 100,100")
    parser.add_argument("--activation", default="relu", choices=ACTIVATIONS, help="with --hidden")
    parser.add_argument("--init", default="he_normal", choices=VARIANCES, help="with --hidden")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--optimizer", default="sgd", choices=("sgd", "adam"))
    parser.add_argument("--lr", type=float, help="default: minifa's for each rule")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = mf.data.load(args.data)
    options = {
        **({"depth": args.depth} if args.depth != 6 else {}),
        **({"batch_norm": True} if args.batch_norm else {}),
        **({"hidden": tuple(map(int, args.hidden.split(",")))} if args.hidden else {}),
        **({"activation": args.activation} if args.activation != "relu" else {}),
        **({"init": args.init} if args.init != "he_normal" else {}),
    }
    rows = [("rule", "lr", "score", "scores", "epochs to 0.9")]
    for rule in args.rules.split(","):
        optimizer_options = {"momentum": 0.9} if args.optimizer == "sgd" else {}
        base = Experiment(
            rule=rule, data=args.data, model="mlp" if args.hidden else "cnn", model_options=options,
            optimizer=args.optimizer, optimizer_options=optimizer_options, lr=args.lr, epochs=args.epochs,
            batch_size=args.batch_size,
        )  # fmt: skip
        runs = [
            accuracies(Experiment(**{**vars(base), "seed": seed}), data)
            for seed in range(args.seed, args.seed + args.seeds)
        ]
        scores = [run[-1] for run in runs]
        reached = [next((str(i) for i, score in enumerate(run, start=1) if score >= 0.9), "-") for run in runs]
        rows.append(
            (rule, f"{base.rate():g}", mean_sd(scores), " ".join(f"{s:.3f}" for s in scores), " ".join(reached))
        )
    last, norm = args.seed + args.seeds - 1, ", batch norm" if args.batch_norm else ""
    changed = "".join(f", {options[key]}" for key in ("activation", "init") if key in options)
    print(
        f"PyTorch {torch.__version__.partition('+')[0]}: {args.data}, "
        f"{f'hidden {args.hidden}' if args.hidden else f'depth {args.depth}'}{norm}{changed}, {args.epochs} epochs, "
        f"batch {args.batch_size}, {args.optimizer}, seeds {args.seed} to {last}\n"
    )
    print(table(rows, right_from=1))


if __name__ == "__main__":
    main()
