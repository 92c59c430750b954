// The training runs of the page's rules. A baked page has them; the engine behind a page makes them when they are needed.

import type { ComponentChildren, JSX } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { AppContext } from "./context";
import { messageOf } from "./numbers";
import type { Content, RunParams, Snapshot, Source } from "./types";

/** The values of a session that hold where a page asks for nothing else (minifa/explorer/session.py). */
export interface Defaults { rule: string; lr: number; hidden: number[] | number | null; seed: number; updates: number; train_updates: number }

export const hasRuns = (content: Content) => Object.values(content.runs).some((run) => run.length);

/** The run of a rule with the session's own values. */
export function ownRun(rule: string, content: Content): RunParams {
  const { lr, hidden, seed, train_updates: updates } = (content as Content & { defaults: Defaults }).defaults;
  return { rule, lr, hidden: hidden === null ? [] : [hidden].flat(), seed, updates, noise: 0, angle: null, feedback: {} };
}

/** Makes the run of every rule that has none yet. A rule that cannot train this network stays without; tells how far it is. */
async function makeRuns(content: Content, source: Source, tell: (text: string) => void, signal: AbortSignal): Promise<string> {
  let problem = "";
  for (const { name } of content.rules.filter((one) => !content.runs[one.name])) {
    const run: Snapshot[] = [];
    try {
      for await (const snapshot of source.run(ownRun(name, content), signal)) {
        run.push(snapshot);
        tell(`Training under ${name}: ${snapshot.update} updates.`);
      }
    } catch (error) {
      problem = messageOf(error);
    }
    if (signal.aborted) return problem;
    if (run.length > 1) content.runs[name] = run;
  }
  return problem;
}

/** Its children once there are runs; until then, how far they are. */
export function FirstRuns({ children }: { children: ComponentChildren }): JSX.Element {
  const { content, source } = useContext(AppContext);
  const [state, setState] = useState({ done: source.kind === "baked" || hasRuns(content), text: "The engine trains." });
  useEffect(() => {
    if (state.done) return undefined;
    const leaving = new AbortController();
    makeRuns(content, source, (text) => setState({ done: false, text }), leaving.signal).then((problem) => {
      if (!leaving.signal.aborted) setState({ done: hasRuns(content), text: problem });
    });
    return () => leaving.abort();
  }, [content, source]);
  return state.done ? <>{children}</> : <p class="story" role="status">{state.text}</p>;
}
