"""The meaning of arrays is inferred or asked for: from Python, npz files and the command line, with equal messages."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import cli, experiments
from minifa.cli import pictures
from minifa.data import DataWarning, from_arrays, from_npz, notices, validate
from minifa.experiments import Experiment, recipes, resume, run_folder, run_many

RNG = np.random.default_rng(0)
N = 60
Y = np.arange(N) % 3
FLAT = RNG.standard_normal((N, 4))


def images(*shape):
    return RNG.standard_normal((N, *shape)).astype("f4")


@pytest.fixture(autouse=True)
def _no_earlier_warnings(monkeypatch):
    monkeypatch.setattr(notices, "_issued", {})
    monkeypatch.setattr(notices, "_silenced", set())


@pytest.fixture(params=["arrays", "npz", "command line"])
def read(request, tmp_path, monkeypatch, capsys):
    """Reads a data set and keeps its notes in ``read.settings``. Each way of reading refuses with a ValueError."""
    monkeypatch.chdir(tmp_path)

    def read(x, y, x_test=None, y_test=None, **options):
        read.settings = []
        parts = {"x": x, "y": y, **({} if x_test is None else {"x_test": x_test, "y_test": y_test})}
        if request.param != "arrays":
            np.savez("mine.npz", **{name: np.asarray(array) for name, array in parts.items()})
        if request.param == "command line":
            return by_command(options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = (
                from_arrays(**parts, name="mine", **options)
                if request.param == "arrays"
                else from_npz("mine.npz", **options)
            )
        assert all(one.category is DataWarning and one.filename == __file__ for one in caught)
        read.settings = [str(one.message) for one in caught]
        return data

    def by_command(options):
        words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items()]
        seen = []
        monkeypatch.setattr(experiments, "fit", lambda experiment, data, trainer: seen.append(data) or 1 / 0)
        command = [
            "train",
            "--data",
            "mine.npz",
            "--model",
            "mlp",
            "--hidden",
            "2",
            "--lr",
            "0.1",
            "--out",
            "run",
            *words,
        ]
        capsys.readouterr()
        try:
            code = cli.main(command)
        except ZeroDivisionError:
            code = 0
        except SystemExit:  # of argparse, which prints the usage before the message
            raise ValueError(capsys.readouterr().err.splitlines()[-1]) from None
        lines = capsys.readouterr().err.splitlines()
        if code:
            raise ValueError(lines[-1])
        assert all(line.startswith("minifa train: ") for line in lines)
        read.settings = [line.removeprefix("minifa train: ") for line in lines]
        return seen[0]

    read.from_file = request.param != "arrays"
    return read


# Images


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 5, 7)])
def test_channels_that_are_clearly_first_are_moved_last(read, shape):
    x = images(*shape)
    data = read(x, Y, x[:9], Y[:9])
    np.testing.assert_array_equal(data.test.x, x[:9].transpose(0, 2, 3, 1))
    assert data.input_shape == (*shape[1:], shape[0])
    (note,) = read.settings
    assert f"x (mine, training) has shape {x.shape} and was converted to {(N, *shape[1:], shape[0])}" in note
    assert (
        "because images have 1 or 3 channels and the other axes are larger than 4" in note and "--channels last" in note
    )


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (32, 32, 3), (5, 4, 3), (3, 3, 1), (1, 28, 1), (2, 2, 8), (4, 6, 4), (9, 6, 16)]
)
def test_channels_that_are_last_stay_last(read, shape):
    x = images(*shape)
    assert read(x, Y).input_shape == shape and read.settings == []


def test_grey_images_of_three_axes_get_a_last_channel_axis(read):
    for shape in ((3, 9), (9, 3), (28, 28)):
        assert read(images(*shape), Y).input_shape == (*shape, 1) and read.settings == []
        assert read(images(*shape), Y, channels="first").input_shape == (*shape, 1)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 3, 3), (3, 32, 3), (1, 5, 4), (2, 28, 28), (4, 32, 32), (64, 8, 8)])
def test_channels_that_may_be_first_or_last_must_be_specified(read, shape):
    x = images(*shape)
    with pytest.raises(
        ValueError, match=r"x \(mine, training\) has shape .* give channels='first' for .*--channels first"
    ):
        read(x, Y)
    assert read(x, Y, channels="last").input_shape == shape and read.settings == []
    data = read(x, Y, channels="first")
    assert data.input_shape == (*shape[1:], shape[0]) and read.settings == []


def test_channels_must_be_first_or_last_and_only_images_have_them(read):
    with pytest.raises(ValueError, match="channels='first' is only for images, of four axes"):
        read(FLAT, Y, channels="first")
    for call in (from_arrays, validate):
        with pytest.raises(ValueError, match="channels must be 'last', 'first' or None, got 'behind'"):
            call(FLAT, Y, channels="behind")


# Pixels


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28), (784,)])
def test_unscaled_pixels_are_refused_until_a_scale_is_given(read, shape, dtype):
    x = RNG.integers(0, 256, (N, *shape)).astype(dtype)
    with pytest.raises(
        ValueError,
        match=r"holds values up to 255, probably unscaled pixels.* give scale=1/255 \(--scale 1/255; in a rec",
    ):
        read(x, Y)
    data = read(x, Y, x[:9], Y[:9], scale=1 / 255)
    np.testing.assert_array_equal(data.test.x.reshape(9, -1), x[:9].reshape(9, -1).astype("f4") * np.float32(1 / 255))
    assert data.train.x.max() <= 1 and data.train.x.dtype == np.float32
    assert read(x, Y, scale=1).train.x.max() == 255


def test_pixels_of_other_bit_depths_and_fractional_pixels_are_recognised():
    x = RNG.integers(0, 65536, (N, 8, 8, 1)).astype("uint16")
    with pytest.raises(ValueError, match=r"give scale=1/65535 \("):
        from_arrays(x, Y)
    with pytest.raises(ValueError, match=r"give scale=1/255 \("):
        from_arrays(x[..., 0] / 257.0, Y)  # as after resizing
    with pytest.raises(ValueError, match=r"give scale=1/1000000 \("):
        from_arrays(np.full((N, 8, 8, 1), 1e6), Y)


@pytest.mark.parametrize(
    "x",
    [
        RNG.integers(0, 17, (N, 8, 8, 1)),  # the digits before scaling: small enough to learn from
        RNG.integers(0, 256, (N, 10)),  # a table of integers
        RNG.uniform(0, 255, (N, 100)),  # a table of floats
        RNG.integers(-128, 128, (N, 8, 8, 1)),
        RNG.integers(0, 2, (N, 8, 8, 1)).astype("uint8"),
        RNG.integers(0, 1000, (N, 100)),
    ],
    ids=["0..16", "few features", "no whole numbers", "signed", "black and white", "larger numbers"],
)
def test_other_arrays_are_not_mistaken_for_pixels(x):
    assert len(from_arrays(x, Y).train) == 48


def test_a_scale_must_be_positive_and_at_most_one(read):
    for wrong in (255, 0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale"):
            read(FLAT, Y, scale=wrong)
    with pytest.raises(ValueError, match="scale must be 'standard', 'unit' or a number in 0..1, got '1/255'"):
        from_arrays(FLAT, Y, scale="1/255")


# Labels


def test_a_column_of_labels_becomes_a_vector(read):
    for y in (Y[:, None], Y[:, None].astype("f4"), Y[:, None].astype("u1")):
        data = read(FLAT, y, FLAT[:2], y[:2])
        assert data.classes == ("0", "1", "2") and data.train.y.dtype == np.int64
        np.testing.assert_array_equal(data.train.y, Y)
        np.testing.assert_array_equal(data.test.y, [0, 1])
        (note,) = read.settings
        assert "y (mine, training) is a column of integers, of shape (60, 1), and was converted to class labels" in note


def test_a_column_of_targets_stays_a_column(read):
    counts = np.arange(N)[:, None]
    for y in (FLAT[:, :1], counts.astype(float), Y[:, None] - 1.0, np.ones((N, 1))):
        assert read(FLAT, y).classes == () and read.settings == []
    for y in (Y, Y[:, None], Y[:, None].astype(float), Y.astype(float), counts, np.eye(3)[Y], np.eye(3, dtype=int)[Y]):
        data = read(FLAT, y, regression=True)
        assert data.classes == () and data.train.y.shape == (48, 3 if y.shape[-1] == 3 else 1) and read.settings == []
        data = read(FLAT, y, FLAT[:6], y[:6], regression=True)
        np.testing.assert_array_equal(data.train.y.ravel(), y.ravel())


@pytest.mark.parametrize("kind", ["U", "S", "O", "list"])
def test_string_labels_become_classes_with_their_names(read, kind):
    words = np.array(["dog", "bird", "cat"])[Y]
    y = words.tolist() if kind == "list" else words.astype(kind)
    if kind in "SO" and read.from_file:  # no object arrays, which would be unpickled, and no bytes
        with pytest.raises(
            ValueError, match=r"expected numbers.*labels may be strings, y.astype\(str\)|pickled objects are not read"
        ):
            read(FLAT, y)
        return
    for given in (y, np.asarray(y)[:, None]):
        data = read(FLAT, given, FLAT[:2], given[:2])
        assert data.classes == ("bird", "cat", "dog")
        assert [data.classes[i] for i in data.train.y] == words.tolist() and data.test.y.tolist() == [2, 0]
        (note,) = read.settings
        assert "holds string labels: bird, cat, dog were renumbered to 0, 1, 2; the classes keep their names" in note


@pytest.mark.parametrize("labels", [(0, 7, 14), (1, 2, 3), (0, 1, 3), (5, 10**12)])
def test_labels_with_gaps_are_renumbered_and_keep_their_names(read, labels):
    y = np.array(labels)[np.arange(N) % len(labels)]
    for given in (y, y.astype("f8")[:, None]):
        data = read(FLAT, given, FLAT[:2], given[:2])
        assert data.classes == tuple(map(str, labels)) and data.test.y.tolist() == [0, 1]
        np.testing.assert_array_equal(data.train.y, np.arange(N) % len(labels))
        names, numbers = ", ".join(map(str, labels)), ", ".join(map(str, range(len(labels))))
        assert any(
            f"labels up to {labels[-1]} with gaps: {names} were renumbered to {numbers}" in one for one in read.settings
        )
        assert len(read.settings) == given.ndim


@pytest.mark.parametrize("y", [np.zeros(N, int), np.full(N, 3), np.full(N, "cat"), np.zeros((N, 1), int)])
def test_a_single_class_is_refused(read, y):
    with pytest.raises(
        ValueError, match=r"labels of at least two classes, got \w+ in all 60 examples.*np.unique\(y, return_counts"
    ):
        read(FLAT, y)


def test_one_hot_rows_are_refused(read):
    for y in (np.eye(3)[Y], np.eye(3, dtype="f4")[Y]):
        with pytest.raises(
            ValueError, match=r"one-hot rows, of shape \(60, 3\): give the class numbers, y.argmax\(axis=1\)"
        ):
            read(FLAT, y)
    with pytest.raises(ValueError, match=r"y.argmax\(axis=1\) for one-hot rows"):
        read(FLAT, np.eye(3, dtype=int)[Y])
    for y in (np.eye(3)[Y] * 2, 1 - np.eye(3)[Y], np.eye(3)[Y] - 0.5):
        assert read(FLAT, y).n_out == 3


@pytest.mark.parametrize(
    ("y", "y_test", "message"),
    [
        (Y * 7, [0, 5], r"y \(mine, test\) holds the labels 5; expected 0, 7, 14, as in training"),
        (Y, [0, 3], r"y \(mine, test\) holds labels from 0 to 3; expected 0..2, as in training"),
        (np.array(["a", "b"])[Y % 2], ["a", "c"], "holds the labels c; expected a, b, as in training"),
        (np.array(["0", "1"])[Y % 2], [0, 1], "has dtype int64, the training labels <U1; both must be of one kind"),
        (Y, ["a", "b"], "the training labels int64; both must be of one kind"),
        (np.arange(N) * 2, None, r"60 different labels in 60 examples, 0, 2, 4 and 57 more: give regression=True"),
        (np.arange(N).astype(str), None, r"60 different labels in 60 examples"),
        (
            Y - 1,
            None,
            r"labels from -1 to 1; expected 0 upwards: number the classes from 0 with np.unique\(y, return_inv",
        ),
        (np.array(["a", "\x1b[2J"])[Y % 2], None, r"the label '\\x1b\[2J'; a label must have at most 100"),
        (np.array(["a", "b" * 101])[Y % 2], None, "a label must have at most 100 printable characters"),
        (np.array([["a", "b"]] * N), None, r"holds strings of shape \(60, 2\); labels must be one-dimensional"),
    ],
)
def test_invalid_labels_are_refused(read, y, y_test, message):
    with pytest.raises(ValueError, match=message):
        read(FLAT, y, *(() if y_test is None else (FLAT[:2], np.array(y_test))))


def test_few_examples_may_have_a_class_each():
    with pytest.warns(DataWarning, match="0, 500000000, 1000000000 were renumbered to 0, 1, 2"):
        assert from_arrays(FLAT[:3], Y[:3] * 500_000_000, FLAT[:3], Y[:3] * 500_000_000).n_out == 3


# One part alone


def test_validate_interprets_arrays_in_the_same_way():
    with pytest.warns(DataWarning, match="channels"):
        assert validate(images(3, 9, 9), Y).x.shape == (N, 9, 9, 3)
    with pytest.warns(DataWarning, match="0, 7, 14 were renumbered to 0, 1, 2"):
        np.testing.assert_array_equal(validate(FLAT, Y * 7).y, Y)
    with pytest.warns(DataWarning, match="column of integers"):
        np.testing.assert_array_equal(validate(FLAT, Y[:, None]).y, Y)
    with pytest.warns(DataWarning, match="string labels"):
        np.testing.assert_array_equal(validate(FLAT, np.array(["a", "b", "c"])[Y]).y, Y)
    with pytest.raises(ValueError, match="scale=1/255"):
        validate(np.full((N, 8, 8, 1), 255, "u1"), Y)
    for wrong, message in ((np.eye(3)[Y], "one-hot"), (np.zeros(N, int), "two classes")):
        with pytest.raises(ValueError, match=message):
            validate(FLAT, wrong)


def test_a_number_of_classes_keeps_the_numbers():
    np.testing.assert_array_equal(validate(FLAT, Y * 7, n_classes=15).y, Y * 7)
    np.testing.assert_array_equal(validate(FLAT, np.zeros(N, int), n_classes=2).y, np.zeros(N))
    with pytest.warns(DataWarning, match="column of integers"):
        np.testing.assert_array_equal(validate(FLAT, np.ones((N, 1)), n_classes=2).y, np.ones(N))
    with (
        pytest.warns(DataWarning, match="strings|string labels"),
        pytest.raises(ValueError, match="3 different strings; expected the names of 4"),
    ):
        validate(FLAT, np.array(["a", "b", "c"])[Y], n_classes=4)
    with pytest.raises(ValueError, match="n_classes and regression exclude each other"):
        validate(FLAT, Y, n_classes=3, regression=True)
    for wrong in (float("nan"), "3", 2.5):
        with pytest.raises(TypeError, match="n_classes must be an int"):
            validate(FLAT, Y, n_classes=wrong)


# Where the warnings appear


def test_a_warning_appears_once_and_names_the_line_that_passed_the_data():
    with pytest.warns(DataWarning) as caught:
        from_arrays(images(3, 9, 9), np.array(["a", "b", "c"])[Y][:, None])
    assert len(caught) == 2 and {one.filename for one in caught} == {__file__}


def test_control_characters_are_not_printed():
    with pytest.warns(DataWarning, match=r"\?\[2J, training"):
        from_arrays(FLAT, Y + 1, name="\x1b[2J")


EXPERIMENT = Experiment(data="mine.npz", model="mlp", model_options={"hidden": (2,)}, lr=0.1, epochs=1, alignment=False)


def test_named_data_sets_give_no_warning():
    for options in ({"scale": 0.5}, {"channels": "last"}, {"regression": True}):
        with pytest.raises(ValueError, match="not for the data set 'digits'"):
            mf.data.load("digits", **options)
    assert mf.data.load("digits", scale=None, regression=False).n_out == 10
    with pytest.raises(ValueError, match="unknown option of data 'scael': did you mean scale"):
        experiments.run(Experiment(data="xor", model="tiny", data_options={"scael": 1}))


def test_a_command_warns_once_however_many_processes_read_the_data(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *_: None)
    np.savez("mine.npz", x=FLAT, y=Y + 1)
    setting = "--data mine.npz --model mlp --hidden 2 --epochs 1 --rules bp,fa --seeds 1".split()
    for jobs in ("2", "1"):
        assert cli.main(["compare", *setting, "--jobs", jobs, "--out", f"compared{jobs}"]) == 0
        assert capfd.readouterr().err.count("1, 2, 3 were renumbered to 0, 1, 2") == 1
    toml = '[data]\nname = "mine.npz"\n[model]\nname = "mlp"\nhidden = [2]\n[training]\nepochs = 1\n'
    Path("swept.toml").write_text(toml + '[over]\nrule = ["bp", "fa"]\n', encoding="utf-8")
    assert cli.main(["sweep", "swept.toml", "--jobs", "2"]) == 0
    assert capfd.readouterr().err.count("1, 2, 3 were renumbered to 0, 1, 2") == 1


def test_the_worker_processes_warn_where_the_parent_did_not(tmp_path, capfd):
    np.savez(tmp_path / "mine.npz", x=FLAT, y=Y + 1)
    base = [
        Experiment(**{**EXPERIMENT.settings(), "data": str(tmp_path / "mine.npz"), "seed": seed}) for seed in range(2)
    ]
    assert [one.error for one in run_many(base, 2)] == [None, None]
    assert capfd.readouterr().err.count("DataWarning: y (mine, training) holds") in (1, 2)


# SavedRun with the experiment


@pytest.mark.usefixtures("draws_nothing")
def test_the_notes_on_the_data_are_saved_with_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = RNG.integers(0, 256, (N, 4, 4, 3)).astype("u1")
    np.savez("mine.npz", x=x.transpose(0, 3, 1, 2), y=Y)
    setting = ["--data", "mine.npz", "--model", "mlp", "--hidden", "2", "--lr", "0.1"]
    assert (
        cli.main(["train", *setting, "--scale", "1/255", "--channels", "first", "--epochs", "1", "--out", "run"]) == 0
    )
    assert run_folder.read_experiment("run").data_options == {"scale": 1 / 255, "channels": "first"}
    assert run_folder.open_run("run")[0].input_shape == (4, 4, 3)
    capsys.readouterr()
    assert cli.main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert cli.main(["train", "--resume", "run", "--scale", "1/256"]) == 2
    assert "--scale" in capsys.readouterr().err
    assert "data_options" not in Experiment().as_config()


def test_recipes_give_the_same_warnings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=RNG.integers(0, 256, (N, 3, 4, 4)).astype("u1"), y=Y)
    text = '[data]\nname = "mine.npz"\nscale = "1/255"\nchannels = "first"\n[model]\nname = "mlp"\n'
    recipe = recipes.parse(text)
    assert recipe.experiment.data_options == {"scale": 1 / 255, "channels": "first"}
    ((data,),) = [recipes.check([recipe.experiment], "the recipe").values()]
    assert data.input_shape == (4, 4, 3)
    assert recipes.parse(text, ["data.scale=0.5"]).experiment.data_options["scale"] == 0.5
    with pytest.raises(recipes.RecipeError) as error:
        recipes.parse(text, ["data.scale=255", "data.channels=behind", "data.regression=1"])
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "data.scale",
        "data.channels",
        "data.regression",
    ]
    with pytest.raises(recipes.RecipeError, match="give scale=1/255"):
        recipes.check([recipes.parse(text.replace('scale = "1/255"\n', "")).experiment], "the recipe")


# Files and data frames

ROWS = "1.5,2,cat\n3,4,dog\n" * 5


def written(text):
    Path("mine.csv").write_text(text, encoding="utf-8")
    return "mine.csv"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
@pytest.mark.parametrize(
    ("text", "options", "classes", "targets"),
    [
        ("a,b,label\n" + ROWS, {}, ("cat", "dog"), None),
        ("\ufeffa, b ,kind\r\n" + ROWS.replace("\n", "\r\n"), {"label": "kind"}, ("cat", "dog"), None),
        ('a,b,"the, label"\n\n' + ROWS.rstrip("\n"), {"label": "the, label"}, ("cat", "dog"), None),
        ("a,b,class\n" + ROWS.replace("cat", "0").replace("dog", "1"), {}, ("0", "1"), None),
        ("a,b,target\n" + ROWS.replace("cat", "0.5").replace("dog", "1.5"), {}, (), [[0.5], [1.5]]),
        ("a,b,y\n" + ROWS.replace("cat", "3").replace("dog", "4"), {"regression": True}, (), [[3.0], [4.0]]),
    ],
)
def test_a_csv_file_is_read_by_the_names_of_its_columns(folder, text, options, classes, targets):
    data = mf.data.load(written(text), **options)
    assert data.name == "mine" and data.classes == classes and len(data.train) + len(data.test) == 10
    np.testing.assert_array_equal(np.unique(data.train.x, axis=0), [[1.5, 2], [3, 4]])
    if targets is not None:
        np.testing.assert_array_equal(np.unique(data.train.y, axis=0), targets)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b,c\n" + ROWS, {}, r"has no column label, target, class, y; .* label='c' \(--label c\); .* are a, b, c"),
        ("y,b,class\n" + ROWS, {}, "has more than one of these columns: class, y"),
        ("a,b,kind\n" + ROWS, {"label": "knd"}, "unknown column 'knd': did you mean kind"),
        (",b,label\n" + ROWS, {}, r"column 1 has no name; .*index=False"),
        ("a,a,label\n" + ROWS, {}, "more than one column named a"),
        ("1,2,3\n4,5,6\n", {}, "must begin with the names of its columns, got 1, 2, 3"),
        ("a;b;label\n1;2;3\n", {}, "single column a;b;label: expected features and labels, separated by commas"),
        ("a,b,label\n1,Rome,0\n", {}, "column b holds Rome and is not numeric: remove it"),
        ("a,b,label\n" + ROWS + "1,,cat\n", {}, "line 12, has no value in the column b"),
        ("a,b,label\n" + ROWS + "1,2\n", {}, "line 12, must have 3 cells, as the header, got 2"),
        ("a,b,label\n" + ROWS + f"1,2,{'x' * 101}\n", {}, "line 12, has a cell of 101 characters"),
        ("a,b,label\n" + ROWS + "nan,2,cat\n", {}, "NaN, infinite or too large"),
        ('a,b,label\n"1,2,3\n', {}, "is not a table in CSV"),
        ("a,b,label\n", {}, "has 1 lines; expected the names of the columns and examples"),
        ("", {}, "has 0 lines"),
    ],
)
def test_a_csv_file_that_is_not_such_a_table_is_refused(folder, text, options, message):
    with pytest.raises(ValueError, match=message):
        mf.data.load(written(text), **options)


@pytest.mark.parametrize(
    ("names", "test"),
    [
        ("x y", ""),
        ("X y", "X_test y_test"),
        ("x_train y_train", "x_test y_test"),
        ("data target", ""),
        ("data target DESCR target_names images", ""),
        ("images labels", ""),
        ("train_images train_labels", "test_images test_labels"),
    ],
)
def test_an_npz_file_may_have_the_names_of_other_libraries(folder, names, test):
    arrays = dict(zip(names.split(), (FLAT, Y, *[np.array("text")] * 3), strict=False))
    np.savez("mine.npz", **arrays, **dict(zip(test.split(), (FLAT[:6] + 1, Y[:6]), strict=False)))
    data = from_npz("mine.npz")
    expected = from_arrays(FLAT, Y, *((FLAT[:6] + 1, Y[:6]) if test else ()))
    assert data.digest == expected.digest


@pytest.mark.parametrize("names", ["x y data target", "x y X", "x_test y_test", "x y images", "x", "images target"])
def test_an_npz_file_with_ambiguous_or_missing_names_is_refused_with_its_names(folder, names):
    np.savez("mine.npz", **dict.fromkeys(names.split(), FLAT))
    with pytest.raises(mf.data.DataFileError, match=rf"holds the arrays {', '.join(sorted(names.split()))}; expected"):
        mf.data.load("mine.npz")
    with pytest.raises(ValueError, match=r"label='y' is for \.csv and \.npy files"):
        mf.data.load("mine.npz", label="y")


def test_npy_files_are_read_in_pairs_without_pickle(folder):
    np.save("x.npy", FLAT)
    with pytest.raises(mf.data.DataNotFound, match=r"'y\.npy' does not exist; .*--label"):
        mf.data.load("x.npy")
    np.save("y.npy", Y)
    np.save("other.npy", Y[::-1].copy())
    assert mf.data.load("x.npy").digest == from_arrays(FLAT, Y).digest
    assert mf.data.load("x.npy", label="other.npy").digest == from_arrays(FLAT, Y[::-1]).digest
    first = resume.load_once("x.npy")
    np.save("y.npy", Y * 0 + np.arange(N) % 2)
    assert resume.load_once("x.npy") is not first and resume.load_once("x.npy") is resume.load_once("x.npy")
    np.save("y.npy", np.array(["a", None], dtype=object))
    with pytest.raises(mf.data.DataFileError, match=r"'y\.npy' cannot be read as \.npy: it is of type '\|O'"):
        mf.data.load("x.npy")


class Frame(dict):
    """A data frame without pandas: named columns."""

    columns = property(lambda self: list(self))


@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
@pytest.mark.parametrize("kind", ["pandas", "another library"])
def test_a_data_frame_is_read_by_the_names_of_its_columns(kind):
    make = pytest.importorskip("pandas").DataFrame if kind == "pandas" else Frame
    columns = {"a": FLAT[:, 0], "kind": np.array(["u", "v", "w"])[Y], "b": Y > 1}
    frame = make(columns)
    data = from_arrays(frame, "kind", make({key: columns[key][:9] for key in ("b", "a", "kind")}), "kind")
    np.testing.assert_array_equal(data.test.x, np.column_stack([FLAT[:9, 0], Y[:9] > 1]).astype("f4"))
    assert data.classes == ("u", "v", "w") and data.test.y.tolist() == Y[:9].tolist()
    assert from_arrays(make({"a": columns["a"]}), frame["kind"]).input_shape == (1,)
    more = make({key: columns[key][:9] for key in ("b", "kind", "a")})  # in another order, and with the labels
    np.testing.assert_array_equal(data.transform(more), data.test.x)
    for call, message in (
        (lambda: from_arrays(frame, "knd"), "unknown column 'knd': did you mean kind"),
        (lambda: from_arrays(frame, Y), "column kind holds u and is not numeric"),
        (lambda: from_arrays(frame, "kind", make({"a": FLAT[:, 0]}), Y), r"\(arrays, test\): unknown column 'b'"),
        (lambda: from_arrays(frame, "kind", FLAT, Y), r"x \(arrays, test\) must be a data frame"),
        (lambda: data.transform(make({"a": FLAT[:, 0]})), "x: unknown column 'b'"),
        (lambda: from_arrays(FLAT, Y).transform(frame), "was not made from a data frame"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_labels_with_another_index_are_refused():
    """pandas aligns by index; the rows are paired by position here."""
    pandas = pytest.importorskip("pandas")
    frame, labels = pandas.DataFrame(FLAT), pandas.Series(Y)
    assert len(from_arrays(frame, labels).train) + len(from_arrays(frame, labels).test) == len(Y)
    with pytest.raises(ValueError, match="different indices"):
        from_arrays(frame, labels[::-1])


# Scaling by the training part


def test_standard_and_unit_scale_by_the_training_part_only():
    x = np.column_stack([RNG.normal(5, 3, N), np.full(N, 0.1), RNG.normal(-1e3, 1, N)])
    x_test = x[:9] * 2
    data = from_arrays(x, Y, x_test, Y[:9], scale="standard")
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(data.train.x.std(axis=0), [1, 0, 1], atol=1e-4)
    assert (data.train.x[:, 1] == 0).all()  # a constant feature
    np.testing.assert_array_equal(data.transform(x_test), data.test.x)
    np.testing.assert_allclose(data.test.x[:, 0], (x_test[:, 0] - x[:, 0].mean()) / x[:, 0].std(), rtol=1e-5)
    unit = from_arrays(x, Y, x_test, Y[:9], scale="unit")
    assert (unit.train.x.min(axis=0) == 0).all() and unit.train.x.max(axis=0) == pytest.approx([1, 0, 1])
    np.testing.assert_array_equal(unit.transform(x_test), unit.test.x)
    split = from_arrays(x, Y, scale="standard")  # the test part is held out first
    np.testing.assert_allclose(split.train.x[:, 0].mean(), 0, atol=1e-6)
    assert abs(split.test.x[:, 0].mean()) > 1e-6


def test_images_are_scaled_by_channel_or_by_the_range_of_their_type():
    x = (RNG.integers(0, 100, (N, 5, 4, 3)) * [1, 2, 0] + 7).astype("f4")
    standard = from_arrays(x, Y, x, Y, scale="standard").train.x
    np.testing.assert_allclose(standard.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(axis=(0, 1, 2)), [1, 1, 0], atol=1e-6)
    unit = from_arrays(x, Y, x, Y, scale="unit").train.x
    np.testing.assert_allclose(unit, (x - 7) / (x.max() - 7), rtol=1e-6)
    for kind, most in (("u1", 255), ("u2", 65535)):
        data = from_arrays(x.astype(kind), Y, scale="unit")
        np.testing.assert_array_equal(data.transform(x.astype(kind)), x * np.float32(1 / most))
    by_number = from_arrays(x, Y, x, Y, scale=1 / 255)
    np.testing.assert_array_equal(by_number.transform(x), by_number.train.x)
    grey = from_arrays(x[..., 0], Y, scale="unit")
    assert grey.transform(x[..., 0]).shape == (N, 5, 4, 1)
    with pytest.raises(ValueError, match=r"examples of the data set 'arrays' have the shape \(5, 4, 1\)"):
        grey.transform(x)


def test_a_scale_that_is_no_known_one_is_refused():
    with pytest.raises(ValueError, match="scale must be 'standard', 'unit' or a number .* got 'std'"):
        from_arrays(FLAT, Y, scale="std")
    with pytest.raises(ValueError, match="scale='unit' needs a training part: use minifa.data.from_arrays"):
        validate(FLAT, Y, scale="unit")


@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
@pytest.mark.usefixtures("draws_nothing")
def test_the_command_line_and_recipes_take_files_labels_and_scales(folder, capsys):
    written("a,b,kind\n" + ROWS)
    small = ["--model", "mlp", "--hidden", "2", "--lr", "0.1", "--epochs", "1"]
    assert (
        cli.main(["train", "--data", "mine.csv", "--label", "kind", "--scale", "standard", *small, "--out", "r"]) == 0
    )
    stored = run_folder.read_experiment("r")
    assert stored.data == "mine.csv" and stored.data_options == {"label": "kind", "scale": "standard"}
    text = '[data]\nname = "mine.csv"\nlabel = "kind"\nscale = "standard"'
    assert experiments.load_data(recipes.parse(text).experiment).digest == experiments.load_data(stored).digest
    resuming = ["train", "--resume", "r", "--epochs", "2"]
    assert cli.main([*resuming, "--label", "a"]) == 2
    assert "--label a (kept: kind)" in capsys.readouterr().err
    Path("mine.csv").rename("moved.csv")
    assert cli.main([*resuming, "--data", "moved.csv"]) == 0
    Path("moved.csv").write_text("a,b,kind\n" + ROWS.replace("3,4", "3,5", 1))
    assert cli.main(["train", "--resume", "r", "--epochs", "3", "--data", "moved.csv"]) == 2
    assert "moved.csv" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"standard or unit or a number above 0 and at most 1 is expected"):
        recipes.parse('[data]\nname = "mine.csv"\nscale = "std"')


@pytest.mark.filterwarnings("ignore::minifa.data.DataWarning")
def test_one_file_may_be_read_with_other_options_in_every_run(folder):
    """Digests are stored by the file and its options, in folders of earlier versions by the file."""
    np.savez("mine.npz", x=FLAT, y=Y)
    text = """
        [data]
        name = "mine.npz"
        [model]
        name = "mlp"
        [training]
        epochs = 1
        [over]
        "data.scale" = [0.5, "1/4", "standard"]
    """
    Path("scales.toml").write_text(text)
    assert cli.main(["sweep", "scales.toml", "--jobs", "1", "--keep-runs", "--out", "s"]) == 0
    runs = [resume.saved_run(place) for place in Path("s/runs").iterdir()]
    assert {name for run in runs for name in run.contents} == {
        f"mine.npz (scale={scale})" for scale in (0.5, 0.25, "standard")
    }
    experiment = Experiment(data="mine.npz", data_options={"scale": 0.5}, model="mlp", epochs=1)
    earlier = {"mine.npz": experiments.load_data(experiment).digest}
    run_folder.new_folder("run", {"experiment": experiment.as_config(), "contents": earlier})
    saved = resume.saved_run("run")
    assert saved.contents == resume.contents(experiment, experiments.load_data(experiment))
    np.savez("mine.npz", x=FLAT + 1, y=Y)
    here = resume.contents(experiment, experiments.load_data(experiment))
    assert "other data: mine.npz (scale=0.5) has the digest" in str(resume.run_differences(saved, experiment, here))
