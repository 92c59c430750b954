// Builds ../bundle/explorer.js: one ES module with the style sheets as text, for the page and for notebooks.
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
  plugins: [styles],
  legalComments: "none",
  charset: "ascii", // "</script" and non-ASCII letters must not depend on the page's encoding
  banner: { js: "/* Preact (MIT) is included. Sources: minifa/explorer/web */" },
  logLevel: "info",
});
