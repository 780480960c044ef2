import { byId } from "../../core/page/dom.js";
import { change, settings } from "../../core/page/settings.js";
import { ended, text } from "../../core/words/text.js";

/**
 * By order: a button's id, true when it is pressed afterwards, and what the page says.
 * @type {Map<string, [string, boolean, string]>}
 */
const PRESSES = new Map([
  ["describe", ["describe", true, ""]],
  ["stop", ["describe", false, ""]],
  ["describe_off", ["describe", false, "voice.describe_off"]],
  ["hold", ["hold", true, "page.picture_held"]],
  ["release", ["hold", false, "voice.released"]],
  ["guide", ["guide", true, "voice.hints_on"]],
  ["guide_off", ["guide", false, "voice.hints_off"]],
]);

/**
 * The lengths of answers, the shortest first, and what the page says.
 * @type {[import("../../core/page/settings.js").Settings["verbosity"], string][]}
 */
const LENGTHS = [
  ["short", "voice.answers_short"],
  ["normal", "voice.answers_normal"],
  ["full", "voice.answers_long"],
];

/** Carries out what somebody orders by voice: presses the page's buttons, and tells what that did. */
export class Orders {
  #page;

  /**
   * @param {Object} page
   * @param {(condition: string) => void} page.watch begin a watch
   * @param {() => void} page.again read the last answer once more
   * @param {(text: string) => void} page.tell speak it, or have a screen reader do so
   */
  constructor(page) {
    this.#page = page;
  }

  /**
   * Carry out an order; a newer server may have more of them.
   * @param {import("../../core/live/messages.d.ts").Transcript} heard
   */
  obey({ order = "", condition }) {
    const press = PRESSES.get(order);
    if (press) return this.#press(...press);
    if (order === "again") this.#page.again();
    else if (order === "watch" && condition) this.#page.watch(condition);
    else if (order === "shorter") this.#lengthen(-1);
    else if (order === "longer") this.#lengthen(1);
    else if (order === "camera_off") {
      byId("stop", HTMLButtonElement).click();
      this.#page.tell(text("server.camera_off"));
    }
  }

  /** @param {string} id of the button @param {boolean} wanted it is pressed @param {string} done */
  #press(id, wanted, done) {
    const button = byId(id, HTMLButtonElement);
    const pressed = () => button.getAttribute("aria-pressed") === "true";
    if (pressed() !== wanted && !button.hidden) button.click();
    if (pressed() !== wanted) this.#page.tell(text("voice.impossible"));
    else if (done) this.#page.tell(ended(text(done)));
  }

  /** @param {1|-1} step */
  #lengthen(step) {
    const now = LENGTHS.findIndex(([verbosity]) => verbosity === settings().verbosity);
    const [verbosity, done] = LENGTHS[Math.min(Math.max(now + step, 0), LENGTHS.length - 1)];
    change({ verbosity });
    this.#page.tell(text(done));
  }
}
