"""Mutations of valid input: bytes of any file, values of JSON, cells of a table, members of a zip archive, headers of
NumPy's arrays."""

from __future__ import annotations

import ast
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

Bytes = Callable[[Random, bytes], bytes]
SIZES = (0, 1, 2, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 1 << 60, (1 << 63) - 1, (1 << 64) - 1)


def cut(random: Random, good: bytes) -> bytes:
    return good[: random.randrange(len(good))]


def flip_bits(random: Random, good: bytes) -> bytes:
    bad = bytearray(good)
    for _ in range(random.choice((1, 1, 1, 2, 8, 64))):
        bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
    return bytes(bad)


def set_bytes(random: Random, good: bytes) -> bytes:
    bad = bytearray(good)
    for _ in range(random.choice((1, 2, 4))):
        bad[random.randrange(len(bad))] = random.choice(
            (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x2C, random.randrange(256))
        )
    return bytes(bad)


def zero_block(random: Random, good: bytes) -> bytes:
    a, b = _block(random, good)
    return good[:a] + bytes(b - a) + good[b:]


def drop_block(random: Random, good: bytes) -> bytes:
    a, b = _block(random, good)
    return good[:a] + good[b:]


def repeat_block(random: Random, good: bytes) -> bytes:
    a, b = _block(random, good)
    return good[:b] + good[a:b] * random.choice((1, 2, 9)) + good[b:]


def move_block(random: Random, good: bytes) -> bytes:
    a, b = _block(random, good)
    at = random.randrange(len(good))
    return good[:at] + good[a:b] + good[at:]


def noise(random: Random, good: bytes) -> bytes:
    a, b = _block(random, good)
    return good[:a] + random.randbytes(b - a) + good[b:]


def add(random: Random, good: bytes) -> bytes:
    return good + random.choice((b"\0", b"\n", random.randbytes(random.randrange(1, 300)), good))


def size_field(random: Random, good: bytes) -> bytes:
    """A field of 2, 4 or 8 bytes near the beginning or the end is set to a huge or negative number, or zero."""
    form = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    width, near = struct.calcsize(form), min(len(good), 96)
    at = random.randrange(near) if random.random() < 0.6 else len(good) - 1 - random.randrange(near)
    written = struct.pack(form, random.choice(SIZES) % (1 << (8 * width)))
    return good[:at] + written + good[at + width :]


def something_else(random: Random, good: bytes) -> bytes:
    return random.choice((b"", b"\0", b"\xff" * 200, b"\x1f\x8b", b"PK\x03\x04", random.randbytes(200), good[::-1]))


ANY: tuple[Bytes, ...] = (
    *(cut, flip_bits, set_bytes, zero_block, drop_block, repeat_block),
    *(move_block, noise, add, size_field, something_else),
)


def _block(random: Random, good: bytes) -> tuple[int, int]:
    a = random.randrange(len(good))
    return a, min(len(good), a + 1 + int(random.random() ** 3 * 200))


# Values


def hostile_value(random: Random) -> Any:
    """An unexpected value that JSON can hold."""
    return random.choice(
        (
            *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**40, 10**400, 0.0, -0.5, 1e308, 1e-320),
            *(float("nan"), float("inf"), float("-inf")),
            *(
                "",
                " ",
                "x",
                "bp",
                "fa:conv=dense",
                "nan",
                "1",
                "cnn",
                "sgd",
                "../..",
                "\0",
                "\ud800",
                "é" * 5000,
                "%s{}",
            ),
            *([], {}, [[]], [1, 2], ["conv1"], {"hidden": "x"}, {"hidden": [0]}, {"hidden": -1}, {"depth": 10**9}),
            *({"hidden": 10**12}, {"": None}, {"momentum": "x"}, {"momentum": 2}, {"lr": 1}, [None] * 50),
            nested(random.choice((5, 50, 500))),
        )
    )


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def mutate_json(random: Random, good: bytes) -> bytes:
    """One value of a JSON text is changed, removed or added; the text itself may also be corrupted."""
    value = json.loads(good)
    for _ in range(random.choice((1, 1, 2))):
        owner, key = random.choice(_places(value, []) or [([value], 0)])
        change = random.randrange(4)
        if change == 0 and isinstance(owner, dict):
            del owner[key]
        elif change == 1 and isinstance(owner, dict):
            owner[random.choice(("", "x", "format", "experiments", "history", "é"))] = hostile_value(random)
        else:
            owner[key] = hostile_value(random)
    text = json.dumps(value if random.random() < 0.95 else hostile_value(random))
    corrupt = random.randrange(12)
    if corrupt == 0:
        text = text.replace(":", random.choice((":" + "[" * 100_000, "::", ": 1e999, ", ': "\\ud800", "":')), 1)
    elif corrupt == 1:
        return text.encode(random.choice(("utf-16", "utf-8-sig", "utf-32")), "replace")
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any, places: list[Any]) -> list[Any]:
    """(container, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        places.append((value, key))
        _places(inner, places)
    return places


CELLS = (
    *("", "x", "nan", "inf", "-inf", "1e999", "9" * 5000, "1_000", "0x10", '"', '"a', "1,2", "\0", "é", " 3 ", "-1"),
    *("1" * 140_000, "True", "None", "[1]", "1\r2"),
)


def mutate_csv(random: Random, good: bytes) -> bytes:
    """A table with changed cells, lines or columns."""
    rows = [line.split(",") for line in good.decode().splitlines()]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows)
        at = random.randrange(len(row)) if row else 0
        change = random.randrange(7)
        if change == 0 and row:
            del row[at]
        elif change == 1:
            row.insert(at, random.choice(CELLS))
        elif change == 2:
            rows.insert(random.randrange(len(rows) + 1), random.choice(([], [""], ["a", "b"], list(row), rows[0])))
        elif change == 3 and len(rows) > 1:
            rows.remove(row)
        elif row:
            row[at] = random.choice(CELLS)
    return "".join(",".join(row) + random.choice(("\n", "\n", "\n", "\r\n")) for row in rows).encode()


# Arrays in files


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # two members of the same name are intended
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


SHAPES = (
    *("(1152921504606846976,)", "(-1,)", "()", "(0,)", "(3, -2)", "(2, 9223372036854775807)", "(1.5,)", "('a',)", "5"),
    *(
        "(True,)",
        "None",
        "(4294967296, 4294967296)",
        "(99999999999999999999999,)",
        "(3,",
        "(" * 300,
        "[3]",
        "{}",
        "(2**60,)",
    ),
    *("(" + "1," * 40 + ")", "(10000000000,)", "(1000000000,)"),
)
TYPES = (
    *(
        "'|O'",
        "'<f8'",
        "'>f4'",
        "'<f2'",
        "'<c16'",
        "'<U3'",
        "'|S5'",
        "'<M8[s]'",
        "'|V8'",
        "'|b1'",
        "'|i1'",
        "'<u8'",
        "'f99'",
    ),
    *(
        "'x'",
        "5",
        "None",
        "[('a', '<f4')]",
        "[]",
        "[('a', '|O')]",
        "('<f4', (2,))",
        "''",
        "'<U1000000000'",
        "{}",
        "'|V0'",
    ),
)


def mutate_npy(random: Random, good: bytes) -> bytes:
    """The same numbers with another header."""
    length = struct.unpack("<H", good[8:10])[0]
    header = ast.literal_eval(good[10 : 10 + length].decode())
    entries = {key: repr(value) for key, value in header.items()}
    change = random.randrange(8)
    if change == 0:
        entries["descr"] = random.choice(TYPES)
    elif change == 1:
        entries["fortran_order"] = random.choice(("True", "'x'", "None", "2", "False"))
    elif change == 2:
        del entries[random.choice(list(entries))]
    elif change == 3:
        entries[random.choice(("x", "shape ", ""))] = random.choice(SHAPES)
    else:
        entries["shape"] = random.choice(SHAPES)
    text = "{" + ", ".join(f"'{key}': {value}" for key, value in entries.items()) + ", }"
    corrupt = random.randrange(10)
    if corrupt == 0:
        text = random.choice(
            ("", "{", "{" * 5000, "-" * 9000, text + " " * 70_000, "[" * 9000, "\0", "{'a': 1}", "open('x')")
        )
    version = random.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    encoded = text.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", min(len(encoded), 0xFFFF))
    if random.random() < 0.05:
        size = random.choice((b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff"))
    return b"\x93NUMPY" + bytes(version) + size + encoded + good[10 + length :]


def mutate_zip(random: Random, good: bytes) -> bytes:
    """Another archive of the same members: headers of arrays, names, methods, bombs, wrong sizes, pickles."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    at = random.randrange(len(members))
    name, content = members[at]
    change = random.randrange(9)
    if change <= 2 and content[:6] == b"\x93NUMPY":
        members[at] = name, mutate_npy(random, content)
    elif change == 3:
        members[at] = (
            random.choice(("../" + name, "/" + name, name.removesuffix(".npy"), "", "x.npy", "é\\\n", "a" * 9000)),
            content,
        )
    elif change == 4:
        method = random.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif change == 5:  # a bomb: zeros, with and without a header that announces them
        members[at] = name, random.choice((npy(np.zeros(1 << 21, "u1")), bytes(1 << 21), content + bytes(1 << 21)))
        method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif change == 6:
        members[at] = name, npy(np.array([{}, None, "x"], dtype=object))
    elif change == 7:
        members = random.choice(([], members[:at], members + [("extra.npy", content)], members[::-1]))
    bad = bytearray(zipped(members, method))
    if change == 8 and members:  # wrong entries in the directory: method, flags, sizes, offsets
        place = bad.rfind(b"PK\x01\x02")
        field = random.choice((8, 10, 16, 20, 24, 28, 30, 32, 42))
        width = 4 if field in (16, 20, 24, 42) else 2
        bad[place + field : place + field + width] = random.choice(SIZES).to_bytes(8, "little")[:width]
    return bytes(bad)
