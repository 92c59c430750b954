// Addresses of the page, after "#": chapter-0 to chapter-5, each with more parts after "/"; the addresses of the first
// explorer, step/fa/11 and training/fa/linear2/100, open chapters 2 and 3.

export interface Address {
  chapter: number;
  /** The parts after the first, decoded. */
  parts: string[];
}

export const CHAPTERS = 6;

export function readAddress(text: string): Address {
  let parts: string[];
  try {
    parts = text.replace(/^#/, "").split("/").map(decodeURIComponent);
  } catch {
    return { chapter: 0, parts: [] }; // not an address of this page
  }
  const [first, ...rest] = parts;
  if (first === "step") return { chapter: 2, parts: rest };
  if (first === "training") return { chapter: 3, parts: rest };
  const chapter = /^chapter-(\d)$/.exec(first)?.[1];
  return chapter !== undefined && Number(chapter) < CHAPTERS ? { chapter: Number(chapter), parts: rest } : { chapter: 0, parts: [] };
}

export const writeAddress = (...parts: (string | number)[]) => parts.map(encodeURIComponent).join("/");
