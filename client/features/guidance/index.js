import { byId, show } from "../../core/page/dom.js";
import { guideWish, keepGuideWish } from "../../core/page/resume.js";
import { onSettings, settings } from "../../core/page/settings.js";
import { showHint } from "../../core/stage/hintline.js";

/** @typedef {import("../../core/live/messages.d.ts").AimHint} AimHint */

/** Hints how to move the camera. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const entry = new GuideEntry(page);
  page.take(["aim"], (hint) => entry.receive(hint));
  page.when("facts", ({ camera, socket, held, ready }) => {
    const on = ["on", "resting", "elsewhere"].includes(camera);
    entry.connected(on && socket === "open" && !held, ready);
  });
  page.offer("guidance", entry);
}

/** The button for guidance. The part that says the hints loads with the first wish. */
class GuideEntry {
  button = byId("guide", HTMLButtonElement);

  #page;
  #part;
  #wanted = guideWish() && settings().help !== "none";
  // The camera is live, its picture is not held, and the server guides.
  #able = false;
  #guides = false;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
    this.#part = page.part(import.meta.url, "./guide.js", {
      load: async () => {
        const { Guide } = await import("./guide.js");
        return new Guide({ say: (text) => page.say(text), verbosity: () => settings().verbosity });
      },
      missed: "page.missing_guide",
    });
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
    this.#page.chat.renderRunning();
    if (wanted) {
      await this.#part.open(this.button);
      this.#part.here?.prepare();
    }
    if (this.#able) this.#page.send({ type: "settings", guidance: this.#wanted });
    if (!this.#wanted) this.#clear();
  }

  /** @param {boolean} live the camera is, and the socket open @param {import("../../core/live/messages.d.ts").Ready|null} ready */
  connected(live, ready) {
    this.#guides = Boolean(ready?.features.guidance);
    const able = live && this.#guides;
    this.#offer();
    if (able && !this.#able && this.#wanted) {
      void this.#part.ahead();
      this.#page.send({ type: "settings", guidance: true });
    }
    if (!able) this.#clear();
    this.#able = able;
  }

  /** @param {AimHint} hint */
  receive(hint) {
    const guide = this.#part.here;
    if (!guide || !this.#wanted || !this.#able || this.#page.find("reading")?.on) return;
    const { text, shown, spoken } = guide.take(hint);
    showHint(shown ? text : "", spoken, hint.hint);
  }

  /** Repeat nothing: a text is read, and the hints are about that. */
  rest() {
    this.#part.here?.rest();
  }

  #offer() {
    show(this.button, this.#guides && settings().help !== "none");
  }

  #clear() {
    this.rest();
    if (!this.#page.find("reading")?.on) showHint("");
  }
}
