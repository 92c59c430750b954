// Runs cases of tests/explorer/test_live.py with the engine of the page. `Net` is that of web/src/live.ts; arrays are
// base64 of little-endian float32. Also evaluated in a browser, so it uses nothing of node.
export function runCases(Net, { x, y, cases }) {
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const text = (array) => btoa(Array.from(new Uint8Array(array.slice().buffer), (c) => String.fromCharCode(c)).join(""));
  const all = floats(x);
  const some = (rows, width) => ({
    x: Float32Array.from(rows.flatMap((row) => Array.from(all.subarray(row * width, (row + 1) * width)))),
    y: rows.map((row) => y[row]),
  });
  return cases.map(({ start, rule, lr, angle, painted, batches, at, measured }) => {
    const drawn = start.redrawn?.map((steps) => steps.map(floats));
    const begin = {
      ...start,
      ...Object.fromEntries(["W", "b", "M", "N", "F"].map((key) => [key, start[key].map(floats)])),
      redrawn: (step, layer) => drawn[layer][step],
    };
    const net = new Net(begin, rule, angle, painted ?? {});
    const width = start.sizes[0];
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
