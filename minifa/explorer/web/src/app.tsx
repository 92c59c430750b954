// The page: one chapter at a time, its address after "#", and what all chapters share.

import type { ComponentChildren, JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { readAddress } from "./address";
import { Fails } from "./chapters/fails";
import { Hero, hasFilm } from "./chapters/hero";
import { Playground } from "./chapters/playground";
import { Step } from "./chapters/step";
import { Twin } from "./chapters/twin";
import { Why } from "./chapters/why";
import type { Theme } from "./colours";
import { type App as Shared, AppContext } from "./context";
import { hasRuns } from "./first_runs";
import { TableDialog } from "./table";
import type { Arr, Content, Source } from "./types";

export interface ChapterProps {
  /** The parts of the address after the chapter's own, decoded. */
  parts: string[];
}

interface Chapter {
  title: string;
  short: string;
  View: (props: ChapterProps) => JSX.Element;
  /** It shows the network of `content.facts` also in a page without an engine behind it; the others say themselves what they show. */
  ofPage?: boolean;
  needs?: (content: Content, source: Source, live: Source | string) => boolean;
}

export const ALL: Chapter[] = [
  { title: "Learning through the wrong weights", short: "Two networks", View: Hero, needs: (content, _, live) => hasFilm(content, live) },
  { title: "Every weight needs a twin", short: "The twin", View: Twin, ofPage: true },
  { title: "One step, number by number", short: "One step", View: Step, ofPage: true },
  { title: "Why it works", short: "Why", View: Why, ofPage: true, needs: (content, source) => hasRuns(content) || source.kind !== "baked" },
  { title: "Where it fails", short: "Where it fails", View: Fails, needs: (content) => Boolean(content.grid) },
  { title: "Playground", short: "Playground", View: Playground },
];

export interface PageProps {
  content: Content;
  source: Source;
  live: Source | string;
  /** Only these chapters (embedded page, notebook). */
  only?: number[];
  /** The root of a page inside another one (notebook): addresses are kept in the component, not in the browser's address,
   * and keys that are pressed elsewhere are not taken. */
  inside?: ShadowRoot;
  /** At the start; default: the system's. */
  theme?: Theme;
}

function useAddress(inside: boolean, start: string): [string, (address: string, replace?: boolean) => void] {
  const [address, setAddress] = useState(inside ? start : location.hash.slice(1) || start);
  useEffect(() => {
    if (inside) return undefined;
    const follow = () => setAddress(location.hash.slice(1));
    addEventListener("hashchange", follow);
    addEventListener("popstate", follow);
    return () => {
      removeEventListener("hashchange", follow);
      removeEventListener("popstate", follow);
    };
  }, [inside]);
  const go = useCallback((to: string, replace = false) => {
    if (!inside && `#${to}` !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", `#${to}`);
    setAddress(to);
  }, [inside]);
  return [address, go];
}

function useTheme(first?: Theme): [Theme, string | undefined, () => void] {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [wished, setWished] = useState(first);
  const [system, setSystem] = useState<Theme>(query.matches ? "dark" : "light");
  useEffect(() => {
    const follow = () => setSystem(query.matches ? "dark" : "light");
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  const theme = wished ?? system;
  return [theme, wished, () => setWished(theme === "dark" ? "light" : "dark")];
}

interface LinkProps { chapter: number; current?: boolean; go: Shared["go"]; children: ComponentChildren }

function ChapterLink({ chapter, current, go, children }: LinkProps): JSX.Element {
  const follow = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opens another window
    event.preventDefault();
    go(`chapter-${chapter}`);
  };
  return <a href={`#chapter-${chapter}`} aria-current={current ? "page" : undefined} onClick={follow}>{children}</a>;
}

interface HeadProps { shown: number[]; chapter: number; go: Shared["go"]; onTheme: () => void }

function Head({ shown, chapter, go, onTheme }: HeadProps): JSX.Element {
  return (
    <header>
      <div class="wide head">
        <p class="brand">minifa explorer</p>
        {shown.length > 1 && (
          <nav aria-label="Chapters">
            {shown.map((k) => (
              <ChapterLink chapter={k} current={k === chapter} go={go} key={k}>{ALL[k].short}</ChapterLink>
            ))}
          </nav>
        )}
        <button class="theme" onClick={onTheme} aria-label="Switch between light and dark mode" title="Light or dark mode">
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true"><circle cx="10" cy="10" r="7.5" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="M10 2.5a7.5 7.5 0 0 1 0 15z" fill="currentColor" /></svg>
        </button>
      </div>
    </header>
  );
}

const QUIET_MS = 500; // so that playing does not read out every moment

export function Page({ content, source, live, only, inside, theme: first }: PageProps): JSX.Element {
  const possible = ALL.map((_, k) => k).filter((k) => ALL[k].needs?.(content, source, live) ?? true);
  const named = possible.filter((k) => only?.includes(k));
  const shown = named.length ? named : possible;
  const [address, go] = useAddress(inside !== undefined, `chapter-${shown[0]}`);
  const [theme, wished, switchTheme] = useTheme(first);
  const [said, setSaid] = useState("");
  const [table, setTable] = useState<{ array: Arr; name: string; symbol: string } | null>(null);
  const timer = useRef(0);
  const heading = useRef<HTMLHeadingElement>(null);
  const { chapter: wanted, parts } = readAddress(address);
  const chapter = shown.includes(wanted) ? wanted : shown[0];
  const before = useRef(chapter);

  const say = useCallback((text: string) => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setSaid(text), QUIET_MS);
  }, []);
  const shared: Shared = useMemo(
    () => ({ content, source, live, theme, say, showTable: setTable, go, address, keys: inside ?? document }),
    [content, source, live, theme, say, go, address, inside]);

  useEffect(() => {
    if (before.current !== chapter && !inside) {
      heading.current?.focus({ preventScroll: true });
      scrollTo({ top: 0 });
    }
    before.current = chapter;
  }, [chapter]);

  const { title, View, ofPage } = ALL[chapter];
  const place = shown.indexOf(chapter);
  const next = shown[place + 1];
  return (
    <AppContext.Provider value={shared}>
      <div class="mf" data-theme={wished}>
        <Head shown={shown} chapter={chapter} go={go} onTheme={switchTheme} />
        <main class="wide" id={`chapter-${chapter}-main`}>
          <h1 ref={heading} tabIndex={-1}>{title}</h1>
          <View parts={parts} key={chapter} />
          {next !== undefined && (
            <p class="onward"><ChapterLink chapter={next} go={go}>Next: {ALL[next].title}</ChapterLink></p>
          )}
        </main>
        <footer class="wide"><p class="facts">{[...(ofPage || source.kind !== "baked" ? content.facts : []), `minifa ${content.version}`].join(" · ")}</p></footer>
        <p class="hush" role="status">{said}</p>
        <TableDialog shown={table} place={chapter} onClose={() => setTable(null)} />
      </div>
    </AppContext.Provider>
  );
}
