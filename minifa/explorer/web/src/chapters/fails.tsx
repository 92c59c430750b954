import type { JSX } from "preact";
import type { ChapterProps } from "../app";

export function Fails(_: ChapterProps): JSX.Element {
  return <p>Chapter 4.</p>;
}
