// A run of a source as the state of a component.

import { useEffect, useState } from "preact/hooks";
import { messageOf } from "./numbers";
import type { RunParams, Snapshot, Source } from "./types";

export interface Run {
  /** While a run is "waiting" for its first snapshot, those of the run before. */
  snapshots: readonly Snapshot[];
  /** Those of the snapshots. */
  params: RunParams | null;
  state: "waiting" | "running" | "done" | "failed";
  /** Why it failed, as a sentence. */
  message: string;
}

const WAITING: Run = { snapshots: [], params: null, state: "waiting", message: "" };
const SHOW_EVERY_MS = 60;

/** Runs whenever the parameters change, or `attempt`; null: no run. The run before is stopped. */
export function useRun(source: Source, params: RunParams | null, attempt = 0): Run {
  const [run, setRun] = useState(WAITING);
  const key = JSON.stringify(params);
  useEffect(() => {
    if (!params) return undefined;
    const stop = new AbortController();
    const snapshots: Snapshot[] = [];
    const show = (state: Run["state"], message = "") =>
      !stop.signal.aborted && setRun({ snapshots: [...snapshots], params, state, message });
    const follow = async () => {
      let shown = 0;
      for await (const snapshot of source.run(params, stop.signal)) {
        if (stop.signal.aborted) return; // leaves the iteration, which stops the run
        snapshots.push(snapshot);
        if (performance.now() - shown < SHOW_EVERY_MS) continue;
        shown = performance.now();
        show("running");
      }
      show("done");
    };
    follow().catch((error: unknown) => show("failed", messageOf(error)));
    return () => stop.abort();
  }, [source, key, attempt]);
  return JSON.stringify(run.params) === key ? run : { ...run, state: "waiting" };
}
