// Starts the page: content in the element #data; with a server, the content comes from it. In a notebook, anywidget calls
// the default export's render.

import { render } from "preact";
import { Page } from "./app";
import { bakedSource } from "./baked";
import { decodeContent } from "./content";
import { digitsOf, liveOf } from "./live_source";
import { Engine, serveSource } from "./serve";
import { messageOf } from "./numbers";
import css from "./styles";
import type { Content, Source } from "./types";

function addStyle(to: Node): void {
  const style = document.createElement("style");
  style.textContent = css;
  to.appendChild(style);
}

/** The chapters named in ?only=3 or ?only=2,3. */
function onlyChapters(): number[] | undefined {
  const only = new URLSearchParams(location.search).get("only");
  const wanted = only?.split(",").map(Number).filter((one) => Number.isInteger(one));
  return wanted?.length ? wanted : undefined;
}

export function mount(place: Element, content: Content, source: Source, live: Source | string, only?: number[]): void {
  render(<Page content={content} source={source} live={live} only={only} />, place);
}

/** What is shown in place of the page. */
const Notice = ({ text }: { text: string }) => <main class="mf"><p class="wide story" role="status">{text}</p></main>;

async function start(): Promise<void> {
  const data = document.getElementById("data");
  const place = document.getElementById("page");
  if (!data || !place) return; // loaded by a notebook
  addStyle(document.head);
  const written = JSON.parse(data.textContent ?? "");
  const engine = written.source === "serve" ? new Engine() : null;
  if (engine) render(<Notice text="Waiting for the engine." />, place);
  const content = decodeContent(engine ? await engine.describe() : written);
  document.title = `${content.facts[0].split(",")[0]} · minifa explorer`;
  mount(place, content, engine ? serveSource(engine, content) : bakedSource(content), digitsOf(content), onlyChapters());
}

// For the tests, which compare the engine in the page and the sums of chapter 2 with minifa and let the page talk to
// minifa's server:
export { decodeFilm, tableOf } from "./content";
export { imageOf } from "./digit_pad";
export { Net } from "./live";
export { pythonFor } from "./script";
export { work } from "./step/arithmetic";
export { paramsOf, readSettings, writeSettings } from "./settings";
export { decodeContent, Engine, liveOf, serveSource };

start().catch((error: unknown) => {
  const message = messageOf(error);
  render(<Notice text={message} />, document.getElementById("page")!);
});

export { default } from "./widget";
