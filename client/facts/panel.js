import { byId, say } from "../page/dom.js";
import { text } from "../words/text.js";
import { MemoryView } from "./memoryview.js";
import { details } from "./words.js";

/** The details of the state. Loaded when needed, not with the page. Uses no connection. */
export class FactsPanel {
  #memory;
  /** @type {[keyof ReturnType<typeof details>, HTMLElement][]} */
  #lines = [
    ["camera", byId("fact-camera", HTMLElement)],
    ["connection", byId("fact-connection", HTMLElement)],
    ["engine", byId("fact-engine", HTMLElement)],
    ["sending", byId("fact-sending", HTMLElement)],
    ["data", byId("fact-data", HTMLElement)],
  ];

  /** @param {{want: (wanted: boolean) => void, forget: () => void}} actions see `MemoryView` */
  constructor(actions) {
    this.#memory = new MemoryView(actions);
  }

  /** @param {import("../live/facts.js").Facts} facts @param {import("../live/memory.js").Memory} memory */
  render(facts, memory) {
    const lines = details(facts);
    for (const [name, element] of this.#lines) say(element, lines[name] || text("facts.nothing_yet"));
    this.#memory.render(memory);
  }
}
