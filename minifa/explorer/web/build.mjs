// Builds ../bundle/explorer.js: one ES module with the style sheet as text, for the page and for notebooks.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [here("src/main.tsx")],
  outfile: here("../bundle/explorer.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".css": "text" },
  legalComments: "none",
  charset: "ascii", // "</script" and non-ASCII letters must not depend on the page's encoding
  banner: { js: "/* Preact (MIT), d3-array, d3-scale, d3-shape and what they need (ISC) are included. Sources: minifa/explorer/web */" },
  logLevel: "info",
});
