// What JSX is compiled to (build.mjs names these two).

export { createElement, Fragment } from "preact";
