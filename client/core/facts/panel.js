import { byId, say } from "../page/dom.js";
import { text } from "../words/text.js";
import { details } from "./words.js";

/** The state in words, and its numbers. Loaded when needed, not with the page. Uses no connection. */
export class FactsPanel {
  /** @type {[keyof ReturnType<typeof details>, HTMLElement][]} */
  #lines = [
    ["camera", byId("fact-camera", HTMLElement)],
    ["connection", byId("fact-connection", HTMLElement)],
    ["engine", byId("fact-engine", HTMLElement)],
    ["sending", byId("fact-sending", HTMLElement)],
    ["received", byId("fact-received", HTMLElement)],
    ["data", byId("fact-data", HTMLElement)],
  ];

  constructor() {
    // In a low window they would open below what is seen.
    const numbers = this.#lines[this.#lines.length - 1][1].closest("details");
    numbers?.addEventListener("toggle", () => numbers.open && numbers.scrollIntoView({ block: "end" }));
  }

  /** @param {import("../live/facts.js").Facts} facts */
  render(facts) {
    const lines = details(facts);
    for (const [name, element] of this.#lines) say(element, lines[name] || text("facts.nothing_yet"));
  }
}
