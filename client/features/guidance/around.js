import { byId } from "../../core/page/dom.js";
import { openSound } from "../../core/page/notes.js";
import { goodTone } from "../../core/page/tones.js";
import { showHint } from "../../core/stage/hintline.js";
import { text } from "../../core/words/text.js";
import { aroundLines, bearingWords } from "./directions.js";
import { help, tones } from "./help.js";

/** @typedef {import("../../core/live/messages.d.ts").Scanned} Scanned */
/** @typedef {import("../../core/live/messages.d.ts").Bearing} Bearing */

// Announce the turn again after so many degrees, and only show it in between. A full turn ends with the list.
const TELL_EVERY = 90;
const WHOLE = 345;

/**
 * What is around a person who turns: its order, progress, list, and the way back to a thing. Loaded with the first
 * wish.
 */
export class Around {
  turning = false;

  #page;
  #guide;
  #button = byId("scan", HTMLButtonElement);
  #quarter = 0;
  /** The result so far. @type {Scanned} */
  #found = { type: "scanned", turned: 0, count: 0 };

  /**
   * @param {import("../../core/page.js").Page} page
   * @param {{leave: () => void, rest: () => void, lead: (thing: string) => Promise<void>}} guide leads to things
   */
  constructor(page, guide) {
    this.#page = page;
    this.#guide = guide;
    page.take(["scanned"], (scanned) => this.#scanned(scanned));
    page.take(["bearing"], (bearing) => this.#answer(bearing));
  }

  /** @param {"scan"|"where_was"} order a second "scan" is its end @param {string} [thing] */
  obey(order, thing = "") {
    if (order === "where_was") this.#page.send({ type: "where_was", thing });
    else if (this.turning) this.stop();
    else this.#begin();
  }

  /**
   * End it, and list what was found.
   * @param {boolean} [gone] the camera ends, and the server tells nothing more of it
   */
  stop(gone = false) {
    if (gone) this.#close({ ...this.#found, end: "stopped" });
    else this.#page.send({ type: "scan", on: false });
  }

  /** End it without a word. @param {boolean} [gone] the camera has ended, and with it what was seen */
  end(gone = false) {
    this.#offer("");
    if (!this.turning) return;
    if (!gone) this.#page.send({ type: "scan", on: false });
    this.#turn(false);
  }

  #begin() {
    if (this.#button.disabled) return this.#page.tell(text("voice.impossible"));
    this.#guide.leave();
    this.#guide.rest();
    openSound();
    this.#quarter = 0;
    this.#found = { type: "scanned", turned: 0, count: 0 };
    this.#turn(true);
    this.#show(0, true);
    this.#page.send({ type: "scan", on: true });
  }

  /** @param {boolean} turning */
  #turn(turning) {
    this.turning = turning;
    this.#button.setAttribute("aria-pressed", String(turning));
    if (!turning) showHint("");
    this.#page.chat.renderRunning();
  }

  /** @param {Scanned} scanned */
  #scanned(scanned) {
    if (!this.turning) return;
    const { turned, count, end } = scanned;
    if (end) return this.#close(scanned);
    if (count > this.#found.count && tones()) goodTone();
    this.#found = scanned;
    const degrees = Math.abs(turned);
    const told = degrees < WHOLE && Math.floor(degrees / TELL_EVERY) > this.#quarter;
    if (told) this.#quarter = Math.floor(degrees / TELL_EVERY);
    this.#show(count, told);
  }

  /** @param {number} count @param {boolean} told */
  #show(count, told) {
    const words = text("scan.turning", { number: count });
    const spoken = told && help() === "spoken" && this.#page.say(words, true);
    showHint(words, !told || spoken, "scan");
  }

  /** @param {Scanned} scanned */
  #close(scanned) {
    this.#turn(false);
    this.#list(aroundLines(scanned));
  }

  /** @param {string[]} lines */
  #list(lines) {
    const entry = document.createElement("article");
    entry.className = "turn around";
    const title = document.createElement("p");
    title.className = "asked";
    title.dir = "auto";
    title.textContent = text("scan.title");
    const list = document.createElement("ul");
    list.append(
      ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line, dir: "auto" })),
    );
    entry.append(title, list);
    this.#page.chat.add(entry);
    this.#page.tell(lines.join(" "));
  }

  /** @param {Bearing} bearing */
  #answer(bearing) {
    const words = bearingWords(bearing);
    this.#page.note(words);
    this.#page.say(words, true);
    this.#offer(bearing.found?.kind === "thing" ? bearing.thing : "");
  }

  /** Offer the way to something. @param {string} thing "": no more */
  #offer(thing) {
    const way = { words: text("lead.begin"), does: () => void this.#guide.lead(thing) };
    this.#page.chat.composer.suggestions.offer("guidance", thing ? [way] : []);
  }
}
