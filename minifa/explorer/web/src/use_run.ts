// A run of a source as the state of a component.

import { useEffect, useState } from "preact/hooks";
import type { RunParams, Snapshot, Source } from "./types";

export interface Run {
  snapshots: readonly Snapshot[];
  state: "waiting" | "running" | "done" | "failed";
  /** Why it failed, as a sentence. */
  message: string;
}

const WAITING: Run = { snapshots: [], state: "waiting", message: "" };
const SHOW_EVERY_MS = 60;

/** Runs whenever the parameters change; null: no run. The run before is stopped. */
export function useRun(source: Source, params: RunParams | null): Run {
  const [run, setRun] = useState(WAITING);
  const key = JSON.stringify(params);
  useEffect(() => {
    if (!params) return undefined;
    let stopped = false;
    const ending = new AbortController(); // a run may also be waiting for its next snapshot
    const snapshots: Snapshot[] = [];
    const show = (state: Run["state"], message = "") => !stopped && setRun({ snapshots: [...snapshots], state, message });
    const follow = async () => {
      let shown = 0;
      for await (const snapshot of source.run(params, ending.signal)) {
        if (stopped) return; // leaves the iteration, which stops the run
        snapshots.push(snapshot);
        if (performance.now() - shown < SHOW_EVERY_MS) continue;
        shown = performance.now();
        show("running");
      }
      show("done");
    };
    follow().catch((error: unknown) => show("failed", error instanceof Error ? error.message : String(error)));
    return () => {
      stopped = true;
      ending.abort();
    };
  }, [source, key]);
  return run;
}
