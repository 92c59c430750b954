// The source "baked": what the page itself contains, computed by minifa when the page was written.

import type { Content, Film, FilmParams, RunParams, Snapshot, Source } from "./types";

export function bakedSource(content: Content): Source {
  return {
    kind: "baked",
    async film({ rule }: FilmParams): Promise<Film> {
      const film = content.films[rule];
      if (!film) throw new Error(`This page has no step of the rule ${rule}.`);
      return film;
    },
    async *run({ rule }: RunParams): AsyncIterable<Snapshot> {
      yield* content.runs[rule] ?? [];
    },
    can({ rule }: RunParams): true | string {
      return rule in content.runs || `This page has no run of the rule ${rule}.`;
    },
  };
}
