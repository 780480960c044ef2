import { openSound } from "../../core/page/notes.js";
import { settings } from "../../core/page/settings.js";
import { goodTone } from "../../core/page/tones.js";
import { text } from "../../core/words/text.js";
import { aroundLines, bearingWords } from "./directions.js";

/** @typedef {import("../../core/live/messages.d.ts").Scanned} Scanned */
/** @typedef {import("../../core/live/messages.d.ts").Bearing} Bearing */

// The turn is told again after so many degrees; between, it is only shown.
const TELL_EVERY = 90;

/** Shows and tells what is around a person who turns. Loaded with the first wish. */
export class Around {
  #hooks;
  #quarter = 0;
  #count = 0;

  /**
   * @param {Object} hooks
   * @param {(text: string) => boolean} hooks.say speaks it, if the user wants that; true when wanted
   * @param {(text: string) => void} hooks.tell speaks it, or has a screen reader do so
   * @param {(text: string, quiet: boolean) => void} hooks.show quiet: no screen reader says it
   * @param {(entry: HTMLElement) => void} hooks.add puts it below the answers
   * @param {(text: string) => void} hooks.note
   * @param {(thing: string) => void} hooks.offer offers to lead there; "" for no more
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /** The user has tapped, which browsers want for sound. */
  begin() {
    openSound();
    this.#quarter = this.#count = 0;
    this.#hooks.offer("");
    this.#turn(0, 0, true);
  }

  /** @param {Scanned} scanned @returns {boolean} it has ended */
  receive(scanned) {
    const { turned, count, end } = scanned;
    if (end) {
      this.#end(scanned);
      return true;
    }
    const { help } = settings();
    if (count > this.#count && (help === "tones" || help === "spoken")) goodTone();
    this.#count = count;
    const quarter = Math.floor(Math.abs(turned) / TELL_EVERY);
    const told = quarter > this.#quarter;
    this.#quarter = Math.max(quarter, this.#quarter);
    this.#turn(Math.abs(turned), count, told);
    return false;
  }

  /** @param {Bearing} bearing */
  answer(bearing) {
    const words = bearingWords(bearing);
    this.#hooks.note(words);
    this.#hooks.say(words);
    this.#hooks.offer(bearing.found?.kind === "thing" ? bearing.thing : "");
  }

  /** @param {number} degrees @param {number} count @param {boolean} told */
  #turn(degrees, count, told) {
    const words = text("scan.turning", { degrees, number: count });
    const spoken = told && settings().help === "spoken" && this.#hooks.say(words);
    this.#hooks.show(words, !told || spoken);
  }

  /** @param {Scanned} scanned */
  #end(scanned) {
    const lines = aroundLines(scanned);
    const entry = document.createElement("article");
    entry.className = "turn around";
    const title = document.createElement("p");
    title.className = "asked";
    title.dir = "auto";
    title.textContent = text("scan.title");
    const list = document.createElement("ul");
    list.append(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line, dir: "auto" })));
    entry.append(title, list);
    this.#hooks.add(entry);
    this.#hooks.tell(lines.join(" "));
  }
}
