import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Twin(_: ChapterProps): JSX.Element {
  return <p>Chapter 1.</p>;
}
