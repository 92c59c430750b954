"""Equations as native MathML, which browsers draw and screen readers read without a library.

    y = x @ W + b         the product @ as juxtaposition, * as a dot, W.T with a superscript T
    t / n @ F.T           fractions; a further division extends the denominator
    delta_below, xhat     Greek letters, subscripts, accents; words such as momentum upright
    sqrt, abs, norm, sum, inv, where(x > 0, x, a * x)      a root, bars, a sum sign, a power of -1, cases
    B = M, M drawn once   words of a sentence are text between the formulas

Every symbol is one element with the attribute ``data-symbol``, its name in the equation without ``.T``. All text is
escaped; what cannot be read as a formula becomes text.
"""

from __future__ import annotations

__all__: list[str] = []

import html
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..validation import check_str

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
GREEK = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eps": "ε", "eta": "η", "theta": "θ", "kappa": "κ"},
    **{"lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "xi": "ξ"},
}
ACCENTS = {"xhat": ("x", "^"), "Kt": ("K", "~")}
SUM = "<mo>∑</mo>"
FENCES = {"abs": "|", "norm": "‖"}
# Names of several letters that stand for a number, an array or a function. Other words are those of a sentence.
NAMES = frozenset(
    "angle clip_norm curvature decay exp inv leak log lr mask max mean min momentum moments open pos ratio rate "
    "regression rise samples sign size smoothing softmax sqrt square sum targets threshold var velocity".split()
)
AGGREGATES = ("max", "mean", "min", "sum")
SUBSCRIPTS = ("above", "below", "bp", "err", "new", "old", "out", "own", "pred", "shaken", "sim")  # upright ones
SIGNS = {"-": "−", ">=": "≥", "<=": "≤", "*": "⋅"}
RELATIONS = ("=", ">=", "<=", ">", "<")
SPACE = '<mspace width=".17em"/>'  # of a product
TRANSPOSED = "<mi>T</mi>"
NO_BREAK = "\u00a0"  # MathML trims other spaces at the ends of a text
TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[a-z][+-](?=\s[-+]|\))|[A-Za-z]\w*(?:'s\b|'+)?)"
    r"|(?P<sign>>=|<=|\.T\b|[-+*/^@()\[\],;=<>])|(?P<other>.)"
)
NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def mathml(line: str, symbols: Container[str] = ()) -> str:
    """A line of an equation as a MathML element; "" for an empty line.

    Args:
        line: as `minifa.Moment.equation` has it, ``"delta_below = delta @ B.T"``.
        symbols: names of several letters that stand for a value, other than the usual ones.

    Raises:
        TypeError: the line is not a str.

    >>> from minifa.explorer.mathml import mathml
    >>> print(mathml("B = W.T").partition(">")[2])
    <mrow><mi data-symbol="B">B</mi><mo>=</mo><msup><mi data-symbol="W">W</mi><mi>T</mi></msup></mrow></math>
    """
    tokens = list(_tokens(check_str(line, "a line of an equation")))
    if not tokens:
        return ""
    parts = [_part(part, symbols) for part in _parts(tokens)]
    return f'<math xmlns="{NAMESPACE}" displaystyle="true">{_row(*parts)}</math>'


def lines(equation: str, symbols: Container[str] = ()) -> list[str]:
    """The lines of an equation as MathML. Arguments and errors as for `mathml`."""
    return [mathml(line, symbols) for line in check_str(equation, "an equation").split("\n")]


class _Token(NamedTuple):
    kind: str  # number, name, sign or other
    text: str
    after_space: bool


class _NoFormula(Exception):
    """The tokens are not a formula."""


def _tokens(line: str) -> Iterator[_Token]:
    spaced = False
    for match in TOKEN.finditer(line):
        if match.lastgroup == "space":
            spaced = True
            continue
        text = match.group()
        if re.fullmatch(r"[a-ce-z][A-Z]", text):  # xB is a product
            yield _Token("name", text[0], spaced)
            yield _Token("name", text[1], False)
        else:
            yield _Token(str(match.lastgroup), text, spaced)
        spaced = False


def _parts(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """Split at commas and semicolons outside parentheses, which are parts of their own."""
    depth, part = 0, list[_Token]()
    for token in tokens:
        depth += (token.text in "([") - (token.text in ")]") if token.kind == "sign" else 0
        if token.text in (",", ";") and depth <= 0:
            yield part
            yield [token]
            part = []
        else:
            part.append(token)
    yield part


def _part(tokens: Sequence[_Token], symbols: Container[str]) -> str:
    """Formulas, and the words between them."""
    if [token.text for token in tokens] in ([","], [";"]):
        return f"<mo>{tokens[0].text}</mo>"
    pieces = []
    for is_text, run in _runs(tokens, symbols):
        if is_text:
            words = " ".join(token.text for token in run)
            pieces.append(f"<mtext>{_escaped(NO_BREAK + words + NO_BREAK)}</mtext>")
        else:
            pieces.append(_formula(run, symbols))
    return "".join(pieces)


def _runs(tokens: Sequence[_Token], symbols: Container[str]) -> Iterator[tuple[bool, list[_Token]]]:
    """Words of a sentence (True) and the tokens between them (False), in turns."""
    words = [token.kind == "other" or _is_word(tokens, i, symbols) for i, token in enumerate(tokens)]
    for i in range(len(tokens) - 2, -1, -1):  # the article "a", and "sum of ..."
        article = tokens[i].text == "a" and i > 0 and words[i - 1]
        words[i] |= words[i + 1] and (article or tokens[i].text in AGGREGATES)
    run: list[_Token] = []
    for i, token in enumerate(tokens):
        if run and words[i] != words[i - 1]:
            yield words[i - 1], run
            run = []
        run.append(token)
    if run:
        yield words[-1], run


def _is_word(tokens: Sequence[_Token], i: int, symbols: Container[str]) -> bool:
    token = tokens[i]
    if token.kind != "name" or token.text.rstrip("'") in symbols:
        return False
    called = i + 1 < len(tokens) and tokens[i + 1].text in ("(", "[") and not tokens[i + 1].after_space
    return token.text.endswith("'s") or not (called or _is_symbol(token.text))


def _is_symbol(name: str) -> bool:
    """Whether it is a letter, a known name, or one of them with an index, a prime or a d."""
    stem = name.rstrip("'+-")
    bare = re.sub(r"\d+$", "", stem.partition("_")[0])
    differential = bare[1:] if bare.startswith("d") else ""
    known = (NAMES, GREEK, ACCENTS)
    return len(bare) == 1 or len(differential) == 1 or any(bare in one or stem in one for one in known) or (
        differential in GREEK or "_" in stem
    )  # fmt: skip


def _formula(run: Sequence[_Token], symbols: Container[str]) -> str:
    """The run as a formula. Signs at its ends may belong to the words around it."""
    first, last = 0, len(run)
    while last > first and run[last - 1].text in ("+", "-", "*", "/", "@", *RELATIONS):
        last -= 1
    while first < last and run[first].text in ("+", "*", "/", "@", *RELATIONS):
        first += 1
    try:
        middle = _Parser(run[first:last]).statement() if first < last else ""
    except _NoFormula:
        return f"<mtext>{_escaped(' '.join(token.text for token in run))}</mtext>"
    return _signs(run[:first]) + middle + _signs(run[last:])


def _signs(tokens: Sequence[_Token]) -> str:
    return "".join(SPACE if token.text == "@" else _sign(token.text) for token in tokens)


@dataclass(frozen=True)
class _Node:
    """A part of a formula: its MathML, also without its parentheses, and the two sides of a fraction."""

    text: str
    bare: str = ""
    over: tuple[str, str] | None = None

    @property
    def free(self) -> str:
        """In a place where parentheses are not needed."""
        return self.bare or self.text


class _Parser:
    """Recursive descent: a statement is sums with relations between them, a sum is products, a product is powers."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens, self.at = tokens, 0

    def peek(self, *texts: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].text in texts

    def take(self, *texts: str) -> str:
        if self.at >= len(self.tokens) or (texts and not self.peek(*texts)):
            raise _NoFormula
        self.at += 1
        return self.tokens[self.at - 1].text

    def statement(self, *ends: str) -> str:
        """Up to one of the ends, which is taken; up to the last token if there are none."""
        text = self.sum()
        while self.peek(*RELATIONS):
            text += _sign(self.take()) + self.sum()
        if ends:
            self.take(*ends)
        elif self.at < len(self.tokens):
            raise _NoFormula
        return text

    def sum(self) -> str:
        text = _sign(self.take()) if self.peek("-", "+") else ""
        text += self.product().text
        while self.peek("+", "-"):
            text += _sign(self.take()) + self.product().text
        return text

    def product(self) -> _Node:
        left = self.power()
        while self.at < len(self.tokens):
            if self.peek("*", "@", "/"):
                left = _combined(left, self.take(), self.power())
            elif self.peek("(") or self.tokens[self.at].kind in ("number", "name"):
                left = _combined(left, "@", self.power())
            else:
                break
        return left

    def power(self) -> _Node:
        node = self.atom()
        while self.peek("^", ".T"):
            exponent = TRANSPOSED if self.take() == ".T" else self.exponent()
            node = _Node(f"<msup>{_row(node.text)}{exponent}</msup>")
        return node

    def exponent(self) -> str:
        if self.peek("T"):
            self.take()
            return TRANSPOSED
        minus = _sign(self.take()) if self.peek("-") else ""
        return _row(minus + self.atom().free)

    def atom(self) -> _Node:
        if self.peek("("):
            self.take()
            inner = self.statement(")")
            return _Node(_fenced(inner), inner)
        if self.at >= len(self.tokens) or self.tokens[self.at].kind not in ("number", "name"):
            raise _NoFormula
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return _Node(f"<mn>{float(text):g}</mn>" if "e" in text else f"<mn>{text}</mn>")
        is_call = self.peek("(", "[") and not self.tokens[self.at].after_space
        return self.call(text) if is_call else _Node(_identifier(text))

    def call(self, name: str) -> _Node:
        opening = self.take()
        closing = ")" if opening == "(" else "]"
        arguments = [self.statement(",", closing)]
        while self.tokens[self.at - 1].text == ",":
            arguments.append(self.statement(",", closing))
        if name in CALLS and len(arguments) == CALLS[name][0]:
            return _Node(CALLS[name][1](*arguments))
        inside = "<mo>,</mo>".join(arguments)
        return _Node(_identifier(name, is_function=True) + _fenced(inside, opening, closing))


def _combined(left: _Node, sign: str, right: _Node) -> _Node:
    """The product or fraction of two factors."""
    if sign != "/":
        return _Node(left.text + (SPACE if sign == "@" else _sign(sign)) + right.text)
    top, bottom, free = left.free, right.text, right.free
    if left.over is not None:
        top, bottom = left.over[0], left.over[1] + SPACE + right.text
        free = bottom
    return _Node(f"<mfrac>{_row(top)}{_row(free)}</mfrac>", over=(top, bottom))


def _cases(condition: str, then: str, otherwise: str) -> str:
    rows = ((then, f"<mtext>if{NO_BREAK}</mtext>{condition}"), (otherwise, "<mtext>otherwise</mtext>"))
    table = "".join(f"<mtr><mtd>{_row(value)}</mtd><mtd>{_row(when)}</mtd></mtr>" for value, when in rows)
    return f"<mrow><mo>{{</mo><mtable>{table}</mtable></mrow>"


# How functions with a sign of their own are written, by name: number of arguments, and MathML from theirs.
CALLS: dict[str, tuple[int, Callable[..., str]]] = {
    "sqrt": (1, lambda inner: f"<msqrt>{inner}</msqrt>"),
    "inv": (1, lambda inner: f"<msup>{_fenced(inner)}<mrow><mo>−</mo><mn>1</mn></mrow></msup>"),
    "sum": (1, lambda inner: f"<mrow>{SUM}{_fenced(inner)}</mrow>"),
    "where": (3, _cases),
    **{name: (1, lambda inner, bar=bar: _fenced(inner, bar, bar)) for name, bar in FENCES.items()},
}


def _identifier(name: str, is_function: bool = False) -> str:
    """A symbol with its indices. A function has no value, and so no ``data-symbol``."""
    bare = name.rstrip("'+-")
    stem, *under = bare.split("_")
    if stem == "sum" and under:
        return f"<msub>{SUM}{_row(*map(_index, under))}</msub>"
    if not (_letters(stem) or under == ["new"]):
        stem, under = bare.replace("_", " "), []
    marks = name[len(bare) :].replace("'", "′").replace("-", "−")
    match = re.fullmatch(r"(\D+)(\d+)", stem)
    if match and _letters(match.group(1)):
        stem, under = match.group(1), [match.group(2), *under]
    text, below = _stem(stem), "".join(map(_index, under))
    if below and marks:
        text = f"<msubsup>{text}{_row(below)}<mo>{marks}</mo></msubsup>"
    elif below:
        text = f"<msub>{text}{_row(below)}</msub>"
    elif marks:
        text = f"<msup>{text}<mo>{marks}</mo></msup>"
    return text if is_function else re.sub("^<m[a-z]+", rf'\g<0> data-symbol="{_escaped(bare)}"', text)


def _letters(stem: str) -> bool:
    """Whether it is written as a letter, perhaps with an accent or a d, and so may have an index."""
    return len(stem) == 1 or stem in GREEK or stem in ACCENTS or _differential(stem) != ""


def _differential(stem: str) -> str:
    rest = stem[1:] if stem.startswith("d") else ""
    return rest if len(rest) == 1 or rest in GREEK else ""


def _stem(stem: str) -> str:
    if stem in ACCENTS:
        letter, accent = ACCENTS[stem]
        return f"<mover><mi>{letter}</mi><mo>{accent}</mo></mover>"
    if rest := _differential(stem):
        return f"<mrow><mi>d</mi><mi>{GREEK.get(rest, rest)}</mi></mrow>"
    return f"<mi>{_escaped(GREEK.get(stem, stem))}</mi>"


def _index(part: str) -> str:
    if part.isdigit():
        return f"<mn>{part}</mn>"
    if part in GREEK:
        return f"<mi>{GREEK[part]}</mi>"
    if part in SUBSCRIPTS or len(part) > 2:
        return f"<mtext>{_escaped(part)}</mtext>"
    return "".join(f"<mi>{_escaped(letter)}</mi>" for letter in part)


def _fenced(inner: str, opening: str = "(", closing: str = ")") -> str:
    return f"<mrow><mo>{opening}</mo>{inner}<mo>{closing}</mo></mrow>"


def _sign(text: str) -> str:
    return f"<mo>{_escaped(SIGNS.get(text, text))}</mo>"


def _row(*parts: str) -> str:
    """The parts as one element."""
    text = "".join(parts)
    return text if re.fullmatch(r"<(m[a-z]+)(?: [^<>]*)?>[^<>]*</\1>", text) else f"<mrow>{text}</mrow>"


def _escaped(text: str) -> str:
    return html.escape(NOT_XML.sub("�", text))
