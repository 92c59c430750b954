// Equations: the MathML that Python wrote, or typeset text where there is none. The role of a symbol gives its colour.

import type { JSX } from "preact";
import { minus } from "./numbers";

const GREEK: Record<string, string> = { delta: "δ", eta: "η", lambda: "λ", mu: "μ", sigma: "σ", xi: "ξ", gamma: "γ", beta: "β", eps: "ε" };
export const SYMBOL = /[A-Za-z]\w*(?:\.T)?/g;
const base = (symbol: string) => symbol.replace(/\.T$/, "").replace(/_(\d+|below|above|new|shaken|err|l|pred|sim|s)$/, "");

export type Role = "activity" | "weight" | "feedback" | "error" | "truth" | "gradient";

export function roleOf(symbol: string): Role | null {
  const name = base(symbol);
  if (name === "delta_bp") return "truth";
  if (name === "delta" || name === "e") return "error";
  if (["W", "b", "V", "c", "gamma", "beta"].includes(name)) return "weight";
  if (["A", "B", "C", "F", "H", "M", "P", "R"].includes(name)) return "feedback";
  if (/^d([A-Z]|b$|gamma|beta)/.test(name)) return "gradient";
  if (["x", "y", "a", "t", "h", "g_t", "g_h", "xhat", "targets", "output", "xi"].includes(name)) return "activity";
  return null;
}

/** Whether an array of four dimensions with this role holds kernels, not feature maps. */
export const isKernel = (role: Role | null) => role === "weight" || role === "feedback" || role === "gradient";

/** A Greek letter for its name, also after the d of a gradient; a circumflex for "hat". */
function letterOf(stem: string): string {
  if (stem in GREEK) return GREEK[stem];
  const of = stem.startsWith("d") ? stem.slice(1) : "";
  return of in GREEK ? `d${GREEK[of]}` : stem.replace(/^([a-z])hat$/, "$1\u0302");
}

export function SymbolText({ symbol, lit = true }: { symbol: string; lit?: boolean }): JSX.Element {
  const name = symbol.replace(/\.T$/, "");
  const [first] = name.split("_");
  const hasIndex = first in GREEK || /^([A-Za-z]|d[A-Z]|sum|[a-z]*hat)$/.test(first); // else it is a word: weight_decay
  const [stem, ...under] = hasIndex ? name.split("_") : [name.replaceAll("_", " ")];
  const letter = letterOf(stem);
  const isSlanted = letter.length === 1 || /^d[A-Za-z\u03b1-\u03c9]$|\u0302$/.test(letter);
  return (
    <span class={lit ? "symbol" : undefined} data-role={lit ? roleOf(symbol) ?? undefined : undefined} data-symbol={symbol}>
      {isSlanted ? <i>{letter}</i> : letter}
      {under.length > 0 && <sub>{under.map((part) => GREEK[part] ?? part).join(" ")}</sub>}
      {symbol.endsWith(".T") && <sup>T</sup>}
    </span>
  );
}

/** What the letter of a drawn matrix in a rule's equation means: "M, M drawn once". */
export function explained(equation: string): string {
  const drawn = /([A-Z])(?: >= 0)? (?:re)?drawn/.exec(equation);
  return drawn ? `${drawn[1]} is a random matrix.` : "";
}

/** A line of an equation. Symbols with a value (in `known`) are coloured; without `known`, all that have a role. */
export function Typeset({ text, known = null }: { text: string; known?: Record<string, unknown> | null }): JSX.Element {
  const parts = text.split(/([A-Za-z]\w*(?:\.T)?|\^T|\^2|(?<=\))\.T)/).map((piece) => {
    const isKnown = known ? known[piece.replace(/\.T$/, "")] !== undefined : roleOf(piece) !== null;
    if (/^[A-Za-z]/.test(piece)) return <SymbolText symbol={piece} lit={isKnown} />;
    if (/^(\^|\.T)/.test(piece)) return <sup>{piece.slice(1)}</sup>;
    return minus(piece.replaceAll(" * ", " · ").replaceAll(" @ ", " "));
  });
  return <span class="eq">{parts}</span>;
}

/** Parsed once as XML without scripts or event attributes: the text comes from minifa, but names in it are arbitrary. */
export function MathLine({ mathml, text, known }: { mathml?: string; text: string; known?: Record<string, unknown> }): JSX.Element {
  if (!mathml) return <Typeset text={text} known={known ?? null} />;
  const fill = (place: HTMLSpanElement | null) => {
    if (place && place.firstChild === null) place.append(parsed(mathml));
  };
  return <span class="eq" ref={fill} key={mathml} />;
}

const parser = new DOMParser();
const ALLOWED = new Set(["math", "mrow", "mi", "mn", "mo", "mtext", "msub", "msup", "msubsup", "mfrac", "msqrt", "mover", "munder", "munderover", "mspace", "mtable", "mtr", "mtd", "mstyle"]);

function parsed(mathml: string): Node {
  const root = parser.parseFromString(mathml, "application/xml").documentElement;
  for (const one of [root, ...root.querySelectorAll("*")]) {
    if (!ALLOWED.has(one.localName)) return document.createTextNode(root.textContent ?? "");
    for (const { name } of [...one.attributes]) if (name.startsWith("on") || name === "href") one.removeAttribute(name);
  }
  for (const one of root.querySelectorAll("[data-symbol]")) {
    const role = roleOf(one.getAttribute("data-symbol")!);
    if (role) one.setAttribute("data-role", role);
    one.setAttribute("class", "symbol");
  }
  return document.importNode(root, true);
}
