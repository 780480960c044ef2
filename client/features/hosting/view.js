import { button, made, say, show, tell } from "../../core/page/dom.js";
import { progress } from "../../core/page/words.js";
import { ended, fromServer, isolated, joined, number, text } from "../../core/words/text.js";

/**
 * The server's offer, as in GET /api/engine/offer.
 * @typedef {Object} Offer
 * @property {"none"|"offered"|"fetching"|"checking"|"loading"|"failed"} state
 * @property {string} [model]
 * @property {number} [bytes] still to be fetched
 * @property {number} [done_bytes]
 * @property {number} [total_bytes] 0: unknown
 * @property {string} [error] why the last try failed, in English
 */

// From so many bytes on a size is in GB.
const GIGABYTES_FROM = 1e8;

/** True while the model is on its way. @param {Offer} offer */
export function isUnderWay({ state }) {
  return state === "fetching" || state === "checking" || state === "loading";
}

/** The button below an answer, and the model's progress in its place. Uses no connection. */
export class OfferView {
  /** Key of the turn below which it stands; "" for none. */
  answer = "";

  #chat;
  #press;
  // It is an entry of its own among the answers.
  #alone = false;
  #problem = made("p", { className: "problem" });
  #line = made("p", { id: "offer-line" });
  #bar = made("progress", { max: 100 });
  #start = button(() => this.#press("POST"), { className: "primary" });
  #stop = button(() => this.#press("DELETE"));
  #element = made("div", { className: "offer" }, this.#problem, this.#line, this.#start, this.#bar, this.#stop);

  /** @param {import("../../core/chat.js").Chat} chat @param {(method: "POST"|"DELETE") => unknown} press */
  constructor(chat, press) {
    this.#chat = chat;
    this.#press = press;
    this.#bar.setAttribute("aria-labelledby", this.#line.id);
  }

  /**
   * @param {Offer} offer
   * @param {string} refused why the last press did nothing
   * @param {number} [left] seconds until the model is here
   */
  render(offer, refused, left) {
    const { state, model = "", bytes = 0, done_bytes: done = 0, total_bytes: total = 0, error } = offer;
    const [running, failed] = [isUnderWay(offer), state === "failed"];
    const focused = this.#element.contains(document.activeElement);
    const general = failed ? text(bytes > 0 ? "offer.not_fetched" : "offer.not_started") : "";
    const problem = refused || (failed && fromServer(error, general)) || "";
    if (problem && problem !== this.#problem.textContent) this.#chat.view.announce(problem);
    tell(this.#problem, problem);
    for (const element of [this.#line, this.#bar, this.#stop]) show(element, running);
    show(this.#start, !running);
    say(this.#stop, text("page.stop"));
    const size = bytes > 0 ? text("offer.button", { size: sizeWords(bytes) }) : text("offer.here");
    say(this.#start, failed ? text("page.try_again") : size);
    const share = state === "fetching" && total > 0 ? Math.floor((100 * done) / total) : undefined;
    if (share === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    const parts = [text(state === "fetching" ? "page.coming_fetching" : "page.coming_loading", { model })];
    if (share !== undefined) {
      const part = { done: number(done / 1e6), total: isolated(`${number(total / 1e6)}\u00a0MB`) };
      parts.push(text("offer.part", part), ...progress({ percent: share, seconds_left: left }));
    }
    say(this.#line, ended(joined(parts)));
    this.#place(state !== "none", running);
    const next = running ? this.#stop : this.#start;
    if (!focused || next === document.activeElement) return;
    next.focus({ preventScroll: true });
    this.#element.scrollIntoView({ block: "nearest" });
  }

  /** @param {boolean} offered @param {boolean} running it is shown also where no answer needs it */
  #place(offered, running) {
    const proof = document.getElementById(this.answer)?.querySelector(".evidence");
    const alone = offered && !proof && (running || this.#alone);
    if (this.#alone && !alone) this.#chat.drop(this.#element);
    if (alone && !this.#alone) this.#chat.add(this.#element, false);
    this.#alone = alone;
    if (offered && proof && proof.previousElementSibling !== this.#element) proof.before(this.#element);
    else if (!offered) this.#element.remove();
  }
}

/** @param {number} bytes @returns {string} such as "0.7 GB" */
function sizeWords(bytes) {
  const large = bytes >= GIGABYTES_FROM;
  return isolated(large ? `${number(bytes / 1e9, 1)}\u00a0GB` : `${number(Math.max(1, bytes / 1e6))}\u00a0MB`);
}
