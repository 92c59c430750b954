// An array as a table, in a dialog.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { IconButton } from "./controls";
import { gridOf } from "./grid";
import { rangeOf } from "./heat";
import { clamp, exact, times } from "./numbers";
import type { Arr } from "./types";

/** Opens when `shown` comes, and when `place` changes, closes. */
export function TableDialog({ shown, place, onClose }: { shown: { array: Arr; name: string } | null; place: unknown; onClose: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (shown) dialog.current?.showModal();
  }, [shown]);
  useEffect(() => dialog.current?.close(), [place]);
  return (
    <dialog ref={dialog} aria-label={shown ? `${shown.name} as a table` : "Table"} onClose={onClose}>
      {shown && (
        <>
          <div class="bar">
            <h2>{shown.name} <span class="soft">{times(shown.array.shape)}</span></h2>
            <IconButton icon="close" label="Close" onClick={() => dialog.current?.close()} />
          </div>
          <p class="soft">from {rangeOf(shown.array)}</p>
          <ArrayTable array={shown.array} />
        </>
      )}
    </dialog>
  );
}

const MOST_TABLE = 20_000; // cells of a table; more would stop the browser

/** The array as a real table, one table for each leading index of more than two dimensions. */
function ArrayTable({ array }: { array: Arr }): JSX.Element {
  const { shape, values } = array;
  const columns = shape.length ? shape[shape.length - 1] : 1;
  const rows = shape.length > 1 ? shape[shape.length - 2] : 1;
  const each = Math.max(1, rows * columns);
  const [first, setFirst] = useState(0);
  const tables = Math.ceil(values.length / each);
  const shown = Math.min(rows, Math.floor(MOST_TABLE / Math.max(1, columns)));
  const grid = gridOf(shape);
  const prefix = (table: number) => grid.label(table * each).slice(1, -1).split(", ").slice(0, -2).join(", ");
  return (
    <div>
      {tables > 1 && (
        <label>
          Index {" "}
          <input type="number" min={0} max={tables - 1} value={first} onInput={(event) => setFirst(clamp(Math.round(Number(event.currentTarget.value)) || 0, 0, tables - 1))} />
          {" "} of {tables}: [{prefix(first)}, :, :]
        </label>
      )}
      <div class="scroll" tabIndex={0} role="group" aria-label="Table of values">
        <table>
          <thead>
            <tr><td />{Array.from({ length: columns }, (_, c) => <th scope="col">{c}</th>)}</tr>
          </thead>
          <tbody>
            {Array.from({ length: shown }, (_, r) => (
              <tr>
                <th scope="row">{r}</th>
                {Array.from({ length: columns }, (_, c) => <td>{exact(values[first * each + r * columns + c], array.single)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown < rows && <p class="note">{`The first ${shown} of ${rows} rows.`}</p>}
    </div>
  );
}
