// Chapter 3: why a random way back works, in three parts. The addresses training/... open the third.

import type { JSX } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import type { ChapterProps } from "../app";
import { AppContext } from "../context";
import { FirstRuns } from "../first_runs";
import { Bowl } from "./bowl";
import { Portrait } from "./portrait";
import { Training } from "./training";

/** Scrolls to the third part when the page is opened there, or comes there from another address; not if it is in view,
 * as when its own controls change the address. */
function useScroll(isTraining: boolean) {
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!isTraining) return undefined;
    const scroll = () => {
      const { top = 0, bottom = 0 } = place.current?.getBoundingClientRect() ?? {};
      if (top > innerHeight - 80 || bottom < 0) place.current?.scrollIntoView();
    };
    let frame = requestAnimationFrame(() => (frame = requestAnimationFrame(scroll))); // after the page's own scroll to the top
    return () => cancelAnimationFrame(frame);
  }, [isTraining]);
  return place;
}

export function Why({ parts }: ChapterProps): JSX.Element {
  const { address } = useContext(AppContext);
  const isTraining = address.startsWith("training/");
  const third = useScroll(isTraining);
  return (
    <>
      <p class="lead">A random matrix in the place of W gives a wrong direction. Three pictures say why that can be enough.</p>
      <section aria-labelledby="why-1">
        <h2 id="why-1">1. A wrong direction still goes down</h2>
        <p class="sub">Turn the arrow. As long as it is less than 90° from the steepest descent, a small enough step lowers the loss.</p>
        <Bowl />
      </section>
      <section aria-labelledby="why-2">
        <h2 id="why-2">2. The weights turn until the direction is right</h2>
        <p class="sub">
          The smallest network with feedback alignment has two weights, y = w₁ w₂, and a fixed number b on the way back. Drag the start.
        </p>
        <Portrait />
      </section>
      <section aria-labelledby="why-3" ref={third}>
        <h2 id="why-3">3. The same in a whole network: W turns towards B</h2>
        <p class="sub">A training run of the network of this page under each rule, from the same initial weights and with the same batches. Why does W turn? The error that B sends changes the weights below; the activities that these then produce enter the update of W, and add the direction of B to it.</p>
        <FirstRuns>
          <Training parts={isTraining ? parts : []} />
        </FirstRuns>
      </section>
    </>
  );
}
