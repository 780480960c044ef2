import { byId, say, show } from "../page/dom.js";
import { Part } from "../page/part.js";
import { guideWish, keepGuideWish } from "../page/resume.js";
import { onSettings, settings } from "../page/settings.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */
/** @typedef {import("../live/voicemessages.js").ReadingState} ReadingState */

// Milliseconds for which the end of a text is shown
const END_SHOWN = 4000;

/**
 * The part that guides, as far as this module knows it.
 * @typedef {Object} Guidance
 * @property {() => void} prepare
 * @property {(hint: AimHint) => {text: string, shown: boolean, spoken: boolean}} take
 * @property {(state: ReadingState) => {text: string, spoken: boolean}} read
 * @property {() => void} rest
 */

/** The button for guidance and the line of its hints. The part that says them loads with the first wish. */
export class GuideEntry {
  button = byId("guide", HTMLButtonElement);

  #line = byId("aim", HTMLElement);
  /** @type {Part<Guidance>} */
  #part;
  #send;
  #onChange;
  #wanted = guideWish() && settings().help !== "none";
  // A text is read: the hints are about that; and it came to its end.
  #reading = false;
  #over = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #ending;
  // The camera is live, its picture is not held, and the server guides.
  #able = false;
  #guides = false;

  /**
   * @param {{address: URL, load: () => Promise<Guidance>, onMissing: (again: () => void) => void,
   *   send: (message: import("../live/messages.js").ClientMessage) => boolean, onChange: () => void}} hooks see `Part`;
   *   onChange: it was switched on or off
   */
  constructor({ send, onChange, ...part }) {
    this.#part = new Part(part);
    this.#send = send;
    this.#onChange = onChange;
    this.button.addEventListener("click", () => void this.want(!this.#wanted));
    this.button.setAttribute("aria-pressed", String(this.#wanted));
    onSettings(({ help }) => {
      this.#offer();
      if (help === "none" && this.#wanted) void this.want(false);
    });
  }

  get wanted() {
    return this.#wanted;
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    this.#wanted = wanted;
    keepGuideWish(wanted);
    this.button.setAttribute("aria-pressed", String(wanted));
    this.#onChange();
    if (wanted) {
      await this.#part.open(this.button);
      this.#part.here?.prepare();
    }
    if (this.#able) this.#send({ type: "settings", guidance: this.#wanted });
    if (!this.#wanted) this.#clear();
  }

  /** @param {boolean} live the camera is, and the socket open @param {import("../live/messages.js").Ready|null} ready */
  connected(live, ready) {
    const able = live && Boolean(ready?.features.guidance);
    this.#guides = Boolean(ready?.features.guidance);
    this.#offer();
    if (able && !this.#able && this.#wanted) {
      void this.#part.ahead();
      this.#send({ type: "settings", guidance: true });
    }
    if (!able) this.readWhole();
    if (!able) this.#clear();
    this.#able = able;
  }

  /** @param {AimHint} hint */
  receive(hint) {
    const guide = this.#part.here;
    if (!guide || !this.#wanted || !this.#able || this.#reading) return;
    const { text, shown, spoken } = guide.take(hint);
    this.#show(shown ? text : "", spoken, hint.hint);
  }

  /** Show what helps to read a text on, or its end. @param {ReadingState} state */
  async read(state) {
    this.#reading = true;
    this.#over = state.ended;
    clearTimeout(this.#ending);
    await this.#part.ahead();
    if (!this.#part.here || !this.#reading) return;
    const { text, spoken } = this.#part.here.read(state);
    this.#show(text, spoken, state.ended ? "good" : (state.hint ?? ""));
    if (state.ended) this.#ending = setTimeout(() => this.readWhole(), END_SHOWN);
  }

  /** Nothing is read any more. @param {boolean} [answered] the end of a text stays for a moment */
  readWhole(answered = false) {
    if (!this.#reading || (answered && this.#over)) return;
    this.#reading = this.#over = false;
    clearTimeout(this.#ending);
    this.#clear();
  }

  #offer() {
    show(this.button, this.#guides && settings().help !== "none");
  }

  /** @param {string} text @param {boolean} spoken @param {string} hint */
  #show(text, spoken, hint) {
    // A voice and a screen reader would say it twice.
    this.#line.setAttribute("aria-live", spoken ? "off" : "polite");
    this.#line.dataset.hint = hint;
    show(this.#line, text !== "");
    say(this.#line, text);
  }

  #clear() {
    this.#part.here?.rest();
    show(this.#line, false);
    say(this.#line, "");
  }
}
