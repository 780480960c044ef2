import { button, made, say, show } from "../../core/page/dom.js";
import { clock, onLanguage, text } from "../../core/words/text.js";
import { answerOf, requestWords, whoAsked } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").ProgramLook} ProgramLook */

/**
 * A look, its place below an answer, and its element.
 * @typedef {{look: ProgramLook, after: string, element: HTMLElement, show: (look: ProgramLook) => void}} Entry
 */

// Older ones are removed; each has a picture of up to 48 KiB.
const MOST = 50;
// More characters than this are folded.
const LONG = 600;

/** The looks of other programs among the answers, each marked as a program's. Knows no connection. */
export class Looks {
  /** @type {Map<string, Entry>} by the look's id, of this session */
  #open = new Map();
  /** @type {Entry[]} oldest first, of all sessions */
  #all = [];
  #hooks;

  /**
   * @param {{add: (entry: HTMLElement) => string, drop: (entry: HTMLElement) => void}} hooks add: puts it below the
   *   answers, and returns the key of the last one
   */
  constructor(hooks) {
    this.#hooks = hooks;
    onLanguage(() => this.#all.forEach((entry) => entry.show(entry.look)));
  }

  /** Those that have ended, oldest first, to be kept. @returns {import("../../core/chat/conversation.js").Aside[]} */
  get asides() {
    const ended = this.#all.filter(({ look }) => look.state !== "looking");
    return ended.map(({ look, after }) => ({
      after,
      by: look.name,
      title: whoAsked(look),
      text: answerOf(look),
      at: look.at,
      picture: look.image ?? "",
    }));
  }

  /** True while a program looks. */
  get looking() {
    return this.#all.some(({ look }) => look.state === "looking");
  }

  /** @param {ProgramLook} look @returns {boolean} true for one that has begun */
  receive(look) {
    const known = this.#open.get(look.id);
    if (look.state !== "looking") this.#open.delete(look.id);
    if (known) {
      known.look = look;
      known.show(look);
      return false;
    }
    const { element, show } = make(look);
    const entry = { look, after: this.#hooks.add(element), element, show };
    if (look.state === "looking") this.#open.set(look.id, entry);
    this.#all.push(entry);
    if (this.#all.length > MOST) this.#drop(this.#all[0]);
    return true;
  }

  /** Another session began: those that run have no end there. */
  interrupt() {
    for (const entry of this.#open.values()) {
      entry.look = { ...entry.look, state: "failed", text: "It was stopped." };
      entry.show(entry.look);
    }
    this.#open.clear();
  }

  /** Delete all that have ended. */
  forget() {
    for (const entry of this.#all.filter(({ look }) => look.state !== "looking")) this.#drop(entry);
  }

  /** @param {Entry} entry */
  #drop(entry) {
    this.#all = this.#all.filter((other) => other !== entry);
    this.#open.delete(entry.look.id);
    this.#hooks.drop(entry.element);
  }
}

/** @param {ProgramLook} look */
function make(look) {
  const [head, question, answer] = ["head", "question", "reason"].map((className) =>
    made("p", { className, dir: "auto" }),
  );
  const badge = made("span", { className: "badge" });
  head.append(made("strong", { dir: "auto" }, look.name), badge, made("time", {}, clock(look.at)));
  const image = made("img");
  const enlarge = () => {
    frame.setAttribute("aria-expanded", String(element.classList.toggle("large")));
    element.scrollIntoView({ block: "nearest" });
  };
  const frame = button(enlarge, { className: "proof" });
  frame.setAttribute("aria-expanded", "false");
  frame.append(image);
  const unfold = () => {
    element.classList.remove("folded");
    show(all, false);
  };
  const all = button(unfold, { className: "unfold" });
  const element = made("article", { className: "look" }, head, question, frame, answer, all);
  let long = false;
  const fill = (/** @type {ProgramLook} */ now) => {
    element.dataset.state = now.state;
    element.setAttribute("aria-label", whoAsked(now));
    say(badge, text("programs.another"));
    say(question, requestWords(now));
    say(answer, answerOf(now));
    answer.classList.toggle("problem", now.state === "failed");
    show(answer, answer.textContent !== "");
    say(all, text("page.show_all"));
    // Once: who has unfolded it wants to read it.
    if (!long && `${question.textContent}${answer.textContent}`.length > LONG) {
      long = true;
      element.classList.add("folded");
    }
    show(all, element.classList.contains("folded"));
    // Only data URLs as in the protocol: the page loads no picture from an address.
    const picture = now.image?.startsWith("data:image/jpeg;base64,") ? now.image : "";
    if (picture && image.getAttribute("src") !== picture) image.src = picture;
    image.alt = text("programs.picture_got", { name: now.name });
    frame.title = text("page.enlarge");
    show(frame, picture !== "");
  };
  fill(look);
  return { element, show: fill };
}
