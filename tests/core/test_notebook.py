"""What a notebook shows: small HTML without scripts and addresses, with every name escaped, and progress bars."""

import base64
import io
import sys
from html.parser import HTMLParser
from types import ModuleType

import matplotlib.image
import numpy as np
import pytest

import minifa as mf
from minifa import console, figures
from minifa.notebook import markup
from minifa.testing.examples import model_for
from minifa.training import History

HOSTILE = "<script>alert('1')</script>\"&"
VOID = ("img", "br")
ROWS = [
    {"epoch": i, "train_loss": 1 / (i + 1), "train_accuracy": i / 20, "linear2.weight_angle": 90 - i} for i in range(9)
]


class Page(HTMLParser):
    """The tags, attributes and texts of a page, which must be well formed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.images, self.text = [], set(), [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name.startswith("on") or name in ("href", "class", "id") for name, _ in attributes)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(shown):
    html = shown._repr_html_()
    page = Page(html)
    assert page.tags <= {"div", "table", "thead", "tr", "th", "td", "img", "pre"}
    assert all(one["alt"] and one["src"].startswith("data:image/png;base64,") for one in page.images)
    assert len(html) < 200_000 and "http" not in html
    return page


def pixels(picture):
    """The pixels of an <img>, as matplotlib reads them."""
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2])))


def net_of(hidden=5, name=None):
    return mf.Network([mf.Linear(4, hidden), mf.Tanh(), mf.Linear(hidden, 3, name=name)], seed=0)


# --- representations --------------------------------------------------------------------------------------------------


def test_a_network_shows_its_summary_and_a_rule_shows_the_feedback_beside_it():
    net = net_of()
    rule = mf.rules.FA(sparsity=0.5).attach(net)
    cells = [cell for line in net.summary().splitlines()[2:] for cell in line.split()]
    assert "".join(cells) in page_of(net).text and "feedback" not in page_of(net).text
    assert "feedback" in page_of(rule).text and "total3815" not in page_of(net).text
    assert "FA(sparsity=0.5)" in page_of(rule).text and "not attached" in page_of(mf.rules.FA()).text


@pytest.mark.parametrize("name", mf.rules.RULES)
def test_every_rule_and_its_matrices_can_be_shown(name):
    model, options = model_for(name)
    n_out = 16 if model == "autoencoder" else 3
    net = mf.Network(mf.models.MODELS[model]((4, 4, 1), n_out, hidden=(6, 4), **options), input_shape=(4, 4, 1))
    rule = mf.rules.RULES[name](seed=0).attach(net)
    assert rule.equation in page_of(rule).text or len(rule.equation) > markup.LONGEST_LINE
    shown = page_of(rule.B)
    assert all(layer in shown.text for layer in rule.B)
    assert len(shown.images) >= len(rule.B)


def test_matrices_show_w_and_b_with_angle_and_chance(engine):
    rule = mf.rules.FA().attach(net_of(hidden=100))
    shown = page_of(rule.B)
    assert "90° ± 6.6°" in shown.text  # 2 * 57.3 / sqrt(300)
    assert f"{float(mf.metrics.angle(rule.net['linear2'].W, rule.B['linear2'])):.1f}°" in shown.text
    assert "48 x 3 of 100 x 3 entries" in shown.text
    W, B = map(pixels, shown.images)
    assert W.shape[:2] == B.shape[:2] == (48, 3) and not (W == B).all()
    rule.set_feedback("linear2", np.where(np.arange(300).reshape(100, 3) % 2, -9.0, 9.0))
    extreme = pixels(page_of(rule.B).images[1])[..., :3]
    assert extreme[0, 0, 0] > extreme[0, 0, 2] and extreme[0, 1, 0] < extreme[0, 1, 2]  # orange and blue


def test_kernels_are_tiles_and_many_layers_are_cut_off():
    net = mf.Network(
        [mf.Conv2d(9, 9, 3, padding=1) for _ in range(10)] + [mf.Flatten(), mf.Linear(9 * 9, 2)],
        input_shape=(3, 3, 9),
    )
    shown = page_of(mf.rules.FA().attach(net).B)
    assert "8 of 10 layers" in shown.text and "8 x 8 of 9 x 9 kernels" in shown.text and len(shown.images) == 16
    assert pixels(shown.images[0]).shape[:2] == (31, 31)


def test_a_data_set_shows_shapes_classes_and_a_strip_of_examples():
    data = mf.data.load("digits")
    shown = page_of(data)
    assert all(text in shown.text for text in ("'digits'", "1,437", "8 x 8 x 1", "10 of 1,437 examples"))
    strip = np.stack([pixels(one) for one in shown.images])
    first = np.stack([data.train.x[data.train.y == label][0, ..., 0] for label in range(10)])
    expected = (first - first.min()) / (first.max() - first.min())
    assert np.abs(strip - expected).max() < 0.003  # 1/255, rounded
    assert page_of(mf.data.load("lillicrap")).images == page_of(mf.data.load("xor").test).images == []


@pytest.mark.parametrize(("channels", "shape"), [(1, (64, 32)), (2, (64, 32)), (3, (64, 32, 3))])
def test_images_are_shown_in_grey_or_in_colour_and_large_ones_smaller(channels, shape):
    x = np.random.default_rng(0).random((12, 128, 64, channels))
    data = mf.data.from_arrays(x, np.arange(12) % 2, channels="last")
    shown = page_of(data)
    assert [pixels(one).shape for one in shown.images] == [shape] * len(data.train)
    assert "1 of 2 pixels along each side" in shown.text and ("channel 1 of 2" in shown.text) == (channels == 2)


def test_many_classes_are_cut_off():
    data = mf.data.from_arrays(np.ones((60, 2)) * np.arange(60)[:, None], np.arange(60) % 20)
    assert "10 of 20 classes" in page_of(data).text


def test_names_cannot_add_tags():
    part = mf.data.validate(np.ones((2, 2, 2, 1)) * [[[[0]]], [[[1]]]], [0, 1], scale=1)
    data = mf.data.Dataset(HOSTILE, part, part, (HOSTILE, "b"), note=HOSTILE)
    net = net_of(name="<b>&amp;")
    rule = mf.rules.FA().attach(net)
    rule.title = HOSTILE
    history = History([{"epoch": 0, HOSTILE: 1.0, "x": HOSTILE}])
    for shown in (data, net, rule, rule.B, history):
        text = page_of(shown).text
        assert ("<script>" in text or "<b>&amp;" in text) and "&lt;" not in text  # escaped once


def test_a_history_shows_its_last_rows_and_a_curve():
    shown = page_of(History(ROWS))
    assert "the last 5 of 9 rows, 1 more column, see" in shown.text and len(shown.images) == 1
    assert page_of(History()).text == "History: no epochs"


def test_a_trace_and_a_moment_show_equations():
    net, loss, optimizer = net_of(), mf.SoftmaxCrossEntropy(), mf.SGD()
    trace = mf.trace(net, mf.rules.FA().attach(net), np.ones((2, 4)), [0, 1], loss, optimizer)
    assert "y = x @ W + b" in page_of(trace).text and f"{len(trace)} moments" in page_of(trace).text
    assert trace[1].numbers() in page_of(trace[1]).text
    assert repr(trace[1]) == "<Moment 'forward': Forward through linear1>"


def test_a_picture_that_cannot_be_drawn_is_a_line(monkeypatch):
    def fail(*given, **options):
        raise RuntimeError("no <fonts>")

    monkeypatch.setattr(figures, "history_curves", fail)
    shown = page_of(History(ROWS))
    assert "The picture could not be drawn: RuntimeError: no <fonts>" in shown.text and shown.images == []


def test_other_objects_have_no_html_and_no_figure():
    assert mf.representations.html(3) is None
    with pytest.raises(TypeError, match="a int has no figure"):
        mf.representations.figure(3)


# --- progress bars ----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shell(name):
    """A module IPython whose shell has a class of this name, and the messages that its `display` receives."""
    messages = []

    class Handle:
        update = staticmethod(lambda shown, raw: messages.append(shown["text/plain"]))

    def display(shown, raw, display_id):
        messages.append(shown["text/plain"])
        return Handle()

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = type(name, (type(name, (), {}),), {})
    module.display = display
    return {"IPython": ipython, "IPython.display": module}, messages


@pytest.mark.parametrize(
    ("name", "found"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False), (None, False)]
)
def test_a_notebook_is_recognised_by_its_shell(name, found, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if name:
        monkeypatch.setitem(sys.modules, "IPython", shell(name)[0]["IPython"])
    assert console.in_notebook() == found


def test_without_ipywidgets_a_notebook_shows_one_line_that_is_replaced(monkeypatch, capsys):
    modules, messages = shell("ZMQInteractiveShell")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(console.importlib.util, "find_spec", lambda name: None)
    with console.bar(total=3, desc="runs") as shown:
        shown.update(3)
    assert messages[0].startswith("runs:   0%") and messages[-1].startswith("runs: 100%")
    assert console.bar(total=3, hidden=True).disable and len(messages) == 2
    assert capsys.readouterr() == ("", "")


def test_with_ipywidgets_a_notebook_shows_the_bar_of_tqdm_auto(monkeypatch):
    modules, _ = shell("ZMQInteractiveShell")
    monkeypatch.setitem(sys.modules, "IPython", modules["IPython"])
    monkeypatch.setitem(sys.modules, "tqdm.auto", ModuleType("tqdm.auto"))
    sys.modules["tqdm.auto"].tqdm = lambda total: f"a widget of {total}"
    monkeypatch.setattr(console.importlib.util, "find_spec", lambda name: name == "ipywidgets")
    assert console.bar(total=3) == "a widget of 3"


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_terminal_shows_a_line_and_other_outputs_nothing(stream, shown, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys, "stderr", stream())
    with console.bar(total=3, desc="runs") as bar:
        bar.update(3)
    assert ("runs: 100%" in sys.stderr.getvalue()) == shown
