import { byId, say, show } from "../../core/page/dom.js";
import { When } from "./when.js";
import { stateOf, summary } from "./words.js";
import { engineName } from "../../core/page/words.js";
import { clock, isolated, onLanguage, percent, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").WatchInfo} WatchInfo */
/** @typedef {import("../../core/live/messages.d.ts").Alert} Alert */

// For this time (ms) the list shows that a watch was stopped.
const SHOWN_STOPPED = 8000;
// Alerts in the list of past ones; of more, the oldest goes.
const MOST_PAST = 64;
// Pictures are data URLs, as in the protocol: the page loads none from an address.
const JPEG = "data:image/jpeg;base64,";

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} [name] @param {string} [words]
 */
function make(tag, name = "", words = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (words) element.textContent = words;
  return element;
}

/** The list of watches above the answers, and the alerts among them. Knows no connection. */
export class WatchView {
  box = byId("watches", HTMLDetailsElement);

  #summary = byId("watches-summary", HTMLElement);
  #list = byId("watches-list", HTMLElement);
  #past = byId("watches-past", HTMLDetailsElement);
  #comparing = byId("watches-changes", HTMLDetailsElement);
  // The comparison is in sight.
  #compares = false;
  /**
   * @type {Map<string, {item: HTMLElement, state: HTMLElement, every: HTMLButtonElement, stop: HTMLButtonElement,
   *   when: When}>} by the watch's id
   */
  #items = new Map();
  /** @type {Map<string, {alert: Alert, entry: HTMLElement, wrong: boolean}>} by the alert's id */
  #alerts = new Map();
  /** @type {[WatchInfo[], import("./desk.js").Order[]]} */
  #shown = [[], []];
  /** Conditions of watches that were stopped a moment ago. @type {Map<string, string>} by the watch's id */
  #stopped = new Map();
  // The camera is off.
  #off = false;
  #hooks;

  /**
   * @param {Object} hooks
   * @param {(id: string) => void} hooks.onStop
   * @param {(id: string, change: Partial<import("./desk.js").Order>) => void} hooks.onChange
   * @param {(id: string) => void} hooks.onWrong
   * @param {(entry: HTMLElement) => void} hooks.onDone a person has read an alert
   * @param {(entry: HTMLElement) => void} hooks.onSee a past alert is to be seen again
   * @param {() => void} hooks.onOpen the list was opened
   * @param {(open: boolean) => void} hooks.onComparing the last comparison of the scene is in sight
   * @param {HTMLElement} changes shows that comparison
   */
  constructor(hooks, changes) {
    this.#hooks = hooks;
    onLanguage(() => {
      for (const { item } of this.#items.values()) item.remove();
      this.#items.clear();
      for (const id of this.#alerts.keys()) this.#fill(id);
      this.#renderPast();
      this.render(...this.#shown);
    });
    this.#comparing.append(changes);
    const compare = () => {
      const open = this.box.open && this.#comparing.open;
      if (open !== this.#compares) hooks.onComparing((this.#compares = open));
    };
    this.#comparing.addEventListener("toggle", compare);
    this.box.addEventListener("toggle", () => {
      if (this.box.open) hooks.onOpen();
      else this.render(...this.#shown);
      compare();
    });
  }

  /** @param {WatchInfo[]} watches @param {import("./desk.js").Order[]} waiting orders that the server has not yet */
  render(watches, waiting) {
    this.#shown = [watches, waiting];
    const over = watches.findLast((one) => one.ended)?.condition;
    const rows = [
      ...watches.map((one) => ({ ...one, text: stateOf(one) })),
      ...waiting.map((one) => ({ ...one, text: text("page.waiting_connection"), state: "waiting" })),
      ...[...this.#stopped].map(([id, condition]) => ({
        id,
        condition,
        text: text("watch.stopped"),
        state: "stopped",
        repeat: false,
        hours: undefined,
      })),
    ];
    const past = this.#alerts.size;
    show(this.box, rows.length > 0 || (past > 0 && this.box.open));
    const words = summary(watches, waiting.length, { over, stopped: this.#stopped.size > 0, off: this.#off });
    say(this.#summary, rows.length > 0 ? words : text("watch.past", { count: past }));
    this.box.dataset.state = watches.some((one) => one.state === "cannot") ? "cannot" : "on";
    const here = new Set(rows.map((row) => row.id));
    for (const [id, { item }] of this.#items) {
      if (here.has(id)) continue;
      // A keyboard user stays in the list.
      if (item.contains(document.activeElement)) this.#summary.focus();
      item.remove();
      this.#items.delete(id);
    }
    for (const row of rows) {
      const parts = this.#items.get(row.id) ?? this.#add(row.id, row.condition);
      say(parts.state, row.text);
      const ended = "ended" in row && row.ended;
      parts.item.dataset.state = ended ? "ended" : row.state;
      const { condition } = row;
      say(parts.stop, text(ended ? "watch.remove" : "page.stop"));
      const label = ended ? `${text("watch.remove")}: ${condition}` : text("watch.stop_watching", { condition });
      parts.stop.setAttribute("aria-label", label);
      parts.every.setAttribute("aria-pressed", String(row.repeat));
      parts.when.render(row.hours, "expires_at" in row ? row.expires_at : "until" in row ? row.until : undefined);
    }
  }

  /** @param {boolean} off the camera is off: nothing is watched */
  off(off) {
    if (off === this.#off) return;
    this.#off = off;
    this.render(...this.#shown);
  }

  /** Show for a while that a watch was stopped. @param {string} id @param {string} condition */
  stopped(id, condition) {
    this.#stopped.set(id, condition);
    setTimeout(() => {
      this.#stopped.delete(id);
      this.render(...this.#shown);
    }, SHOWN_STOPPED);
  }

  /** @param {string} id @param {string} condition */
  #add(id, condition) {
    const item = make("li");
    const words = make("div", "words");
    const state = make("p", "fine");
    words.append(make("p", "condition", condition), state);
    const every = make("button", "every", text("watch.every_time"));
    every.type = "button";
    every.title = text("watch.every_time_hint");
    every.addEventListener("click", () =>
      this.#hooks.onChange(id, { repeat: every.getAttribute("aria-pressed") !== "true" }),
    );
    const stop = make("button");
    stop.type = "button";
    stop.addEventListener("click", () => this.#hooks.onStop(id));
    const when = new When((change) => this.#hooks.onChange(id, change));
    item.append(words, every, stop, when.element);
    this.#list.append(item);
    const parts = { item, state, every, stop, when };
    this.#items.set(id, parts);
    return parts;
  }

  /** The entry of an alert, to be put among the answers. @param {Alert} alert @returns {HTMLElement} */
  entry(alert) {
    const entry = make("article", "alert");
    entry.dataset.id = alert.id;
    this.#alerts.set(alert.id, { alert, entry, wrong: false });
    for (const id of this.#alerts.keys()) if (this.#alerts.size > MOST_PAST) this.#alerts.delete(id);
    this.#fill(alert.id);
    this.#renderPast();
    return entry;
  }

  /** Open the list of watches and past alerts. @returns {boolean} false if both are empty */
  reveal() {
    this.box.open = this.#items.size > 0 || this.#alerts.size > 0;
    this.render(...this.#shown);
    if (this.box.open) this.#summary.focus();
    return this.box.open;
  }

  /** List the alerts of this session, the newest first. */
  #renderPast() {
    show(this.#past, this.#alerts.size > 0);
    const [words, list] = this.#past.children;
    say(words, text("watch.past", { count: this.#alerts.size }));
    const rows = [...this.#alerts.values()].reverse().map(({ alert, entry }) => {
      const row = make("button", "past");
      row.type = "button";
      const image = alert.image?.startsWith(JPEG) ? [this.#image(alert)] : [];
      row.append(...image, make("span", "condition", alert.condition), make("time", "", clock(alert.at)));
      row.addEventListener("click", () => this.#hooks.onSee(entry));
      const item = make("li");
      item.append(row);
      return item;
    });
    list.replaceChildren(...rows);
  }

  /** @returns {HTMLElement[]} the entries of all alerts, which are this view's no more */
  forget() {
    const entries = [...this.#alerts.values()].map(({ entry }) => entry);
    this.#alerts.clear();
    this.#renderPast();
    return entries;
  }

  /** @param {string} id of an alert, whose entry is filled in the page's language */
  #fill(id) {
    const shown = this.#alerts.get(id);
    if (!shown) return;
    const { alert, entry } = shown;
    entry.replaceChildren();
    entry.setAttribute("aria-label", text("watch.it_rang", { condition: alert.condition }));
    const head = make("p", "head");
    const time = make("time", "", clock(alert.at));
    time.dateTime = new Date(alert.at).toISOString();
    head.append(make("strong", "", alert.condition), " ", time);
    const picture = this.#picture(alert);
    if (picture) entry.append(picture);
    picture?.setAttribute("aria-expanded", String(entry.classList.contains("large")));
    picture?.addEventListener("click", () => {
      const large = entry.classList.toggle("large");
      picture.setAttribute("aria-expanded", String(large));
      entry.scrollIntoView({ block: "nearest" });
    });
    entry.append(head);
    const reason = make("p", "reason", alert.reason);
    const foot = make("div", "foot");
    const wrong = make("button", "", text("watch.wrong"));
    wrong.type = "button";
    wrong.disabled = shown.wrong;
    wrong.addEventListener("click", () => {
      this.#hooks.onWrong(alert.id);
      wrong.disabled = shown.wrong = true;
      say(sure, text("watch.taken_back"));
    });
    const share = percent(alert.confidence);
    const sure = make("span", "fine", shown.wrong ? text("watch.taken_back") : text("watch.sure", { share }));
    sure.setAttribute("role", "status");
    foot.append(sure, ...(alert.model ? [make("span", "fine", isolated(engineName(alert.model)))] : []), wrong);
    const done = make("button", "", text("watch.got_it"));
    done.type = "button";
    done.addEventListener("click", () => this.#hooks.onDone(entry));
    foot.append(done);
    entry.append(reason, foot);
  }

  /** @param {Alert} alert whose reason has changed */
  reword(alert) {
    const shown = this.#alerts.get(alert.id);
    if (!shown) return;
    shown.alert = alert;
    const reason = shown.entry.querySelector(".reason");
    if (reason) say(reason, alert.reason);
  }

  /** @param {Alert} alert */
  #image({ image, condition }) {
    const shown = make("img");
    shown.src = image ?? "";
    shown.alt = text("watch.picture_of", { condition });
    return shown;
  }

  /** @param {Alert} alert */
  #picture(alert) {
    const { image, region } = alert;
    if (!image?.startsWith(JPEG)) return null;
    const frame = make("button", "proof");
    frame.type = "button";
    frame.title = text("page.enlarge");
    frame.append(this.#image(alert));
    if (region) {
      const [left, top, right, bottom] = region.map((share) => Math.min(1, Math.max(0, share)) * 100);
      const mark = make("i");
      Object.assign(mark.style, {
        left: `${left}%`,
        top: `${top}%`,
        width: `${right - left}%`,
        height: `${bottom - top}%`,
      });
      frame.append(mark);
    }
    return frame;
  }
}
