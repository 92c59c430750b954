// The source "serve": the engine behind `minifa explore --serve` (minifa/explorer/server.py). Requests and answers are
// those of minifa/explorer/session.py; the answers come as lines of JSON, as they are made.

import { decodeFilm, decodeSnapshot, type Packed, tableOf } from "./content";
import { type Defaults, ownRun } from "./first_runs";
import type { Content, Film, FilmParams, RunParams, Snapshot, Source, SourceKind } from "./types";

export const GONE = "The engine has stopped: start `minifa explore --serve` again.";
const KEPT = "minifa-token"; // for the page when it is loaded again in its tab

/** What the content of a page has in addition when it comes from a session. */
export interface Served extends Content {
  defaults: Defaults;
  /** What a run may change: true, or the reason why not. */
  can: Record<"lr" | "seed" | "hidden" | "noise", true | string>;
}

export interface Message {
  content?: unknown;
  film?: unknown[];
  snapshot?: unknown;
  chance?: Content["chance"][string];
  arrays?: Packed[];
  done?: boolean;
  stopped?: boolean;
  error?: string;
}

/** Asks a session of the engine: the server's, or a notebook's. */
export interface Asking {
  /** The answers to one request, to the last one. An error is a sentence for the reader. */
  ask(command: string, params: unknown, signal?: AbortSignal): AsyncGenerator<Message>;
  /** What is said when no answer comes any more. */
  gone: string;
}

/** What the engine answers instead of a result. */
class Refusal extends Error {}

export const asSentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** Takes the token from the page's address, where it would be copied with every link, and keeps it in this tab. */
function takeToken(): string {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  address.searchParams.delete("token");
  if (given !== null) history.replaceState(history.state, "", address);
  try {
    if (given !== null) sessionStorage.setItem(KEPT, given);
    return given ?? sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return given ?? ""; // a browser that stores nothing
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let parts: string[] = []; // of the line that has begun: an answer may have megabytes
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const [first, ...more] = decoder.decode(read.value, { stream: true }).split("\n");
    parts.push(first);
    for (const next of more) {
      yield parts.join("");
      parts = [next];
    }
  }
}

/** The engine of one page. */
export class Engine implements Asking {
  readonly gone = GONE;
  private readonly token = takeToken();
  private readonly page = Array.from(crypto.getRandomValues(new Uint32Array(4)), (one) => one.toString(36)).join("-");
  private count = 0;

  /** The answers to one request. Leaving the iteration, or the signal, closes the connection, which ends the work. */
  async *ask(command: string, params: unknown, signal?: AbortSignal): AsyncGenerator<Message> {
    const connection = new AbortController();
    const close = () => connection.abort();
    signal?.addEventListener("abort", close);
    try {
      const response = await this.send(command, params, connection.signal);
      if (!response.ok || !response.body) throw new Refusal((await response.text()).trim());
      for await (const line of linesOf(response.body)) {
        const message = JSON.parse(line) as Message;
        if (message.error !== undefined) throw new Refusal(message.error);
        yield message;
        if (message.content || message.film || message.done || message.stopped) return;
      }
      throw new Error("the connection ended before the last answer");
    } catch (error) {
      if (signal?.aborted) return;
      throw error instanceof Refusal ? new Error(asSentence(error.message)) : new Error(GONE, { cause: error });
    } finally {
      signal?.removeEventListener("abort", close);
      close();
    }
  }

  private send(command: string, params: unknown, signal: AbortSignal): Promise<Response> {
    return fetch("/command", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Minifa-Token": this.token, "X-Minifa-Page": this.page },
      body: JSON.stringify({ id: ++this.count, command, params }),
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  }

  /** The page's content as JSON before it is decoded. */
  async describe(): Promise<unknown> {
    for await (const { content } of this.ask("describe", {})) return content;
    throw new Error(GONE);
  }
}

export function serveSource(engine: Asking, content: Content, kind: SourceKind = "serve"): Source {
  const { can, defaults } = content as Served;
  let turn: Promise<void> = Promise.resolve(); // the engine has one run for each page: a second one waits for the first
  return {
    kind,
    async film({ rule, updates }: FilmParams): Promise<Film> {
      for await (const message of engine.ask("film", { rule, updates })) {
        const film = decodeFilm(message.film!, tableOf(message.arrays!));
        if (updates === undefined) content.films[rule] = film; // of the page's own step: the gauges of other rules show it
        return film;
      }
      throw new Error(engine.gone);
    },
    async *run(params: RunParams, signal?: AbortSignal): AsyncGenerator<Snapshot> {
      // A network whose widths cannot be chosen, or were not, is trained as it is.
      const asked = { ...params, hidden: can.hidden === true && params.hidden.length ? params.hidden : null };
      const isOwn = JSON.stringify(params) === JSON.stringify(ownRun(params.rule, content));
      const before = turn;
      let finish!: () => void;
      turn = new Promise((resolve) => (finish = resolve));
      try {
        await before;
        if (signal?.aborted) return;
        for await (const { snapshot, arrays, chance } of engine.ask("run", asked, signal)) {
          if (chance && isOwn) content.chance[params.rule] = chance; // known only once the network has been made
          if (snapshot) yield decodeSnapshot(snapshot, tableOf(arrays!), 0);
        }
      } finally {
        finish();
      }
    },
    can({ noise, seed }: RunParams): true | string {
      if (noise > 0 && can.noise !== true) return asSentence(can.noise);
      return seed === defaults.seed || can.seed === true ? true : asSentence(can.seed);
    },
  };
}
