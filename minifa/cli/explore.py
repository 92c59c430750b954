"""`minifa explore`: write a page on which a step and a short training run can be walked through, or serve it with the
engine behind it."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import re
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from .. import experiments, rules
from ..console import bar, print_stderr
from ..data.base import Dataset
from ..experiments import Experiment
from ..storage.atomic import stem
from .descriptions import as_file_name
from .exit_codes import OK
from .options import (
    add_network,
    add_update,
    at_least_one,
    from_zero,
    make_experiment,
    possible_rules,
)

if TYPE_CHECKING:
    from ..explorer.server import Server

LARGEST_PORT = 65535
HERE = ("127.0.0.1", 0)  # this machine only, a free port
BASE = Experiment(
    model="mlp",
    model_options={"hidden": (16, 12)},  # small enough to show every number
    lr=0.02,  # stable under the default rules: at 0.05 the loss of fa jumps from 0.9 to 3.8
    optimizer_options={},
    epochs=1,
    batch_size=8,
)


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write one self-contained page: a training step as a film that can be stopped and rewound, under every rule "
        "from the same weights, and a short training run. With --serve the page has the engine behind it and can train "
        "under other rules and settings. Here the model mlp has hidden layers of 16 and 12."
    )
    add_network(command, BASE)
    how = add_update(command, BASE)
    command.add_argument(
        "--rules", default="bp,fa,usf,dfa", help="comma-separated, the one that is shown first in front"
    )
    command.add_argument("-o", "--out", help="the page (default: runs/explore-DATA-MODEL.html); never overwritten")
    how.add_argument(
        "--updates", type=from_zero, default=0, help="updates under the first rule before the step that is shown"
    )
    how.add_argument("--train-updates", type=at_least_one, default=1000, help="length of the training run")
    serve = command.add_argument_group("engine behind the page")
    serve.add_argument(
        "--serve",
        type=host_and_port,
        nargs="?",
        const=HERE,
        metavar="HOST:PORT",
        help="write no page, but serve it until Ctrl-C, at an address with a token that is printed; without a HOST on "
        "127.0.0.1, which only this machine can reach, and without a PORT on a free one",
    )
    serve.add_argument("--open", action="store_true", help="open the served page in the browser")


def host_and_port(text: str) -> tuple[str, int]:
    """(host, port) from ``HOST:PORT``, ``HOST``, ``:PORT`` or ``PORT``; an IPv6 address has brackets."""
    read = re.fullmatch(
        r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z][^:\s]*|[0-9.]*\.[0-9]+)(?=:|$))?:?(?P<port>[0-9]*)", text
    )
    if read is None or not text.strip(":") or int(read["port"] or 0) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT, as 127.0.0.1:8000, with a port up to {LARGEST_PORT}, got {text[:40]}"
        )
    return (read["host"] or HERE[0]).strip("[]"), int(read["port"] or 0)


def run(options: argparse.Namespace) -> int:
    if options.serve is None and options.open:
        raise ValueError("--open opens a page that is served: add --serve")
    if options.serve is not None and options.out is not None:
        raise ValueError("--serve writes no page: omit -o (--out), or omit --serve")
    names = rules.split(options.rules)
    experiment = make_experiment(options, names[0], BASE)
    dataset = experiments.load_data(experiment)
    names = possible_rules(experiment, names, dataset, leave_out=options.rules == "all")
    return (
        _write(options, experiment, dataset, names)
        if options.serve is None
        else _serve(options, experiment, dataset, names)
    )


def _write(options: argparse.Namespace, experiment: Experiment, dataset: Dataset, names: list[str]) -> int:
    from ..explorer import page

    total = len(names) * (1 + options.train_updates)
    with bar(total=total, desc="explore", unit="update", hidden=options.quiet) as shown:
        text = page.explore(experiment, dataset, names, options.updates, options.train_updates, shown.update)
    name = f"explore-{as_file_name(stem(experiment.data))}-{experiment.model}.html"
    path = page.write(text, options.out or Path("runs", name))
    print(f"written to {path} ({len(text) / 1e6:.1f} MB)\nopen it in a browser: {path.resolve().as_uri()}")
    return OK


def _serve(options: argparse.Namespace, experiment: Experiment, dataset: Dataset, names: list[str]) -> int:
    from ..explorer.server import Server
    from ..explorer.session import Session

    session = Session.of_experiment(experiment, dataset, names, options.updates, options.train_updates)
    server = Server(session, *options.serve)
    _announce(server, options)
    if options.open:  # in a thread: a browser of the terminal returns when it is closed
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
    server.serve()
    return OK


def _announce(server: Server, options: argparse.Namespace) -> None:
    if not server.is_loopback:
        print_stderr(
            "warning: other machines can reach this address. Anyone with the address and its token can train networks "
            "here, and the connection is not encrypted: use it in a network that you trust, and end it after use"
        )
    print(server.address, flush=True)
    if not options.quiet:
        print("open it in a browser on this machine; Ctrl-C ends the engine", flush=True)
