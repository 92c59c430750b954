import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Step(_: ChapterProps): JSX.Element {
  return <p>Chapter 2.</p>;
}
