"""The explorer's page: its numbers against the arrays, the properties that it must not have, and the page in a browser
(headless Chromium through Selenium; those tests are skipped, with the reason, where one of them is missing)."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import cli, data, models, rules
from minifa.data.base import Dataset, Examples
from minifa.experiments import Experiment, build
from minifa.explorer import arrays, runs
from minifa.explorer import page as explorer
from minifa.testing.examples import model_for
from minifa.tracing import stepper

RULES = ["bp", "fa", "usf", "dfa"]
TINY = Experiment(data="xor", model="tiny", lr=0.5, batch_size=4, optimizer_options={"momentum": 0.0})
HOSTILE = "<img src=x onerror=alert(1)><!--<script>"


def content_of(page):
    """The page's JSON, and a function that decodes an array of it."""
    content = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))

    def array(place):
        shape, kind, text = content["arrays"][place]
        return np.frombuffer(base64.b64decode(text), dtype=f"<{kind}").reshape(shape)

    return content, array


@pytest.fixture(scope="module")
def tiny_page():
    return explorer.explore(TINY, data.load("xor"), RULES, train_updates=20)


@pytest.fixture(scope="module")
def default_path(tmp_path_factory):
    """The page that ``minifa explore`` writes with default arguments."""
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    assert cli.main(["explore", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def default_replay():
    """The step that the default page shows."""
    experiment = Experiment(
        data="digits", model="mlp", model_options={"hidden": (16, 12)}, lr=0.05, batch_size=8,
        optimizer_options={"momentum": 0.0},
    )  # fmt: skip
    return stepper.Replay(experiment, data.load("digits"))


# The numbers


def test_every_array_of_the_film_is_in_the_page_bit_for_bit(tiny_page):
    content, array = content_of(tiny_page)
    replay = stepper.Replay(TINY, data.load("xor"))
    for rule in RULES:
        trace = replay.trace(rule)
        shown = content["films"][rule]
        assert [moment["title"] for moment in shown] == [moment.title for moment in trace]
        assert [moment["key"] for moment in shown] == [" ".join(map(str, key)) for key in trace.keys]
        for moment, there in zip(trace, shown, strict=True):
            assert tuple(there["new"]) == moment.new and there["angles"] == moment.angles
            new = {name: np.asarray(moment.arrays[name]) for name in moment.new}
            if "targets" in new:
                new["targets"] = new["targets"].astype(np.float64)  # JavaScript has no other number for labels
            assert_same_bits({name: array(place) for name, place in there["new"].items()}, new)
            for symbol, value in moment.terms.items():
                if value is None:
                    assert symbol not in there["terms"]
                elif np.ndim(value):
                    assert np.array_equal(array(there["terms"][symbol]["array"]), value)
                else:
                    assert there["terms"][symbol] == float(value)


def test_a_term_has_the_name_that_the_step_uses(tiny_page):
    content, array = content_of(tiny_page)
    carry = next(moment for moment in content["films"]["bp"] if moment["kind"] == "carry")
    assert {symbol: term["name"] for symbol, term in carry["terms"].items()} == {
        "delta": "linear2.delta",
        "B": "linear2.B",
        "W": "linear2.W",
        "delta_below": "tanh1.delta",
        "delta_bp": "tanh1.delta_bp",
    }  # under backpropagation W is B and both errors are equal, but their names still differ
    assert carry["terms"]["W"]["array"] == carry["terms"]["B"]["array"]
    teach = next(moment for moment in content["films"]["dfa"] if moment["kind"] == "teach")
    assert teach["terms"]["e"]["name"] == "e" and teach["terms"]["F"]["name"] == "tanh1.B"


def test_equal_arrays_of_two_layers_keep_their_names():
    alike = replace(TINY, model="mlp", model_options={"hidden": (2,)})  # two biases of two zeros
    content, _ = content_of(explorer.explore(alike, data.load("xor"), ["bp"], train_updates=1))
    forward = [moment for moment in content["films"]["bp"] if moment["kind"] == "forward" and "b" in moment["terms"]]
    biases = [moment["terms"]["b"] for moment in forward]
    assert [bias["name"] for bias in biases] == ["linear1.b", "linear2.b"]
    assert biases[0]["array"] == biases[1]["array"]


def test_an_error_that_is_not_propagated_further_is_left_out_of_the_page():
    """Below the lowest layer that learns."""
    net = replace(TINY, data="digits", model="cnn", model_options={"depth": 2, "batch_norm": True}, freeze="conv1")
    content, _ = content_of(explorer.explore(net, data.load("digits"), ["bp"], train_updates=1))
    back = {m["layer"]: m["terms"] for m in content["films"]["bp"] if m["kind"] == "backward"}
    assert [layer for layer, terms in back.items() if "delta_below" not in terms] == ["batchnorm1"]
    assert all(term is not None for terms in back.values() for term in terms.values())


def test_double_precision_is_preserved(float64):
    content, array = content_of(explorer.explore(TINY, data.load("xor"), ["fa"], train_updates=1))
    W = array(content["films"]["fa"][0]["new"]["linear1.W"])
    assert W.dtype == np.float64 and not np.array_equal(W, W.astype(np.float32))


def test_equal_arrays_are_stored_once(tiny_page):
    content, _ = content_of(tiny_page)
    kept = [(tuple(shape), *texts) for shape, *texts in content["arrays"]]
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize("rule", RULES)
def test_the_training_run_is_the_trainer_s(tiny_page, rule):
    content, array = content_of(tiny_page)
    net, attached, loss, optimizer = build(replace(TINY, rule=rule), data.load("xor"))
    examples = data.load("xor").train
    mf.Trainer(net, attached, loss, optimizer).fit(examples, epochs=20, batch_size=4)  # a batch is an epoch here
    last = content["runs"][rule][-1]
    measured = mf.metrics.alignment(net, attached, examples.x, examples.y, loss)
    W = {name: array(layer["W"]["array"]) for name, layer in last["layers"].items()}
    assert_same_bits(W, {layer.name: layer.W for layer in net.weighted})
    for layer in net.weighted:
        for key in ("weight_angle", "true_angle", "sign_agreement"):
            assert last["layers"][layer.name][key] == measured[layer.name][key]
    with attached.preserved():
        attached.gradients(net, examples.x, examples.y, loss)
        assert_same_bits({name: array(one["array"]) for name, one in last["feedback"].items()}, dict(attached.B))


def test_snapshots_of_the_run_are_denser_at_the_start():
    for updates in (1, 2, 10, 1000):
        at = runs.snapshot_updates(updates)
        assert at[0] == 0 and at[1] == 1 and at[-1] == updates and at == sorted(set(at))
        assert len(at) <= runs.SNAPSHOTS
    gaps = np.diff(at)
    assert gaps[0] == 1 and gaps[-1] > 100 and len(at) > 20


def test_feedback_is_constant_or_changes_as_the_rule_says(tiny_page):
    content, _ = content_of(tiny_page)

    def moved(rule):
        last = content["runs"][rule][-1]
        return last["layers"]["linear2"]["W"]["moved"], {name: one["moved"] for name, one in last["feedback"].items()}

    for rule in ("fa", "dfa"):
        W, B = moved(rule)
        assert W > 0.1 and set(B.values()) == {0.0}
    assert moved("usf")[1]["linear2"] > 0.01
    W, B = moved("bp")
    assert B["linear2"] == W


def test_updates_before_the_step_are_made_under_the_first_rule():
    page = explorer.explore(TINY, data.load("xor"), ["fa", "bp"], updates=3, train_updates=1)
    content, array = content_of(page)
    replay = stepper.Replay(replace(TINY, rule="fa"), data.load("xor"), updates=3)
    for rule in ("fa", "bp"):
        W = array(content["films"][rule][0]["new"]["linear1.W"])
        assert_same_bits({"W": W}, {"W": replay.trace(rule)[0].arrays["linear1.W"]})
    assert "the step after 3 updates under fa" in content["facts"]


def test_targets_and_their_maps_are_in_the_page_of_a_rule_with_targets():
    content, array = content_of(explorer.explore(TINY, data.load("xor"), ["dtp", "dfa"], train_updates=2))
    assert [one["paired"] for one in content["rules"]] == [True, False]
    teach = next(m for m in content["films"]["dtp"] if m["kind"] == "teach" and m["layer"] == "tanh1")
    names = {"t": "tanh1.t", "t_above": "linear2.t", "h_above": "linear2.y", "g_t": "tanh1.g_t", "B": "linear2.B"}
    assert {symbol: teach["terms"][symbol]["name"] for symbol in names} == names
    start, *_, end = content["runs"]["dtp"]
    assert isinstance(start["layers"]["linear2"]["weight_angle"], float)
    matrices = [array(one["feedback"]["linear2"]["array"]) for one in (start, end)]
    assert (matrices[0] != matrices[1]).any() and end["feedback"]["linear2"]["moved"] > 0


def test_a_diverging_run_ends_at_the_divergence():
    regression = Experiment(data="lillicrap", model="linear_task", lr=100.0, batch_size=8)
    content, _ = content_of(explorer.explore(regression, data.load("lillicrap"), ["fa"], train_updates=60))
    assert 1 <= len(content["runs"]["fa"]) < len(content["at"])
    assert all(np.isfinite(one["loss"]) for one in content["runs"]["fa"])


def test_the_rules_have_pages_on_the_networks_that_they_accept():
    """Those of `TINY` together on one page."""
    pages: dict[tuple[str, str], list[str]] = {}
    for name in rules.RULES:
        model, options = model_for(name)
        pages.setdefault((model, str(options)), []).append(name)
    assert len(pages) == 6
    for names in pages.values():
        model, options = model_for(names[0])
        of_tiny = (model, options) == ("mlp", {})
        experiment = TINY if of_tiny else replace(TINY, model=model, model_options={"hidden": (4, 2), **options})
        some = data.load("digits" if "forward_forward" in names else "xor")  # its labels take one input for each class
        some = some.reconstruction() if model == "autoencoder" else some
        check_films(explorer.explore(replace(experiment, lr=0.1), some, names, train_updates=2), names)


def check_films(page, names):
    content, _ = content_of(page)
    assert list(content["films"]) == list(content["runs"]) == names


# Properties that the page must not have


def test_the_default_page_is_small(default_path):
    assert default_path.stat().st_size < 2e6


def test_the_page_loads_no_external_resource(tiny_page):
    addresses = set(re.findall(r"\w+://[^\s\"'`)]*", tiny_page))
    # Names of formats, which are not fetched.
    assert {one.rstrip("\\") for one in addresses} <= {
        f"http://www.w3.org/{name}" for name in ("2000/svg", "1998/Math/MathML", "1999/xhtml")
    }
    assert set(re.findall(r"\b(?:src|href)=[\"']?([^\"'\s>]*)", tiny_page)) == {"data:,"}
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:" in tiny_page
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "fetch(", "import(", "eval("):
        assert word not in tiny_page


def hostile_page():
    """Names that would become markup if they were not escaped."""
    part = Examples(np.array([[-1, -1], [1, 1]], np.float32), np.array([0, 1]))
    dataset = Dataset(HOSTILE, part, part, classes=("</script><script>alert(2)</script>", "b"))
    experiment = Experiment(data=HOSTILE, model="hostile", lr=0.1, batch_size=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            models.MODELS,
            "hostile",
            lambda shape, n_out: [mf.Linear(2, 3, name=HOSTILE), mf.Tanh(), mf.Linear(3, n_out)],
        )
        return explorer.explore(experiment, dataset, ["fa"], train_updates=2)


def test_names_cannot_become_markup(tiny_page):
    page = hostile_page()
    for mark in ("<script", "</script", "<!--", "<img"):
        assert page.count(mark) == tiny_page.count(mark)
    content, _ = content_of(page)
    assert content["layers"][0]["name"] == HOSTILE and content["classes"][0].startswith("</script>")


def test_a_page_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(arrays, "MOST_BYTES", 20_000)
    with pytest.raises(ValueError, match="larger than .* MB: use a smaller network"):
        explorer.explore(TINY, data.load("xor"), RULES, train_updates=20)


def test_an_existing_page_is_not_overwritten(tmp_path):
    written = [explorer.write(f"page {i}", tmp_path / "new" / "page.html") for i in range(3)]
    assert [path.name for path in written] == ["page.html", "page-2.html", "page-3.html"]
    assert [path.read_text(encoding="utf-8") for path in written] == ["page 0", "page 1", "page 2"]
    assert len(list((tmp_path / "new").iterdir())) == 3
    with pytest.raises(IsADirectoryError, match="page.html"):
        explorer.write("page", tmp_path / "new")


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        explorer.write("page", tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_path_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["explore", "--data", "xor", "--model", "tiny", "--rules", "fa,usf:scale=init", "--train-updates", "3"]
    assert cli.main(arguments) == 0
    page = tmp_path / "runs" / "explore-xor-tiny.html"
    printed = capsys.readouterr().out
    assert "runs" in printed and "MB)" in printed and page.resolve().as_uri() in printed
    content, _ = content_of(page.read_text(encoding="utf-8"))
    assert list(content["films"]) == ["fa", "usf:scale=init"]


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (["--rules", "fa,usff"], "usf"),
        (["--rules", "fa,fa"], "twice"),
        (["--train-updates", "0"], "from 1 up"),
        (["--updates", "-1"], "from 0 up"),
        (["--model", "cnn", "--depth", "1", "--rules", "dfa:at=nowhere"], "nowhere"),
    ],
)
def test_invalid_arguments_are_refused_with_a_message(invalid, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["explore", *invalid])
    except SystemExit as left:
        code = left.code
    assert code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed (pip install selenium)")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip(f"no {'Chromium' if not chromium else 'chromedriver'} on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = "--disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    for argument in ["--headless=new", "--no-sandbox", *quiet.split(), "--window-size=1280,800"]:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield window
    window.quit()


class Opened:
    """A page opened in a browser."""

    def __init__(self, window, path):
        self.window, self.address = window, path.as_uri()

    def at(self, place=""):
        self.window.get("about:blank")  # otherwise only the address would change
        self.window.get(f"{self.address}#{place}")
        return self

    def find(self, css):
        return self.window.find_element("css selector", css)

    def text(self, css):
        return self.find(css).text.replace("−", "-")

    def press(self, *keys):
        """Sends keys to the element that has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.window, duration=0).send_keys(*keys).perform()

    def choose(self, rule):
        self.find(f'#rules input[value="{rule}"]').find_element("xpath", "..").click()

    def point(self, field, row, column):
        """Move the mouse to the middle of a cell."""
        from selenium.webdriver import ActionChains

        size, box = self.run(
            "return [arguments[0].firstChild, arguments[0]].map((one) => one.getBoundingClientRect())", field
        )
        rows, columns = field.shape
        across = (column + 0.5) * size["width"] / columns - box["width"] / 2
        down = (row + 0.5) * size["height"] / rows - box["height"] / 2
        ActionChains(self.window, duration=0).move_to_element_with_offset(field, across, down).perform()

    def errors(self):
        return [entry["message"] for entry in self.window.get_log("browser")]

    def run(self, script, *arguments):
        return self.window.execute_script(script, *arguments)


@pytest.fixture
def reader(browser, default_path):
    browser.set_window_size(1280, 800)
    opened = Opened(browser, default_path)
    yield opened
    assert opened.errors() == []


def carry_in(trace):
    """The number, counted from 1, of the moment in which the error is carried through the output layer."""
    return 1 + next(i for i, moment in enumerate(trace) if moment.kind == "carry")


def is_shown(reader, trace, i):
    assert reader.text("#moment h2") == trace[i].title
    assert reader.text("#where") == f"{i + 1} of {len(trace)}"
    assert reader.text("#list [aria-current]") == trace[i].title


def test_a_step_is_navigated_with_keys_buttons_and_slider(reader, default_replay):
    from selenium.webdriver import Keys

    trace = default_replay.trace("bp")
    reader.at()
    is_shown(reader, trace, 0)
    reader.press(Keys.ARROW_RIGHT)
    reader.press(Keys.ARROW_RIGHT)
    is_shown(reader, trace, 2)
    reader.press(Keys.ARROW_LEFT)
    is_shown(reader, trace, 1)
    reader.press(Keys.END)
    is_shown(reader, trace, len(trace) - 1)
    assert not reader.find("#next").is_enabled() and reader.find("#back").is_enabled()
    reader.press(Keys.HOME)
    is_shown(reader, trace, 0)
    reader.find("#next").click()
    reader.find("#next").click()
    reader.find("#back").click()
    is_shown(reader, trace, 1)
    reader.find("#slider").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    is_shown(reader, trace, 3)
    reader.window.find_elements("css selector", "#list button")[8].click()
    is_shown(reader, trace, 8)
    assert reader.window.current_url.endswith("#step/bp/9")


def test_playing_advances_and_stops(reader, default_replay):
    count = len(default_replay.trace("bp"))
    reader.at(f"step/bp/{count - 2}")
    reader.run("document.getElementById('speed').value = 4")
    reader.find("#play").click()
    assert reader.find("#play").get_attribute("aria-label") == "Pause"
    reader.window.set_script_timeout(10)
    reader.window.execute_async_script(
        "const done = arguments[0]; const wait = () => "
        "document.getElementById('play').getAttribute('aria-label') === 'Play' ? done() : setTimeout(wait, 20); wait()"
    )
    assert reader.text("#where") == f"{count} of {count}"


@pytest.mark.parametrize(("width", "rules"), [(1280, RULES), (390, ["fa"])])
def test_every_moment_fits_into_the_window(reader, default_replay, width, rules):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    reader.window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        reader.at()
        titles, widest = reader.run(
            """
            let widest = 0;
            const look = (change) => {
              update(change);
              widest = Math.max(widest, document.documentElement.scrollWidth);
            };
            const titles = arguments[0].map((rule) => page.films[rule].map((_, moment) => {
              look({ tab: "step", rule, moment });
              return document.querySelector("#moment h2").textContent;
            }));
            for (const rule of arguments[0])
              for (const layer of weightedLayers) look({ tab: "training", rule, layer, snapshot: 9 });
            return [titles, widest]
            """,
            rules,
        )
    finally:
        reader.window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert titles == [[moment.title for moment in default_replay.trace(rule)] for rule in rules]
    assert widest <= width


def test_another_rule_keeps_the_moment(reader, default_replay):
    from selenium.webdriver import Keys

    carry = carry_in(default_replay.trace("fa"))
    reader.at(f"step/fa/{carry}")
    assert reader.text("#moment h2") == "Backward through linear3"
    reader.choose("usf")
    assert reader.text("#moment h2") == "Backward through linear3"
    reader.choose("dfa")  # carries no error: the last earlier moment that both rules have
    trace = default_replay.trace("dfa")
    is_shown(reader, trace, trace.matching_index(default_replay.trace("usf"), carry - 1))
    reader.choose("bp")
    assert reader.text("#moment h2") == "Backward through linear3"
    assert reader.window.current_url.endswith(f"#step/bp/{carry}")
    reader.press(Keys.ARROW_RIGHT)  # after a click on a rule the arrow keys still control the film
    assert reader.window.current_url.endswith(f"#step/bp/{carry + 1}")


@pytest.mark.parametrize(
    ("symbol", "name"), [("delta_below", "relu2.delta"), ("delta", "linear3.delta"), ("W", "linear3.W")]
)
def test_hovering_shows_the_number_of_the_cell(reader, default_replay, symbol, name):
    carry = carry_in(default_replay.trace("fa"))
    array = default_replay.trace("fa")[carry - 1].terms[symbol]
    reader.at(f"step/fa/{carry}")
    field = reader.find(f'.field[data-symbol="{symbol}"]')
    field.shape = array.shape
    for row, column in [(0, 0), (3, 7), (len(array) - 1, array.shape[1] - 1)]:
        reader.point(field, row, column)
        readout = reader.text("#readout").split("\n")[0]
        assert readout.startswith(f"{name}[{row}, {column}] = ")
        number = readout.partition(" = ")[2]
        assert np.float32(number) == array[row, column] and len(number) <= len(repr(float(array[row, column])))


def test_hovering_a_product_shows_its_sum(browser, tmp_path, tiny_page):
    page = Opened(browser, explorer.write(tiny_page, tmp_path / "tiny.html"))
    trace = stepper.Replay(TINY, data.load("xor")).trace("fa")
    carry = carry_in(trace)
    below, delta, B = (trace[carry - 1].terms[symbol] for symbol in ("delta_below", "delta", "B"))
    page.at(f"step/fa/{carry}")
    field = page.find('.field[data-symbol="delta_below"]')
    field.shape = below.shape
    page.point(field, 1, 3)
    worked = page.text("#readout .worked")
    factors = [float(number) for number in re.findall(r"-?\d+\.\d+", worked)]
    assert factors == pytest.approx([delta[1, 0], B[3, 0], delta[1, 1], B[3, 1]], abs=5e-4)
    assert len(page.window.find_elements("css selector", ".mark.band")) == 2  # the row and the column
    assert page.errors() == []


def test_the_arrow_keys_read_a_matrix_that_has_the_focus(reader, default_replay):
    from selenium.webdriver import Keys

    trace = default_replay.trace("fa")
    reader.at(f"step/fa/{carry_in(trace)}")
    B = trace[carry_in(trace) - 1].terms["B"]
    field = reader.find('.pairs .field[data-symbol="B"]')
    reader.run("arguments[0].focus()", field)
    field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    readout = reader.text("#readout").split("\n")[0]
    assert readout.startswith("linear3.B[2, 1] = ") and np.float32(readout.partition(" = ")[2]) == B[2, 1]
    assert reader.text("#where") == f"{carry_in(trace)} of {len(trace)}"  # the film does not move
    field.send_keys(Keys.ESCAPE)
    assert not reader.find("#readout").is_displayed()


def test_arrays_that_are_not_computed_yet_are_drawn_as_missing(reader, default_replay):
    trace = default_replay.trace("fa")

    def missing():
        reader.run("document.querySelector('.more').open = true")
        elements = reader.window.find_elements("css selector", ".board .missing")
        return {one.get_attribute("aria-label") for one in elements}

    reader.at("step/fa/1")
    assert "linear3.delta: not computed yet" in missing() and "linear3.W: not computed yet" not in missing()
    reader.at(f"step/fa/{1 + [moment.kind for moment in trace].index('loss')}")
    assert "linear3.delta: not computed yet" not in missing() and "linear2.delta: not computed yet" in missing()
    reader.at(f"step/fa/{len(trace)}")
    assert missing() == set()


def test_zooming_in_shows_an_array_with_its_numbers(reader, default_replay):
    reader.at(f"step/fa/{carry_in(default_replay.trace('fa'))}")
    reader.find('#moment figcaption button[aria-label^="linear3.W"]').click()
    assert reader.find("#closer").is_displayed() and reader.text("#closer h3").startswith("linear3.W")
    field = reader.find("#closer .field")
    field.shape = (12, 10)
    reader.point(field, 5, 5)
    assert reader.text("#readout").startswith("linear3.W[5, 5] = ")
    reader.find('#closer [aria-label="Close"]').click()
    assert not reader.find("#closer").is_displayed()


def test_the_training_slider_shows_a_constant_b_and_a_turning_w(reader, default_path):
    from selenium.webdriver import Keys

    content, _ = content_of(default_path.read_text(encoding="utf-8"))
    pictures = "return [...document.querySelectorAll('.turning canvas')].slice(0, 2).map((one) => one.toDataURL())"

    def angle(rule, i):
        return f"{content['runs'][rule][i]['layers']['linear2']['weight_angle']:.1f}°"

    reader.at()
    reader.find("#tab-training").click()
    reader.choose("fa")
    assert reader.text("#where") == "update 0" and reader.text("#training .gauge .big") == angle("fa", 0)
    W, B = reader.run(pictures)
    reader.press(Keys.END)
    assert reader.text("#where") == "update 1000" and reader.text("#training .gauge .big") == angle("fa", -1)
    W_after, B_after = reader.run(pictures)
    assert W_after != W and B_after == B
    assert "B has not changed" in reader.text(".story")
    assert float(angle("fa", -1)[:-1]) < float(angle("fa", 0)[:-1]) - 10  # the purpose of the page
    reader.press(Keys.ARROW_LEFT)
    assert reader.text("#where") == f"update {content['at'][-2]}"
    reader.choose("usf")
    reader.press(Keys.HOME)
    _, B = reader.run(pictures)
    reader.press(Keys.END)
    assert reader.run(pictures)[1] != B
    reader.choose("dfa")
    assert "no counterpart" in reader.text(".story")
    reader.find('#training input[value="linear1"]').find_element("xpath", "..").click()
    reader.press(Keys.ARROW_LEFT)
    assert reader.window.current_url.endswith(f"#training/dfa/linear1/{content['at'][-2]}")


def test_training_shows_the_difference_and_one_scale_for_the_whole_run(reader, default_path):
    content, array = content_of(default_path.read_text(encoding="utf-8"))
    pairs = [(one["layers"]["linear2"]["W"], one["feedback"]["linear2"]) for one in content["runs"]["fa"]]
    largest = max(np.abs(array(matrix["array"])).max() for pair in pairs for matrix in pair)
    W, B = (array(matrix["array"]) for matrix in pairs[-1])
    reader.at("training/fa/linear2/1000")
    assert reader.text(".legend") == f"weights and feedback: -{largest:.3f}\n{largest:.3f}"
    field = reader.window.find_elements("css selector", ".turning .field")[2]
    field.shape = W.shape
    reader.point(field, 7, 4)
    readout = reader.text("#readout").split("\n")[0]
    assert readout.startswith("(W - B)[7, 4] = ") and np.float32(readout.partition(" = ")[2]) == W[7, 4] - B[7, 4]


def test_an_address_opens_its_view(reader):
    reader.at("training/usf/linear2/50")
    assert reader.find('#rules input[value="usf"]').is_selected()
    assert reader.find('#training input[value="linear2"]').is_selected()
    reader.run("location.hash = '#step/dfa/3'")
    assert reader.window.execute_async_script("setTimeout(arguments[0], 50, true)")
    assert reader.text("#moment h2") == "Forward through linear1"
    for nonsense in ("step/nobody/99999/%3Cb%3E", "step/%E0%A4%A/1", "training/fa/nowhere/-1"):
        reader.at(nonsense)
        assert reader.find("h2, .story").text


def test_text_has_enough_contrast_in_light_and_dark_mode(reader):
    reader.at()
    contrasts = """
      const luminance = (css) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = css;
        const channels = getComputedStyle(probe).color.match(/[\\d.]+/g).map((value) => value / 255);
        probe.remove();
        const [r, g, b] = channels.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const contrast = ([one, other]) => {
        const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
      };
      const inks = ["text", "soft", "activity", "weight", "feedback", "error", "truth", "gradient"];
      const papers = ["page", "card", "sunk"];
      const pairs = inks.flatMap((ink) => papers.map((paper) => [`var(--${ink})`, `var(--${paper})`]));
      pairs.push(["var(--on-accent)", "var(--accent)"]);
      for (const rule of page.rules) pairs.push([curveOf(rule.name), "var(--card)"]);
      return pairs.map((pair) => [pair.join(" on "), contrast(pair)]);
    """
    seen = set()
    for _ in range(2):
        reader.find("#theme").click()
        seen.add(reader.run("return getComputedStyle(document.body).backgroundColor"))
        faint = [(names, ratio) for names, ratio in reader.run(contrasts) if ratio < 4.5]
        assert faint == []
    assert len(seen) == 2


def test_every_control_has_a_name(reader, default_replay):
    for place in (f"step/fa/{carry_in(default_replay.trace('fa'))}", "training/fa/linear3/100"):
        reader.at(place)
        nameless = reader.run(
            "return [...document.querySelectorAll('button, input, select, [tabindex], svg[role=img]')].filter((one) => "
            "!(one.getAttribute('aria-label') || one.textContent.trim() || one.closest('label')?.textContent.trim()))"
            ".map((one) => one.outerHTML.slice(0, 80))"
        )
        assert nameless == []


def test_hostile_names_are_shown_literally(browser, tmp_path):
    page = Opened(browser, explorer.write(hostile_page(), tmp_path / "hostile.html"))
    page.at("step/fa/2")
    assert page.text("#moment h2") == f"Forward through {HOSTILE}"
    page.run("page.films.fa.forEach((_, moment) => update({moment})); update({tab: 'training'}); update({snapshot: 1})")
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.errors() == []
