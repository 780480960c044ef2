import { ApiError, request } from "../../core/live/api.js";
import { operator } from "../../core/operator/asking.js";
import { Rounds } from "../../core/operator/rounds.js";
import { onLanguage } from "../../core/words/text.js";
import { OfferView, isUnderWay } from "./view.js";

// Interval (ms) of requests while the model is on its way
const LOOK_AGAIN = 1000;
// Time limit (ms) of a request: stopping waits for the processes' end.
const PATIENCE = 30_000;

/** The model that the server offers below an answer that only a model could give. Loaded with the first of these. */
export class ModelOffer {
  rounds = new Rounds((method) => this.#look(method));

  #page;
  #view;
  /** @type {import("./view.js").Offer} */
  #offer = { state: "none" };
  /** Why the last press did nothing, in the page's language. */
  #refused = "";
  // Number of the last request, so that an older one's response is ignored
  #asked = 0;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
    this.#view = new OfferView(page.chat, (method) => this.rounds.look(method));
    onLanguage(() => this.#render());
    this.rounds.watch(true);
  }

  /** An answer has come that only a model could give. @param {string} id of its question */
  answered(id) {
    this.#view.answer = this.#page.chat.conversation.byId(id)?.key ?? "";
    void this.rounds.look();
  }

  /** @param {"GET"|"POST"|"DELETE"} [method] @returns {Promise<number|null>} see `Rounds` */
  async #look(method = "GET") {
    const asked = ++this.#asked;
    try {
      const offer = await this.#ask(method);
      if (asked !== this.#asked) return LOOK_AGAIN;
      this.#offer = offer;
      this.#refused = "";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (method !== "GET") this.#refused = error.message;
    }
    this.#render();
    return isUnderWay(this.#offer) ? LOOK_AGAIN : null;
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  #ask(method) {
    const address = "/api/engine/offer";
    if (operator.ask) return operator.ask(method, address);
    const { id, token } = this.#page.visit.session;
    return request(method, `${address}?session=${encodeURIComponent(id ?? "")}`, { token, timeout: PATIENCE });
  }

  #render() {
    this.#view.render(this.#offer, this.#refused, this.#page.visit.facts.coming?.seconds_left);
  }
}
