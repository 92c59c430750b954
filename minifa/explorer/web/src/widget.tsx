// The front end of `mf.explore` in a notebook: anywidget calls `render` with a model, which carries messages to the kernel
// and back. Requests and answers are those of minifa/explorer/session.py.

import { render as draw } from "preact";
import { Page } from "./app";
import { decodeContent } from "./content";
import { type Asking, type Message, asSentence, serveSource } from "./serve";
import { messageOf } from "./numbers";
import css from "./styles";

/** What is used of anywidget's model. */
interface Model {
  send(message: unknown): void;
  on(event: "msg:custom", take: (message: Answer) => void): void;
  off(event: "msg:custom", take: (message: Answer) => void): void;
}
type Answer = Message & { id?: unknown };

const CHAPTERS = [2, 5]; // one step, and training
const ASKING = "The kernel is being asked. It answers when the running cell has ended; after a restart, run the cell with mf.explore again.";

/** The kernel, asked by messages. */
class Kernel implements Asking {
  readonly gone = ASKING;
  private readonly name = Math.random().toString(36).slice(2); // several views of a widget get each other's answers
  private count = 0;
  private readonly waiting = new Map<unknown, (message: Message) => void>();
  private readonly take = (message: Answer) => this.waiting.get(message?.id)?.(message);

  constructor(private readonly model: Model) {
    model.on("msg:custom", this.take);
  }

  async *ask(command: string, params: unknown, signal?: AbortSignal): AsyncGenerator<Message> {
    const id = `${this.name} ${++this.count}`;
    const answers: Message[] = [];
    let wake = () => {};
    this.waiting.set(id, (message) => {
      answers.push(message);
      wake();
    });
    const abort = () => wake();
    signal?.addEventListener("abort", abort);
    let ended = false;
    this.model.send({ id, command, params });
    try {
      while (!signal?.aborted) {
        const message = answers.shift();
        if (message === undefined) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        ended = Boolean(message.content || message.film || message.done || message.stopped || message.error !== undefined);
        if (message.error !== undefined) throw new Error(asSentence(message.error));
        yield message;
        if (ended) return;
      }
    } finally {
      this.waiting.delete(id);
      signal?.removeEventListener("abort", abort);
      if (!ended && command === "run") this.stop();
    }
  }

  private stop(): void {
    this.model.send({ id: `${this.name} stop`, command: "stop" });
  }

  /** The view is gone. */
  close(): void {
    this.model.off("msg:custom", this.take);
    this.stop();
  }
}

/** Whether the notebook is dark, whatever the system is: by the brightness of what lies behind the widget. */
function isDark(place: Element | null): boolean | undefined {
  for (let one = place; one; one = one.parentElement) {
    const [red, green, blue, alpha = 1] = (getComputedStyle(one).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    if (alpha > 0.5 && blue !== undefined) return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 110;
  }
  return undefined;
}

/** Shows the page in a notebook. The shadow root keeps the styles of the page and of the notebook apart. */
function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const kernel = new Kernel(model);
  const root = el.shadowRoot ?? el.attachShadow({ mode: "open" });
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys, such as the arrows, do not act on its cells here
  const style = document.createElement("style");
  style.textContent = `${css}\n.mf { min-height: 0; }`; // the height of what it shows, not of the window
  const place = document.createElement("div");
  place.textContent = ASKING;
  root.replaceChildren(style, place);
  const open = async () => {
    for await (const message of kernel.ask("describe", {})) {
      const content = decodeContent(message.content);
      place.replaceChildren();
      const dark = isDark(el);
      draw(
        <Page content={content} source={serveSource(kernel, content, "widget")} live="The network is trained by the kernel." only={CHAPTERS}
          inside={root} theme={dark === undefined ? undefined : dark ? "dark" : "light"} />,
        place,
      );
    }
  };
  open().catch((error: unknown) => {
    place.textContent = messageOf(error);
  });
  return () => {
    draw(null, place);
    kernel.close();
  };
}

export default { render };
