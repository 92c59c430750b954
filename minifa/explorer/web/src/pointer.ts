// Pointers and keys on pictures.

import type { TargetedPointerEvent } from "preact";
import { useRef } from "preact/hooks";

/** Rows down and columns across of an arrow key. */
export const ARROWS: Record<string, readonly [down: number, across: number]> = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};

/** Whether a key is pressed alone, so that it is no shortcut of the browser. */
export const isAlone = (event: KeyboardEvent) => !(event.ctrlKey || event.metaKey || event.altKey);

/** Where an event is in its element, as fractions of the width and height, also where the style sheet shrinks it. */
export function fractionAt(event: MouseEvent): [across: number, down: number] {
  const box = (event.currentTarget as Element).getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

/** Handlers for a picture on which a press and a drag move something. */
export function useDrag(onMove: (event: PointerEvent) => void, onRelease?: () => void) {
  const isHeld = useRef(false);
  return {
    onPointerDown: (event: TargetedPointerEvent<SVGSVGElement>) => {
      isHeld.current = true;
      event.currentTarget.setPointerCapture(event.pointerId);
      onMove(event);
    },
    onPointerMove: (event: PointerEvent) => isHeld.current && onMove(event),
    onPointerUp: () => {
      if (isHeld.current) onRelease?.();
      isHeld.current = false;
    },
    onPointerCancel: () => (isHeld.current = false),
  };
}
