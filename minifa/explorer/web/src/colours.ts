// Colours of numbers (blue below zero, orange above, the card's colour for zero), roles of symbols, styles of rules.

import { clamp } from "./numbers";

export type Theme = "light" | "dark";

const ENDS = {
  light: ["#08386b", "#2f80bd", "#a9cfe8", "#ffffff", "#f5c396", "#cf6a1c", "#6b2c05"],
  dark: ["#bfe6ff", "#4fa8e0", "#1f4f75", "#1b1f26", "#80441b", "#f08a45", "#ffdcb8"],
};
const GREYS = { light: ["#ffffff", "#1c222b"], dark: ["#1b1f26", "#f4f2ee"] }; // images: 0 to their largest value
const STEPS = 256;

export interface Shade { rgb: readonly number[]; ink: string }

function rampOf(ends: string[]): Shade[] {
  const corners = ends.map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const at = (i / STEPS) * (corners.length - 1);
    const low = Math.min(Math.floor(at), corners.length - 2);
    const rgb = corners[low].map((value, k) => Math.round(value + (corners[low + 1][k] - value) * (at - low)));
    const [red, green, blue] = rgb.map((value) => (value / 255) ** 2.2);
    return { rgb, ink: 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff" };
  });
}

const RAMPS = { light: rampOf(ENDS.light), dark: rampOf(ENDS.dark) };
const GREY_RAMPS = { light: rampOf(GREYS.light), dark: rampOf(GREYS.dark) };
const UNKNOWN: Shade = { rgb: [136, 136, 136], ink: "#000000" };

/** The colour of a number on the diverging scale from -limit to limit. */
export function shade(value: number, limit: number, theme: Theme): Shade {
  if (Number.isNaN(value)) return UNKNOWN;
  return RAMPS[theme][Math.round(((clamp(limit ? value / limit : 0, -1, 1) + 1) * STEPS) / 2)];
}

/** The colour of a pixel of an image, on the grey scale from 0 to limit. */
export function grey(value: number, limit: number, theme: Theme): Shade {
  if (Number.isNaN(value)) return UNKNOWN;
  return GREY_RAMPS[theme][Math.round(clamp(limit ? value / limit : 0, 0, 1) * STEPS)];
}

/** The diverging scale as a CSS gradient, for legends. */
export function gradient(theme: Theme): string {
  const stops = RAMPS[theme].filter((_, i) => i % 32 === 0).map((one) => `rgb(${one.rgb.join(",")})`);
  return `linear-gradient(to right, ${stops.join(",")})`;
}

// Each rule has a colour, a dash and a marker, the same in every chapter; any two of 32 rules differ in at least two of the
// three, and none has the hues of the diverging scale or the grey of the curves that are not rules.
const CURVES = [
  ["#1b6e4b", "#6fd3a0"], ["#8030a0", "#d9a2f2"], ["#000000", "#f4f2ee"], ["#946400", "#f2be4a"],
  ["#b0306a", "#ff9ac4"], ["#00696b", "#5fd4d6"], ["#5d6b1a", "#c3d26a"], ["#5a4a42", "#cdb9ad"],
];
const SLATE = ["#5b6a80", "#9fb0c8"];
const DASHES = ["", "7 4", "2 4", "9 3 2 3"];
export const MARKERS = ["circle", "square", "triangle", "diamond", "cross", "plus", "star", "wye"] as const;
const USUAL = ["bp", "fa", "usf", "dfa", "frsf", "shallow", "brsf", "kolen_pollack", "weight_mirror", "sdfa", "drtp", "pepita"];

export interface LineStyle { colour: string; dash: string; marker: (typeof MARKERS)[number] }

const both = ([light, dark]: string[]) => `light-dark(${light}, ${dark})`;

function lineStyle(place: number): LineStyle {
  const round = Math.floor(place / CURVES.length);
  const marker = MARKERS[(place + 2 * round) % MARKERS.length];
  return { colour: both(CURVES[place % CURVES.length]), dash: DASHES[(place + round) % DASHES.length], marker };
}

/** The style of a rule. The usual rules have theirs on every page, the others by their order among the page's rules. */
export function ruleStyle(name: string, rules: readonly { name: string }[]): LineStyle {
  const others = rules.map((one) => one.name).filter((one) => !USUAL.includes(one));
  return lineStyle([...USUAL, ...others].indexOf(name));
}

/** The style of a curve that is not a rule's: a layer, a depth, an earlier run. */
export const plainStyle = (place: number): LineStyle =>
  ({ colour: both(SLATE), dash: DASHES[place % DASHES.length], marker: MARKERS[place % MARKERS.length] });
