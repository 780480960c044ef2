import { made, say } from "../../core/page/dom.js";
import { timeOfDay, whenWords } from "./words.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("./desk.js").Order} Order */

const HOUR = 3_600_000;
/** @type {[string, number][]} words, and milliseconds from now; 0: no end */
const ENDS = [
  ["watch.until_stop_option", 0],
  ["page.for_hour", HOUR],
  ["page.for_8_hours", 8 * HOUR],
  ["page.for_24_hours", 24 * HOUR],
];

/** The times in which a watch alerts, folded away. */
export class When {
  element = made("details", { className: "when" });

  #summary = made("summary");
  #from = made("input", { type: "time" });
  #to = made("input", { type: "time" });
  #onChange;

  /** @param {(change: Partial<Order>) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    const times = [this.#time(this.#from, text("watch.from")), this.#time(this.#to, text("watch.to"))];
    this.element.append(this.#summary, made("div", {}, ...times, this.#end()));
  }

  /** @param {[number, number]|undefined} hours @param {number|undefined} until */
  render(hours, until) {
    say(this.#summary, whenWords(hours, until));
    // Not while somebody chooses.
    if (this.element.contains(document.activeElement)) return;
    this.#from.value = hours ? timeOfDay(hours[0]) : "";
    this.#to.value = hours ? timeOfDay(hours[1]) : "";
  }

  /** @param {HTMLInputElement} input @param {string} name */
  #time(input, name) {
    input.addEventListener("change", () => {
      const [from, to] = [this.#from, this.#to].map(
        ({ value }) => value && Number(value.slice(0, 2)) * 60 + Number(value.slice(3, 5)),
      );
      if (typeof from === "number" && typeof to === "number") this.#onChange({ hours: [from, to] });
      else if (from === to) this.#onChange({ hours: undefined });
    });
    return made("label", {}, `${name} `, input);
  }

  #end() {
    const select = made("select");
    select.setAttribute("aria-label", text("watch.end_of"));
    for (const [words, ms] of ENDS) select.add(new Option(text(words), String(ms)));
    select.addEventListener("change", () => {
      const ms = Number(select.value);
      this.#onChange({ until: ms ? Date.now() + ms : undefined });
    });
    return select;
  }
}
