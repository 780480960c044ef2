import { goodTone } from "../../core/page/tones.js";
import { showHint } from "../../core/stage/hintline.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").ReadingState} ReadingState */

// Milliseconds for which the end of a text is shown
const END_SHOWN = 4000;

// Text that is cut off continues on that side. @type {Record<string, string>}
const WORDS = {
  dark: "guide.dark",
  blurred: "guide.hold_still",
  nothing: "guide.no_text",
  back: "guide.too_close",
  closer: "guide.too_far",
  left_edge: "guide.left",
  right_edge: "guide.right",
  upper_edge: "guide.up",
  lower_edge: "guide.move_down",
  left: "guide.left",
  right: "guide.right",
  up: "guide.up",
  down: "guide.down",
  good: "guide.good",
};

/** A text that is read over several pictures. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const reading = new Reading(page);
  page.take(["reading"], (state) => reading.read(state));
  page.take(["response", "error"], () => reading.end(true));
  page.when("facts", ({ camera, socket, held }) => {
    const on = ["on", "resting", "elsewhere"].includes(camera) && socket === "open" && !held;
    if (!on) reading.end();
  });
  // For somebody who sees little
  page.when("running", () => {
    page.stage.renderRead(Boolean(page.voice?.wanted || page.find("guidance")?.wanted));
  });
  page.tools.set("read", { words: "chat.tool_read" });
  page.route("read", () => page.chat.composer.suggestions.text);
  page.offer("reading", reading);
}

/** Shows what helps to read a text on, or its end. */
class Reading {
  /** A text is read: the hints are about that. */
  on = false;

  // It came to its end.
  #over = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #ending;
  #page;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
  }

  /** @param {ReadingState} state */
  read({ hint, ended }) {
    this.on = true;
    this.#over = ended;
    clearTimeout(this.#ending);
    this.#page.find("guidance")?.rest();
    const words = ended ? text("guide.read_to_end") : hint ? text(WORDS[hint] ?? "") : "";
    if (ended) goodTone();
    // Between two pieces of the text
    const spoken = words !== "" && this.#page.say(words, true, true);
    showHint(words, spoken, ended ? "good" : (hint ?? ""));
    if (ended) this.#ending = setTimeout(() => this.end(), END_SHOWN);
  }

  /** Stop reading. @param {boolean} [answered] the end of a text stays for a moment */
  end(answered = false) {
    if (!this.on || (answered && this.#over)) return;
    this.on = this.#over = false;
    clearTimeout(this.#ending);
    this.#page.find("guidance")?.rest();
    showHint("");
  }
}
