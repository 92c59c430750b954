// What tests/explorer/test_serve_source.py asks of the page's source "serve", in node: node serve_runner.js BUNDLE
// ADDRESS SCENARIO. Prints lines of JSON.

const [bundle, address, scenario] = process.argv.slice(2);
const kept = new Map();
const shown = [];
const { origin } = new URL(address);
const fetched = globalThis.fetch;

// The script draws nothing when there is no element for it.
globalThis.document = { getElementById: () => null };
globalThis.DOMParser = class {};
globalThis.location = { href: address };
globalThis.history = { state: null, replaceState: (state, title, to) => shown.push(String(to)) };
globalThis.sessionStorage = { setItem: (key, value) => kept.set(key, value), getItem: (key) => kept.get(key) ?? null };
globalThis.fetch = (path, options) => fetched(origin + path, options);

const { decodeContent, Engine, serveSource } = await import(bundle);
const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const numbers = (array) => ({ shape: array.shape, values: Array.from(array.values) });
const LONG = { rule: "fa", updates: 20000, noise: 0, seed: 0, hidden: [3], angle: null, feedback: {} };

async function connect() {
  const engine = new Engine();
  const content = decodeContent(await engine.describe());
  return { content, source: serveSource(engine, content) };
}

async function follow(source, params, leaveAfter = Infinity) {
  const taken = [];
  for await (const { update, loss, layers } of source.run(params)) {
    const W = Object.fromEntries(Object.entries(layers).map(([name, layer]) => [name, numbers(layer.W.array)]));
    taken.push({ update, loss, W });
    if (taken.length === leaveAfter) break;
  }
  return taken;
}

const scenarios = {
  async film() {
    const { source } = await connect();
    const film = await source.film({ rule: "fa", updates: 2 });
    tell(film.map((moment) => Object.fromEntries(Object.entries(moment.new).map(([name, one]) => [name, numbers(one)]))));
  },
  async run() {
    const { content, source } = await connect();
    tell(await follow(source, { ...LONG, updates: 9 }));
    const before = content.chance.fa ?? null; // of another network than the page's own
    const { lr, hidden, seed, train_updates: updates } = content.defaults;
    const own = { rule: "fa", lr, hidden: hidden === null ? [] : [hidden].flat(), seed, updates, noise: 0, angle: null, feedback: {} };
    await follow(source, own);
    tell([before, content.chance.fa]);
  },
  async leave() {
    const { source } = await connect();
    tell((await follow(source, LONG, 4)).length);
  },
  async signal() {
    const { source } = await connect();
    const stop = new AbortController();
    let count = 0;
    for await (const _ of source.run(LONG, stop.signal)) if (++count === 4) setTimeout(() => stop.abort(), 20);
    tell(count);
  },
  async two() {
    const { source } = await connect();
    const both = await Promise.all(["bp", "fa"].map((rule) => follow(source, { ...LONG, rule, updates: 30 })));
    tell(both.map((run) => run.at(-1).update));
  },
  async can() {
    const { source } = await connect();
    tell([source.can(LONG), source.can({ ...LONG, seed: 5 })]);
    await follow(source, { ...LONG, rule: "nope" });
  },
  async gone() {
    const { source } = await connect();
    for await (const { update } of source.run(LONG)) tell(update);
  },
  async token() {
    new Engine();
    tell([shown, [...kept]]);
    globalThis.location.href = origin; // loaded again
    tell((await new Engine().describe()).version);
  },
};

await scenarios[scenario]().catch((error) => tell({ error: error.message }));
