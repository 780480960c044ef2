import { button, made, say, show } from "../../core/page/dom.js";
import { list, onLanguage, text } from "../../core/words/text.js";

/** @typedef {{name: string, host: string, on: boolean}} WebhookOffer */
/** @typedef {{host: string, on: boolean}} HomeAssistant */

// A name, the same in all languages
const HOME = "Home Assistant";

/**
 * The programs to which a person may let alerts go, Home Assistant too: a switch for each, and the light while one gets
 * them.
 */
export class Receivers {
  /** In the list of watches */
  element = made("details", { id: "receivers" });
  /** Above it, while alerts go somewhere */
  light = made("div", { id: "receivers-light", className: "band" });

  #send;
  /** @type {WebhookOffer[]} */
  #offers = [];
  /** @type {HomeAssistant|null} */
  #home = null;
  // The person ended it without a connection; the server hears it as soon as it can.
  #ending = false;
  #summary = made("summary");
  #about = made("p", { className: "fine" });
  #rows = made("div");
  #homeInput = made("input", { type: "checkbox" });
  #homeHost = made("small");
  #homeRow = made("label", { className: "check", translate: false }, this.#homeInput, `${HOME} `, this.#homeHost);
  #homeAbout = made("p", { className: "fine" });
  #words = made("span");
  #end = button(() => this.#choose([], false));

  /** @param {(message: import("../../core/live/messages.d.ts").ClientMessage) => boolean} send */
  constructor(send) {
    this.#send = send;
    this.#homeInput.addEventListener("change", () => this.#choose(this.#on(), this.#homeInput.checked));
    this.element.append(this.#summary, this.#about, this.#rows, this.#homeRow, this.#homeAbout);
    this.light.setAttribute("role", "status");
    const dot = made("i");
    dot.setAttribute("aria-hidden", "true");
    this.light.append(dot, this.#words, this.#end);
    onLanguage(() => this.#render());
    this.#render();
  }

  /**
   * @param {import("../../core/live/messages.d.ts").ServerMessage} message
   * @returns {boolean} true when it was about them
   */
  receive(message) {
    if (message.type === "webhooks") this.#offers = message.webhooks;
    else if (message.type === "home_assistant") this.#home = message;
    else return false;
    this.#render();
    if (this.#ending) this.#choose([], false);
    return true;
  }

  /** Another session began, which tells nobody. */
  forget() {
    this.#offers = [];
    this.#home = null;
    this.#ending = false;
    this.#render();
  }

  /** @returns {string[]} names of the webhooks that get alerts */
  #on() {
    return this.#offers.filter((one) => one.on).map(({ name }) => name);
  }

  /** @param {string[]} names @param {boolean} home */
  #choose(names, home) {
    const on = this.#on();
    const changed = names.length !== on.length || names.some((name) => !on.includes(name));
    let sent = true;
    if (changed) sent = this.#send({ type: "forward", webhooks: names });
    if (home !== (this.#home?.on ?? false)) sent = this.#send({ type: "home_assistant", on: home }) && sent;
    this.#ending = !sent && names.length === 0 && !home;
    // The server says what holds then.
    if (!sent) this.#render();
  }

  #render() {
    const on = this.#on();
    const home = this.#home?.on ?? false;
    say(this.#summary, text("watch.tell_programs"));
    say(this.#about, text("watch.tell_about"));
    show(this.element, this.#offers.length > 0 || this.#home !== null);
    show(this.light, on.length > 0 || home);
    const words = on.length > 0 || home ? [text("watch.alerts_go", { names: list(home ? [...on, HOME] : on) })] : [];
    if (home) words.push(text("watch.home_looks"));
    if (words.length > 0) say(this.#words, words.join(" "));
    say(this.#end, text("page.end"));
    this.#rows.replaceChildren(...this.#offers.map((offer) => this.#row(offer, on)));
    show(this.#homeRow, this.#home !== null);
    show(this.#homeAbout, this.#home !== null);
    this.#homeHost.textContent = this.#home?.host ?? "";
    this.#homeInput.checked = home;
    say(this.#homeAbout, text("watch.home_about"));
  }

  /** @param {WebhookOffer} offer @param {string[]} on names of those that get alerts */
  #row(offer, on) {
    const kept = this.#rows.querySelector(`input[name="${CSS.escape(offer.name)}"]`);
    const input = kept instanceof HTMLInputElement ? kept : made("input", { type: "checkbox", name: offer.name });
    const row =
      kept?.parentElement ??
      made("label", { className: "check", translate: false }, input, `${offer.name} `, made("small", {}, offer.host));
    input.checked = offer.on;
    input.onchange = () =>
      this.#choose(
        input.checked ? [...on, offer.name] : on.filter((name) => name !== offer.name),
        this.#homeInput.checked,
      );
    return row;
  }
}
