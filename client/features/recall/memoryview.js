import { byId, say, show } from "../../core/page/dom.js";
import { span } from "../../core/page/routes.js";
import { ended, isolated, joined, number, plural, text } from "../../core/words/text.js";

/** The line about the server's pictures of the recent past, with its switch and its button. Uses no connection. */
export class MemoryView {
  #line = byId("memory", HTMLElement);
  #words = byId("fact-memory", HTMLElement);
  #switch = byId("memory-switch", HTMLButtonElement);
  #forget = byId("memory-forget", HTMLButtonElement);

  /** @param {{want: (wanted: boolean) => void, forget: () => void}} actions */
  constructor(actions) {
    this.#switch.addEventListener("click", () => actions.want(this.#switch.getAttribute("aria-pressed") !== "true"));
    this.#forget.addEventListener("click", () => actions.forget());
  }

  /** @param {import("./memory.js").Memory} memory */
  render({ wanted, bounds, kept }) {
    show(this.#line, bounds !== null);
    if (!bounds) return;
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
  const values = { time: span(bounds.seconds * 1000), size: megabytes(bounds.bytes) };
  const most = text("facts.memory_most", values);
  if (!kept?.pictures) return `${text("facts.nothing_yet")} ${most}`;
  return `${ended(joined([plural("facts.pictures", kept.pictures), megabytes(kept.bytes)]))} ${most}`;
}

/** @param {number} bytes */
function megabytes(bytes) {
  const millions = bytes / 1e6;
  return isolated(`${number(millions, millions < 10 && millions % 1 ? 1 : 0)}\u00a0MB`);
}
