// What every part of the page may use.

import { createContext } from "preact";
import type { Theme } from "./colours";
import type { Arr, Content, Source } from "./types";

export interface App {
  content: Content;
  source: Source;
  theme: Theme;
  /** Tells screen readers about a change; several changes within half a second are told as the last one. */
  say(text: string): void;
  /** Shows an array as a table in a dialog. */
  showTable(one: { array: Arr; name: string; symbol: string }): void;
  /** Goes to an address of the page: "chapter-3", "step/fa/11". `replace` adds no entry to the history. */
  go(address: string, replace?: boolean): void;
  /** The current address without "#". */
  address: string;
  /** Where the keys of a player are listened to: the document, or in a notebook the page's own root. */
  keys: Document | ShadowRoot;
  /** A live source if the page has one that agrees with the engine, else the reason in a sentence. */
  live: Source | string;
}

export const AppContext = createContext<App>(null as unknown as App);
