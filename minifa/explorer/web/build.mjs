// Builds ../bundle/explorer.js: one ES module with the style sheets as text, for the page and for notebooks. D3's versions
// in package.json are the last ones whose files are modules of their own, of which only those used are bundled.
import { build, transform } from "esbuild";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Style sheets are minified, too. */
const styles = {
  name: "styles",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code, loader: "text" };
    });
  },
};

// Scales of numbers need neither colours nor formats, which are a fifth of the bundle without the following.
const NUMBERS_ONLY = {
  "d3-interpolate": `
    const mix = (a, b) => (t) => a * (1 - t) + b * t;
    const round = (a, b) => (t) => Math.round(a * (1 - t) + b * t);
    export { mix as interpolate, mix as interpolateNumber, round as interpolateRound };
    export const piecewise = undefined;`,
  "d3-format": `
    export const format = () => { throw new Error("tickFormat is not in this bundle: see chart.tsx, tick"); };
    export { format as formatPrefix, format as formatSpecifier, format as precisionFixed, format as precisionPrefix, format as precisionRound };`,
};

/** The parts of D3 that the page does not use are left out. */
const small = {
  name: "small",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^d3-(interpolate|format)$/ }, ({ path }) => ({ path, namespace: "numbers-only" }));
    onLoad({ filter: /./, namespace: "numbers-only" }, ({ path }) => ({ contents: NUMBERS_ONLY[path], loader: "js" }));
  },
};

await build({
  entryPoints: [here("src/main.tsx")],
  outfile: here("../bundle/explorer.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  // createElement("p", null, "...") is shorter than the automatic runtime's jsx("p", { children: "..." }).
  tsconfigRaw: { compilerOptions: { target: "ES2022", jsx: "react", jsxFactory: "createElement", jsxFragmentFactory: "Fragment" } },
  inject: [here("src/jsx.ts")],
  plugins: [styles, small],
  legalComments: "none",
  charset: "ascii", // "</script" and non-ASCII letters must not depend on the page's encoding
  banner: { js: "/* Preact (MIT), d3-array, d3-scale, d3-shape and what they need (ISC) are included. Sources: minifa/explorer/web */" },
  logLevel: "info",
});
