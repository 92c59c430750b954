// Sorting and filtering of the table of a survey. A row keeps the values of its columns as attributes: data-NAME, or
// data-NAME-NETWORK for a column that shows one network at a time.
"use strict";

const table = document.querySelector("table");
const body = table.tBodies[0];
const rows = [...body.rows];
const heads = [...table.querySelectorAll("th[data-column]")];
const networks = [...document.querySelectorAll("input[name=network]")];
const text = document.querySelector("#text");
const ran = document.querySelector("#ran");
const searched = new Map(rows.map((row) => [row, wordsOf(row)]));
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
let sorted = { head: null, down: false };

// The text that the filter looks at: all but the numbers, which a word would match by chance.
function wordsOf(row) {
  const cells = [...row.querySelectorAll("th, .why, .lost, .needs, .way, .equation, .source")];
  return cells.map((cell) => cell.textContent.toLowerCase()).join(" ");
}

const network = () => networks.find((one) => one.checked).value;

function valueOf(row, head) {
  const { column, of } = head.dataset;
  return row.getAttribute(of === undefined ? `data-${column}` : `data-${column}-${network()}`) ?? "";
}

// The order of two values; an empty one is last in both directions.
function order(a, b, isNumber, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = isNumber ? Number(a) - Number(b) : collator.compare(a, b);
  return down ? -difference : difference;
}

function sort() {
  if (sorted.head === null) return;
  const isNumber = sorted.head.dataset.kind === "number";
  const keyed = rows.map((row) => [valueOf(row, sorted.head), row]);
  keyed.sort((one, other) => order(one[0], other[0], isNumber, sorted.down)); // stable: equal rows keep their order
  body.append(...keyed.map(([, row]) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  sorted.head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
}

function filter() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const isRun = !ran.checked || row.getAttribute(`data-test_accuracy-${network()}`) !== "";
    row.hidden = !(isRun && words.every((word) => searched.get(row).includes(word)));
    count += !row.hidden;
  }
  document.querySelector("output").textContent = `${count} of ${rows.length} rules`;
}

function choose() {
  table.dataset.network = network();
  sort();
  filter();
}

for (const head of heads) {
  head.querySelector("button").addEventListener("click", () => {
    const first = head.dataset.first === "down";
    sorted = { head, down: sorted.head === head ? !sorted.down : first };
    sort();
  });
}
for (const one of networks) one.addEventListener("change", choose);
text.addEventListener("input", filter);
ran.addEventListener("change", filter);
document.querySelector(".controls").hidden = false;
choose(); // after a reload the browser may have kept another network or text
