// A Python script that makes the same run with minifa's public classes; tests/explorer/test_live.py runs such scripts.

import type { RunParams } from "./types";

const CLASSES: Record<string, string> = {
  bp: "BP", fa: "FA", usf: "USF", frsf: "FRSF", brsf: "BRSF", dfa: "DFA", kolen_pollack: "KolenPollack",
};
const PER_LINE = 8; // painted cells

function noiseLines({ noise, seed }: RunParams): string[] {
  return [
    `wrong = int(${noise} * len(y) + 0.5)  # so many training labels are replaced by others`,
    `rng = mf.rng.generator(${seed}, "data", "wrong labels")`,
    "rows = rng.permutation(len(y))[:wrong]",
    "others = (y + rng.integers(1, 10, len(y))) % 10",
    "y[rows] = others[rows]",
  ];
}

function paintLines(layer: string, cells: readonly (readonly [number, number])[]): string[] {
  const rows = Array.from({ length: Math.ceil(cells.length / PER_LINE) }, (_, i) => cells.slice(i * PER_LINE, (i + 1) * PER_LINE));
  return [
    `B = rule.B["${layer}"].copy()`,
    "cells = {  # of the flattened matrix",
    ...rows.map((row) => `    ${row.map(([index, value]) => `${index}: ${value}`).join(", ")},`),
    "}",
    "for index, value in cells.items():",
    "    B.flat[index] = value",
    `rule.set_feedback("${layer}", B)`,
  ];
}

/** The script of a run of whole epochs on the digits. */
export function pythonFor(params: RunParams, epochs: number): string {
  const { rule, lr, hidden, seed, noise, angle } = params;
  const painted = Object.entries(params.feedback).filter(([, cells]) => cells.length);
  const options = [rule === "bp" ? "" : `seed=${seed}`, angle === null ? "" : `angle=${angle}`].filter(Boolean).join(", ");
  const decay = rule === "kolen_pollack" ? ", weight_decay=0.01" : "";
  return [
    "import minifa as mf",
    "",
    'data = mf.data.load("digits")',
    "x, y = data.train.x, data.train.y.copy()",
    ...(noise ? noiseLines(params) : []),
    "",
    `layers = mf.models.mlp(data.input_shape, data.n_out, hidden=(${hidden.join(", ")}${hidden.length > 1 ? "" : ","}))`,
    `net = mf.Network(layers, seed=${seed}, input_shape=data.input_shape)`,
    `rule = mf.rules.${CLASSES[rule] ?? rule}(${options}).attach(net)`,
    ...(rule === "brsf" ? ["# The page draws other magnitudes than minifa, so the results differ a little."] : []),
    ...painted.flatMap(([layer, cells]) => paintLines(layer, cells)),
    "",
    `optimizer = mf.SGD(lr=${lr}${decay})`,
    `trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), optimizer, seed=${seed})`,
    `trainer.fit(mf.data.Examples(x, y), epochs=${epochs}, batch_size=8)`,
    'print(f"{trainer.evaluate(data.test)[\'accuracy\']:.4f} of the test digits are right")',
    "",
  ].join("\n");
}
