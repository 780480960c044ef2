import { byId, say, show } from "../../core/page/dom.js";
import { span } from "../../core/page/routes.js";
import { ended, isolated, number, plural, text } from "../../core/words/text.js";

/** The line about the server's pictures of the recent past, with its switch and its button. Uses no connection. */
export class MemoryView {
  #line = byId("memory", HTMLElement);
  #words = byId("fact-memory", HTMLElement);
  #size = [byId("memory-size", HTMLElement), byId("fact-memory-size", HTMLElement)];
  #switch = byId("memory-switch", HTMLButtonElement);
  #forget = byId("memory-forget", HTMLButtonElement);

  /** @param {{want: (wanted: boolean) => void, forget: () => void}} actions */
  constructor(actions) {
    this.#switch.addEventListener("click", () => actions.want(this.#switch.getAttribute("aria-pressed") !== "true"));
    this.#forget.addEventListener("click", () => actions.forget());
  }

  /** @param {import("./memory.js").Memory} memory */
  render({ wanted, bounds, kept }) {
    const [row, size] = this.#size;
    show(this.#line, bounds !== null);
    show(row, bounds !== null);
    if (!bounds) return;
    say(size, `${megabytes(kept?.bytes ?? 0)} / ${megabytes(bounds.bytes)}`);
    this.#switch.setAttribute("aria-pressed", String(wanted));
    this.#forget.disabled = !wanted || !kept?.pictures;
    say(this.#words, memoryWords(wanted, bounds, kept));
  }
}

/**
 * @param {boolean} wanted @param {{seconds: number, bytes: number}} bounds
 * @param {import("../../core/live/messages.d.ts").Recalled|null} kept
 */
function memoryWords(wanted, bounds, kept) {
  if (!wanted) return text("facts.memory_off");
  const most = text("facts.memory_most", { time: span(bounds.seconds * 1000) });
  if (!kept?.pictures) return `${text("facts.nothing_yet")} ${most}`;
  return `${ended(plural("facts.pictures", kept.pictures))} ${most}`;
}

/** @param {number} bytes */
function megabytes(bytes) {
  const millions = bytes / 1e6;
  return isolated(`${number(millions, millions < 10 && millions % 1 ? 1 : 0)}\u00a0MB`);
}
