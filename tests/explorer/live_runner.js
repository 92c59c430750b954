// What tests/explorer/test_live.py asks of the page's script, in node. Arrays are base64 of little-endian float32.

// The script draws nothing when there is no element for it.
globalThis.document = { getElementById: () => null };
globalThis.DOMParser = class {};

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const text = (array) => btoa(Array.from(new Uint8Array(Float32Array.from(array).buffer), (c) => String.fromCharCode(c)).join(""));

/** The states of runs after the numbers of updates in `at`. */
function runCases({ Net }, { x, y, cases }) {
  const all = floats(x);
  const some = (rows, width) => ({
    x: Float32Array.from(rows.flatMap((row) => Array.from(all.subarray(row * width, (row + 1) * width)))),
    y: rows.map((row) => y[row]),
  });
  return cases.map(({ start, rule, lr, angle, painted, batches, at, measured }) => {
    const drawn = start.redrawn.map((steps) => steps.map(floats));
    const begin = {
      ...start,
      ...Object.fromEntries(["W", "b", "M", "N", "F"].map((key) => [key, start[key].map(floats)])),
      redrawn: (step, layer) => drawn[layer][step],
    };
    const net = new Net(begin, rule, angle, painted ?? {});
    const [width] = start.sizes;
    const after = {};
    const keep = () => {
      if (!at.includes(net.step)) return;
      after[net.step] = {
        W: net.W.map(text),
        b: net.b.map(text),
        B: net.rule.matrix ? net.W.slice(1).map((_, below) => text(net.rule.matrix(net, below + 1))) : [],
        alignment: net.alignment(some(measured, width)),
        score: net.score(some(measured, width)),
      };
    };
    keep();
    for (const batch of batches) {
      net.update(some(batch, width), lr);
      keep();
    }
    return after;
  });
}

/** What pages with these starts find when they open: their agreement with minifa, or why their engine is off. */
function open({ decodeContent, liveOf }, { content, starts }) {
  const found = starts.map((live) => liveOf(decodeContent({ ...content, live })));
  return found.map((live) => (typeof live === "string" ? { reason: live } : live.agreement));
}

/** The Python of runs, and the weights, biases and accuracy at their ends in the page. */
async function scripts({ decodeContent, liveOf, pythonFor }, { content, runs }) {
  const live = liveOf(decodeContent(content));
  const done = [];
  for (const { params, epochs } of runs) {
    let last = null;
    for await (const snapshot of live.run(params)) last = snapshot;
    const arrays = Object.entries(last.layers).flatMap(([name, layer]) => [
      [`${name}.W`, text(layer.W.array.values)],
      [`${name}.b`, text(layer.b.values)],
    ]);
    done.push({ python: pythonFor(params, epochs), arrays: Object.fromEntries(arrays), accuracy: last.accuracy, update: last.update });
  }
  return done;
}

/** The labels of all batches of the first epoch, with a share of wrong ones. */
function labels({ decodeContent, liveOf }, { content, cases }) {
  const { data } = liveOf(decodeContent(content));
  const updates = Array.from({ length: Math.ceil(data.train.y.length / data.live.batch_size) }, (_, update) => update);
  return cases.map(({ seed, noise }) => updates.flatMap((update) => data.batch(seed, update, noise).y));
}

/** Settings read from addresses, and the addresses written from them. */
const settings = ({ readSettings, writeSettings }, { parts, choices }) =>
  parts.map((one) => ({ settings: readSettings(one, choices), address: writeSettings(readSettings(one, choices)) }));

const images = ({ imageOf }, drawings) => drawings.map((strokes) => Array.from(imageOf(strokes) ?? []));

const COMMANDS = { runCases, open, scripts, labels, settings, images };

/** Answers a request {bundle, command, argument}, JSON on the standard input. */
export async function main(input) {
  const { bundle, command, argument } = JSON.parse(input);
  console.log(JSON.stringify(await COMMANDS[command](await import(bundle), argument)));
}
