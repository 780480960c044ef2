import { byId, made, show } from "../../core/page/dom.js";
import { keepWish, wish } from "../../core/page/resume.js";
import { onSettings, settings } from "../../core/page/settings.js";
import { showHint } from "../../core/stage/hintline.js";
import { text } from "../../core/words/text.js";
import { help } from "./help.js";

/** @typedef {import("../../core/live/messages.d.ts").AimHint} AimHint */

// Milliseconds for which a reached thing stays on the page
const THERE = 6000;

/**
 * Hints how to move the camera, the way to a thing, and what is around.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const entry = new GuideEntry(page);
  page.take(["aim"], (hint) => entry.receive(hint));
  page.take(["target"], (target) => entry.heard(target));
  page.take(["transcript"], (said) => entry.obey(said));
  page.when("facts", ({ camera, socket, held, ready }) => {
    const on = ["on", "resting", "elsewhere"].includes(camera);
    entry.connected(on && socket === "open" && !held, ready);
  });
  page.when("stop", () => entry.stop(true));
  page.tools.set("guide_to", { words: "chat.tool_guide_to", act: (thing) => entry.guide(thing) });
  page.launches.set("guide", (thing) => void (thing ? entry.lead(thing) : entry.want(true)));
  page.offer("guidance", entry);
}

/** The button for guidance. The parts that say the hints, and that lead to things, load with the first wish. */
class GuideEntry {
  button = byId("guide", HTMLButtonElement);
  #scan = byId("scan", HTMLButtonElement);

  #page;
  #part;
  #lead;
  #around;
  /** The thing that the person is guided to; "" for none. */
  #thing = "";
  #wanted = wish("guide") === true && help() !== "none";
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
    this.#lead = page.part(import.meta.url, "./lead.js", {
      load: async () => {
        const { Lead } = await import("./lead.js");
        return new Lead({
          video: page.stage.video,
          say: (text) => page.say(text),
          show: (text, spoken, loud) => showHint(text, spoken || !loud, "lead"),
          follow: (onBox, onLost) => page.find("pointing")?.follow(onBox, onLost),
          lost: () => page.send({ type: "target_lost" }),
        });
      },
      missed: "page.missing_guide",
    });
    this.#around = page.part(import.meta.url, "./around.js", {
      load: async () => {
        const { Around } = await import("./around.js");
        return new Around(page, this);
      },
      missed: "page.missing_guide",
    });
    this.#scan.addEventListener("click", () => void this.#look("scan"));
    this.button.addEventListener("click", () => {
      if (this.#thing) {
        // The button informs screen readers.
        this.#page.say(this.leave(), true);
      } else {
        void this.want(!this.#wanted);
        if (this.#wanted) showHint(text("guide.begun"));
      }
    });
    this.#press();
    onSettings(() => {
      this.#offer();
      if (help() === "none" && this.#wanted) void this.want(false);
    });
  }

  get wanted() {
    return this.#wanted;
  }

  /** True while hints are wanted, or it leads to something. */
  get on() {
    return this.#wanted || this.#thing !== "";
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    this.#wanted = wanted;
    keepWish("guide", wanted);
    this.#press();
    if (wanted) {
      await this.#part.open(this.button);
      this.#part.here?.prepare();
    }
    if (this.#able) this.#page.send({ type: "settings", guidance: this.#wanted });
    if (!this.#wanted) this.#clear();
    // Hints are about the live picture.
    else if (this.#page.visit.facts.held) this.#page.visit.hold(false);
  }

  /**
   * Lead to something, in place of what was before.
   * @param {string} thing in the person's words; those in quotes are print
   */
  async lead(thing) {
    this.#around.here?.end();
    if (this.#thing && this.#thing !== thing) this.#leaves("lead.ended");
    this.#thing = thing;
    this.#press();
    this.rest();
    await this.#lead.open(this.button);
    if (this.#thing !== thing) return;
    this.#lead.here?.prepare();
    if (this.#able) this.#begin();
  }

  /**
   * Lead to something for the model.
   * @param {string} thing
   * @returns {Promise<() => boolean>} takes it back; false: it has ended
   */
  async guide(thing) {
    const before = this.#thing;
    await this.lead(thing);
    return () => {
      if (this.#thing !== thing) return false;
      if (before) void this.lead(before);
      else this.leave();
      return true;
    };
  }

  /**
   * Lead to nothing any more.
   * @param {boolean} [tell] say so
   * @returns {string} its words; "" where it led to nothing
   */
  leave(tell = false) {
    this.#around.here?.end();
    if (!this.#thing) return "";
    const words = this.#leaves("lead.ended");
    this.#thing = "";
    this.#press();
    this.#lead.here?.end();
    this.#page.send({ type: "goal" });
    this.#clear();
    if (tell) this.#page.tell(words);
    return words;
  }

  /**
   * Carry out an order that somebody said or typed.
   * @param {import("../../core/live/messages.d.ts").Transcript} said
   */
  obey({ order, condition }) {
    if (order === "guide_to" && condition) void this.lead(condition);
    else if (order === "scan" || order === "where_was") void this.#look(order, condition);
    else if (order === "stop") this.stop();
    else if (order === "guide_off") this.leave();
  }

  /** End what runs; a scan reports its result. @param {boolean} [gone] with the camera */
  stop(gone = false) {
    if (this.#around.here?.turning) this.#around.here.stop(gone);
    else this.leave(!gone);
  }

  /** @param {import("../../core/live/messages.d.ts").Target} target */
  heard(target) {
    if (!this.#lead.here?.receive(target)) return;
    // It is there, and the server has ended the goal.
    this.#leaves("lead.reached");
    this.#thing = "";
    this.#press();
    setTimeout(() => !this.#thing && this.#clear(), THERE);
  }

  /** Look around, or tell where something was. @param {"scan"|"where_was"} order @param {string} [thing] */
  async #look(order, thing) {
    await this.#around.open(this.#scan);
    this.#around.here?.obey(order, thing);
  }

  #begin() {
    this.#lead.here?.begin(this.#thing);
    this.#page.send({ type: "goal", thing: this.#thing });
  }

  #press() {
    this.button.setAttribute("aria-pressed", String(this.on));
    this.#page.chat.renderRunning();
  }

  /**
   * Leave a line on the way that ends among the answers; who hears of it does so otherwise.
   * @param {"lead.reached"|"lead.ended"} id
   * @returns {string} its words
   */
  #leaves(id) {
    const textContent = text(id, { thing: this.#thing });
    this.#page.chat.add(made("p", { className: "note", textContent }), false);
    return textContent;
  }

  /**
   * @param {boolean} live the camera is, and the socket open
   * @param {import("../../core/live/messages.d.ts").Ready|null} ready
   */
  connected(live, ready) {
    this.#guides = Boolean(ready?.features.guidance);
    const able = live && this.#guides;
    this.#scan.disabled = !able;
    this.#offer();
    if (able && !this.#able && this.#wanted) {
      void this.#part.ahead();
      this.#page.send({ type: "settings", guidance: true });
    }
    if (able && !this.#able && this.#thing) this.#begin();
    if (!able && this.#able) {
      this.#lead.here?.end();
      this.#around.here?.end(true);
    }
    if (!able) this.#clear();
    this.#able = able;
  }

  /** @param {AimHint} hint */
  receive(hint) {
    const guide = this.#part.here;
    if (
      !guide ||
      !this.#wanted ||
      !this.#able ||
      this.#thing ||
      this.#around.here?.turning ||
      this.#page.find("reading")?.on
    )
      return;
    const { text, shown, spoken } = guide.take(hint);
    showHint(shown ? text : "", spoken, hint.hint);
  }

  /** Repeat nothing: a text is read, and the hints are about that. */
  rest() {
    this.#part.here?.rest();
  }

  #offer() {
    show(this.button, this.#guides && (help() !== "none" || this.#thing !== ""));
    show(this.#scan, this.#guides);
  }

  #clear() {
    this.rest();
    if (!this.#page.find("reading")?.on) showHint("");
  }
}
