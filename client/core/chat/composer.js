import { button, byId, say, show } from "../page/dom.js";
import { onLanguage, plural, text } from "../words/text.js";

// The style sheet resizes the box.
const GROWS_ITSELF = CSS.supports("field-sizing", "content");
// Milliseconds within which a second press belongs to the first
const DOUBLE = 400;
// The counter appears when at most this many characters are left.
const COUNT_FROM = 300;

const DRAFT = "qwen-camera.draft";

/** Keeps the typed question over a reload of this tab, and no longer. */
const draft = {
  /** @returns {string} */
  load() {
    try {
      return sessionStorage.getItem(DRAFT) ?? "";
    } catch {
      return ""; // without storage only the box has it
    }
  },

  /** @param {string} text */
  save(text) {
    try {
      sessionStorage.setItem(DRAFT, text);
    } catch {
      // as above
    }
  },
};

/**
 * Handlers that take typed text as commands.
 * @typedef {Object} Orders
 * @property {(text: string) => string} conditionIn the condition of an order in a text, "" for none
 * @property {(condition: string) => void} onOrder
 * @property {(waiting: boolean) => void} onWaiting the next text will be an order, or no more
 * @property {() => Promise<void>} ahead loads what it needs
 * @property {string} invites id of the words in the box that waits for one
 * @property {string} gives id of the words of Send for one
 */

/** The box in which a question is typed. Knows no connection. */
export class Composer {
  box = byId("question", HTMLTextAreaElement);
  cancel = byId("cancel", HTMLButtonElement);
  suggestions = new Suggestions();
  /** Loads what makes orders of texts. */
  reads = async () => {};

  #form = byId("composer", HTMLFormElement);
  #send = byId("send", HTMLButtonElement);
  #count = byId("question-count", HTMLElement);
  #offer = byId("ask-offer", HTMLButtonElement);
  #mark;
  #onAsk;
  /** @type {Orders|null} null: a text is a question */
  #taker = null;
  #limit = 4000;
  // The last text of `suggest`, which the next one replaces
  #suggested = "";
  // An answer is on its way.
  #running = false;
  // performance.now() of the last press of Send
  #pressedAt = -Infinity;
  // Enter waits until it is known whether the text is an order.
  #reading = false;
  // Send was pressed: the focus goes to what takes its place.
  #follows = false;
  // The text becomes an order, whatever its words.
  #waiting = false;
  // It is about a part of the picture.
  #points = false;
  // The last order as it was typed, and its condition
  #ordered = { typed: "", condition: "" };

  /**
   * @param {{onAsk: (text: string) => void, onTyping: () => void, announce: (text: string) => void}} hooks
   */
  constructor({ onAsk, onTyping, announce }) {
    this.#onAsk = onAsk;
    this.box.value = draft.load();
    byId("skip", HTMLButtonElement).addEventListener("click", () => this.box.focus());
    this.box.addEventListener("focus", () => {
      onTyping();
      void this.reads();
    });
    this.box.addEventListener("input", () => {
      onTyping();
      draft.save(this.box.value);
      this.#settle();
    });
    this.box.addEventListener("keydown", (event) => {
      // During composition (Chinese, Japanese, Korean) Enter ends a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return onTyping();
      event.preventDefault();
      void this.#take();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pressedAt = performance.now();
      void this.#take();
    });
    for (const type of ["pointerdown", "mousedown", "click"]) {
      const swallow = (/** @type {Event} */ event) => {
        // The second half of a double press on Send, on what stands in its place now: what follows the box
        const target = /** @type {Node} */ (event.target);
        const follows = this.box.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_FOLLOWING;
        if (!follows || performance.now() - this.#pressedAt >= DOUBLE) return;
        event.preventDefault();
        event.stopImmediatePropagation();
      };
      this.#form.addEventListener(type, swallow, true);
    }
    this.#mark = new ModeMark(this.box, announce, () => this.#invite());
    this.#offer.addEventListener("click", () => this.#ask());
    onLanguage(() => {
      this.#wait(this.#waiting);
      this.#settle();
    });
    this.#settle();
  }

  /** @param {number} limit characters that the server takes */
  set limit(limit) {
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#settle();
  }

  /** Put a question into the box, behind what somebody has typed there. @param {string} text */
  suggest(text) {
    const typed = this.box.value.trim();
    const own = typed && typed !== this.#suggested;
    this.#suggested = own ? "" : text;
    this.box.value = own ? `${typed} ${text}` : text;
    draft.save(this.box.value);
    this.#settle();
    this.box.focus();
    this.box.setSelectionRange(this.box.value.length, this.box.value.length);
  }

  /** @param {boolean} running an answer is on its way */
  renderRunning(running) {
    if (running === this.#running) return;
    this.#running = running;
    this.#settle();
  }

  /** Make orders of texts. @param {Orders} taker */
  takeOrders(taker) {
    this.#taker = taker;
    void taker.ahead().then(() => this.#settle());
    this.#settle();
  }

  /** Put the words of an order back that was not taken, before anything typed since. @param {string} condition */
  restore(condition) {
    const { typed } = this.#ordered.condition === condition ? this.#ordered : { typed: condition };
    this.box.value = [typed, this.box.value].filter(Boolean).join(" ");
    draft.save(this.box.value);
    this.#wait(true);
    this.#settle();
  }

  /** Make an order of what is typed; where nothing is, wait for the next text, or no more. */
  toggleOrder() {
    if (this.box.value.trim() && !this.#waiting) return this.#giveTyped();
    this.#wait(!this.#waiting);
    this.box.focus();
  }

  /** Give an order. @param {string} condition */
  give(condition) {
    this.#ordered = { typed: condition, condition };
    this.#wait(false);
    this.#taker?.onOrder(condition);
  }

  /** @param {boolean} waiting */
  #wait(waiting) {
    this.#waiting = waiting && this.#taker !== null;
    this.#invite();
    if (this.#waiting) this.box.setAttribute("aria-label", text(this.#taker?.invites ?? ""));
    else this.box.removeAttribute("aria-label");
    this.#taker?.onWaiting(this.#waiting);
  }

  /** Say in the empty box what it is for; in few words beside those of a mode. */
  #invite() {
    const usual = this.#points ? "chat.ask_part" : "chat.ask";
    const own = this.#waiting && this.#taker?.invites;
    const { asks, words } = this.#mark ?? {};
    this.box.placeholder = (!own && asks) || text(own || (words ? "chat.ask_short" : usual));
  }

  /** @param {boolean} points questions are about a part of the picture */
  point(points) {
    this.#points = points;
    this.#invite();
  }

  /** True when Enter makes an order of the text. */
  get #orders() {
    const typed = this.box.value.trim();
    return typed !== "" && (this.#waiting || this.#conditionIn(typed) !== "");
  }

  /** @param {string} typed */
  #conditionIn(typed) {
    return this.#taker?.conditionIn(typed) ?? "";
  }

  /** Do what Enter does, once it is known whether the text is an order. */
  async #take() {
    const { value } = this.box;
    if (this.#reading || !value.trim()) return;
    this.#reading = true;
    this.#send.setAttribute("aria-busy", "true");
    await this.reads();
    await this.#taker?.ahead();
    this.#send.removeAttribute("aria-busy");
    this.#reading = false;
    // The person has typed on.
    if (this.box.value !== value) return;
    if (this.#orders) this.#giveTyped();
    else this.#ask();
  }

  #giveTyped() {
    const typed = this.box.value.trim();
    if (!typed || typed.length > this.#limit) return;
    const condition = this.#conditionIn(typed) || typed;
    this.#clear();
    this.give(condition);
    this.#ordered.typed = typed;
  }

  #ask() {
    const text = this.box.value.trim();
    if (!text || this.box.value.length > this.#limit) return;
    this.#follows = document.activeElement === this.#send;
    this.#wait(false);
    this.#onAsk(text);
    this.#clear();
  }

  #clear() {
    this.box.value = "";
    draft.save("");
    this.#settle();
    // Hide a phone's keyboard.
    if (matchMedia("(pointer: coarse)").matches) this.box.blur();
  }

  #settle() {
    const { length } = this.box.value;
    const over = length > this.#limit;
    const orders = this.#orders;
    show(this.#offer, orders);
    this.#send.title = text((orders && this.#taker?.gives) || "chat.send");
    this.#send.setAttribute("aria-label", this.#send.title);
    this.#send.classList.toggle("orders", orders);
    const empty = this.box.value.trim() === "";
    // The microphone stands in the place of Send while nothing is typed.
    this.#form.toggleAttribute("data-typed", !empty);
    this.#send.disabled = empty || over;
    // While an answer comes, Send is the button that stops it; with words typed meanwhile both are there.
    const focused = document.activeElement;
    show(this.cancel, this.#running);
    show(this.#send, !this.#running || !empty);
    // Or a keyboard user would fall out of the page.
    if (focused === this.cancel && !this.#running) this.box.focus();
    else if (this.#follows && this.#running) {
      this.#follows = false;
      this.cancel.focus();
    }
    this.box.setAttribute("aria-invalid", String(over));
    show(this.#count, length > this.#limit - COUNT_FROM);
    const left = this.#limit - length;
    if (over) say(this.#count, plural("chat.too_many_characters", -left));
    else say(this.#count, plural("chat.characters_left", left));
    this.#count.classList.toggle("problem", over);
    if (GROWS_ITSELF) return;
    // As high as its text, up to the style sheet's limit.
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight + 2}px`;
  }
}

// Words of more characters stand alone, without their picture.
const LONG = 12;
/** @param {HTMLButtonElement|null} button of "more", without its line of help */
const nameOf = (button) => button?.querySelector("b")?.textContent ?? "";

/**
 * The mark in the bar for what is on of "more", with a cross that ends it: what began last, and then what began before
 * it. Escape in the question does so too, after it has let a held picture go.
 *
 * A button's `data-mode` has `tells` where it says itself that it begins and ends, `invites` where the box says what it
 * is for, `beside` where it goes with all others, and `none` where it is no mode.
 */
class ModeMark {
  /** Of the mode, beside its mark; "" for those that the box has itself. */
  words = "";
  /** What the box is for in the mode; "" for questions. */
  asks = "";

  #announce;
  #onWords;
  #mark = byId("end-mode", HTMLButtonElement);
  #word = byId("mode", HTMLElement);
  #more = byId("more", HTMLElement);
  /** @type {HTMLButtonElement[]} of "more", what began last at the end */
  #modes = [];
  /** @type {HTMLButtonElement|null} the one of them that the mark is for */
  #on = null;
  /** @type {HTMLButtonElement|null} pressed by somebody, and not told yet */
  #pressed = null;

  /** @param {HTMLElement} box @param {(text: string) => void} announce @param {() => void} onWords they have changed */
  constructor(box, announce, onWords) {
    this.#announce = announce;
    this.#onWords = onWords;
    const end = () => {
      this.#pressed = this.#on;
      this.#on?.click();
    };
    this.#mark.addEventListener("click", end);
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || !this.#more.hidden) return;
      const hold = byId("hold", HTMLButtonElement);
      if (hold.getAttribute("aria-pressed") === "true") hold.click();
      else end();
    });
    const pressed = (/** @type {Event} */ event) => /** @type {Element} */ (event.target).closest("button");
    // Before the button acts: what it sets at once is observed before the event comes up again.
    this.#more.addEventListener("click", (event) => { if (event.isTrusted) this.#pressed = pressed(event); }, true);
    this.#more.addEventListener("click", (event) => {
      // Where a key goes on with a question, and presses no button, after a press by a mouse.
      const mouse = event.detail > 0 && matchMedia("(pointer: fine)").matches;
      if (pressed(event) && mouse && document.activeElement?.id === "more-open") box.focus();
    });
    const look = { subtree: true, attributes: true, attributeFilter: ["aria-pressed", "hidden"] };
    new MutationObserver((changes) => {
      if (changes.some(({ target }) => target === this.#pressed)) this.#tell();
      this.#render();
    }).observe(this.#more, look);
    onLanguage(() => this.#render());
    this.#render();
  }

  #tell() {
    const button = this.#pressed;
    this.#pressed = null;
    if (!button?.hasAttribute("aria-pressed") || button.matches("[data-mode~=tells]")) return;
    const on = button.getAttribute("aria-pressed") === "true";
    this.#announce(text(on ? "page.mode_on" : "page.mode_off", { mode: nameOf(button) }));
  }

  #render() {
    /** @type {HTMLButtonElement[]} */
    const on = Array.from(this.#more.querySelectorAll("button[aria-pressed=true]:not([hidden], [data-mode~=none])"));
    this.#modes = [...new Set([...this.#modes, ...on])].filter((one) => on.includes(one));
    this.#on = this.#modes.findLast((one) => !one.matches("[data-mode~=beside]")) ?? this.#modes.at(-1) ?? null;
    // Or a keyboard user would fall out of the page.
    if (!this.#on && document.activeElement === this.#mark) byId("more-open", HTMLButtonElement).focus();
    show(this.#mark, this.#on !== null);
    const icon = this.#on?.querySelector("svg")?.cloneNode(true);
    this.#mark.firstElementChild?.replaceChildren(...(icon ? [icon] : []));
    const mode = nameOf(this.#on);
    this.#mark.title = text("page.end_mode", { mode });
    this.#mark.setAttribute("aria-label", this.#mark.title);
    this.words = this.#on?.matches("[data-mode~=invites]") ? "" : mode;
    this.asks = this.#on?.querySelector("i")?.textContent ?? "";
    this.#word.textContent = this.words;
    this.#mark.classList.toggle("long", this.words.length > LONG);
    this.#onWords();
  }
}

/**
 * @typedef {Object} Suggestion
 * @property {string} words on its button
 * @property {() => void} does
 */

// More have no room in one row.
const MOST = 5;
// The questions of which three stand in the row
const OFFERED = ["code", "people", "what", "read", "colour"];

/** The row above the box: questions that fit what is in front, in place of which a feature may offer others. */
export class Suggestions {
  #offered = byId("offered", HTMLElement);
  /** @type {Map<string, Suggestion[]>} by who offers them; the last one is shown */
  #offers = new Map();
  /** @type {Suggestion[]} */
  #shown = [];
  /** There may be text in front: it was seen, or nothing was named in its place. */
  text = true;

  /**
   * Show these in place of the usual ones, at most five.
   * @param {string} owner @param {Suggestion[]} offer none: no more
   */
  offer(owner, offer) {
    this.#offers.delete(owner);
    if (offer.length > 0) this.#offers.set(owner, offer.slice(0, MOST));
    const shown = [...this.#offers.values()].at(-1) ?? [];
    // A button that somebody presses stays.
    const changed = shown.findIndex(({ words }, index) => words !== this.#shown[index]?.words);
    const kept = changed < 0 ? shown.length : changed;
    this.#shown = shown;
    while (this.#offered.childElementCount > kept) this.#offered.lastElementChild?.remove();
    for (const [index, { words }] of shown.entries()) {
      if (index >= kept) this.#offered.append(button(() => this.#shown[index].does(), { textContent: words }));
    }
  }

  /**
   * Offer three questions that fit what is in front, the best first. Below an answer Hold takes the third one's place.
   * @param {Omit<import("../live/messages.d.ts").Glance, "type">} seen
   */
  fit({ text, code, people, things }) {
    this.text = text || things.length === 0;
    const wanted = [];
    if (code) wanted.push("code");
    if (text) wanted.push("read");
    if (people > 1) wanted.push("people");
    if (things.length > 0) wanted.push("what", "colour");
    const names = [...new Set([...wanted, "what", "read", "people"])].slice(0, 3);
    const row = byId("quick", HTMLElement);
    const focused = document.activeElement;
    for (const one of OFFERED) show(byId(`quick-${one}`, HTMLElement), names.includes(one));
    for (const one of names) byId("marks-clear", HTMLElement).before(byId(`quick-${one}`, HTMLElement));
    // One that was moved has lost the focus; one that is hidden now gives it to the first.
    if (!(focused instanceof HTMLElement) || !row.contains(focused)) return;
    (focused.hidden ? byId(`quick-${names[0]}`, HTMLElement) : focused).focus({ preventScroll: true });
  }
}
