import { say, show } from "../page/dom.js";
import { list, onLanguage, text } from "../words/text.js";

/** @typedef {import("../live/watchmessages.js").WebhookOffer} WebhookOffer */

/** The programs to which a person may let rings go: a switch for each, and the light while one gets them. */
export class Telling {
  /** In the list of watches */
  element = document.createElement("details");
  /** Above it, while rings go somewhere */
  light = document.createElement("div");

  #send;
  /** @type {WebhookOffer[]} */
  #offers = [];
  // The person ended it without a connection; the server hears it as soon as it can.
  #ending = false;
  #summary = document.createElement("summary");
  #about = document.createElement("p");
  #rows = document.createElement("div");
  #words = document.createElement("span");
  #end = document.createElement("button");

  /** @param {(message: import("../live/messages.js").ClientMessage) => boolean} send */
  constructor(send) {
    this.#send = send;
    this.element.id = "tells";
    this.#about.className = "fine";
    this.element.append(this.#summary, this.#about, this.#rows);
    this.light.id = "telling";
    this.light.setAttribute("role", "status");
    const dot = document.createElement("i");
    dot.setAttribute("aria-hidden", "true");
    this.#end.type = "button";
    this.#end.addEventListener("click", () => this.#tell([]));
    this.light.append(dot, this.#words, this.#end);
    onLanguage(() => this.#render());
    this.#render();
  }

  /** @param {import("../live/messages.js").ServerMessage} message @returns {boolean} true when it was about them */
  receive(message) {
    if (message.type !== "webhooks") return false;
    this.#offers = message.webhooks;
    this.#render();
    if (this.#ending) this.#tell([]);
    return true;
  }

  /** Another session began, which tells nobody. */
  forget() {
    this.#offers = [];
    this.#ending = false;
    this.#render();
  }

  /** @param {string[]} names */
  #tell(names) {
    const sent = this.#send({ type: "tell", webhooks: names });
    this.#ending = !sent && names.length === 0;
    // The server says what holds then.
    if (!sent) this.#render();
  }

  #render() {
    const on = this.#offers.filter((one) => one.on).map(({ name }) => name);
    say(this.#summary, text("Tell other programs"));
    say(this.#about, text("Each ring of this session goes there, with its picture, until you end it."));
    show(this.element, this.#offers.length > 0);
    show(this.light, on.length > 0);
    if (on.length > 0) say(this.#words, text("Your rings go to {names}.", { names: list(on) }));
    say(this.#end, text("End"));
    this.#rows.replaceChildren(...this.#offers.map((offer) => this.#row(offer, on)));
  }

  /** @param {WebhookOffer} offer @param {string[]} on names of those that get rings */
  #row(offer, on) {
    const kept = this.#rows.querySelector(`input[name="${CSS.escape(offer.name)}"]`);
    const row = kept?.parentElement ?? document.createElement("label");
    const input = kept instanceof HTMLInputElement ? kept : document.createElement("input");
    if (!kept) {
      input.type = "checkbox";
      input.name = offer.name;
      const host = document.createElement("small");
      host.textContent = offer.host;
      row.className = "check";
      row.translate = false;
      row.append(input, `${offer.name} `, host);
    }
    input.checked = offer.on;
    input.onchange = () => this.#tell(input.checked ? [...on, offer.name] : on.filter((name) => name !== offer.name));
    return row;
  }
}
