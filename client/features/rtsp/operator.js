import { ApiError } from "../../core/live/api.js";
import { WatchingDesk } from "../../core/operator/desk.js";
import { failure, lasted } from "../../core/operator/words.js";
import { button, byId, made, say, show, tell } from "../../core/page/dom.js";

/**
 * A fixed camera.
 * @typedef {{name: string, where: string, state: "connecting"|"live"|"waiting", detail: string, sends: string,
 *   since_seconds: number, retry_seconds: number|null, codec: string, fps: number, width: number|null,
 *   height: number|null, unwatched: {condition: string, reason: string}[]}} HouseCamera
 */

/**
 * The last question to a camera, and its answer.
 * @typedef {{question: string, answer: string, waiting: boolean}} Asked
 */

/**
 * @typedef {{cameras: HouseCamera[], pictures: Map<string, string>, asked: Map<string, Asked>, problem: string}}
 *   CamerasFacts
 */

const LOOK_EVERY = 3000;
const ADDRESS = "/api/operator/cameras";

/**
 * Reads the fixed cameras for the operator, shows and asks them. Uses no DOM.
 * @extends {WatchingDesk<CamerasFacts>}
 */
export class CamerasDesk extends WatchingDesk {
  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: CamerasFacts) => void}} hooks */
  constructor(hooks) {
    // Pictures are object URLs by the camera's name; a camera that is not shown has none, or "" at first.
    super({ cameras: [], pictures: new Map(), asked: new Map(), problem: "" }, hooks);
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    super.watch(on);
    if (!on) for (const name of [...this.facts.pictures.keys()]) this.#picture(name, null);
  }

  /** @param {string} name @param {boolean} shown */
  show(name, shown) {
    this.#picture(name, shown ? "" : null);
    if (shown) void this.#see(name).then(() => this.set());
    else this.set();
  }

  /** @param {string} name */
  async retry(name) {
    await this.attempt(async () => {
      const { cameras } = await this.ask("POST", `${ADDRESS}/${name}/retry`);
      this.set({ cameras });
    });
  }

  /** @param {string} name @param {string} question */
  async question(name, question) {
    const asked = { question, answer: "", waiting: true };
    this.facts.asked.set(name, asked);
    this.set();
    try {
      const reply = await this.ask("POST", `${ADDRESS}/${name}/ask`, { content: question });
      asked.answer = reply.text ?? reply.message ?? "";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      asked.answer = failure(error);
    }
    asked.waiting = false;
    this.set();
  }

  async look() {
    await this.attempt(async () => {
      const { cameras } = await this.ask("GET", ADDRESS);
      this.set({ cameras, problem: "" });
    });
    for (const name of [...this.facts.pictures.keys()]) await this.#see(name);
    this.set();
    return LOOK_EVERY;
  }

  /** Fetch a picture; without one the last stays away, so that no old one is shown. @param {string} name */
  async #see(name) {
    let url = "";
    try {
      url = URL.createObjectURL(await this.ask("GET", `${ADDRESS}/${name}/picture`, undefined, "blob"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    if (this.rounds.watching && this.facts.pictures.has(name)) this.#picture(name, url);
    else if (url) URL.revokeObjectURL(url);
  }

  /** @param {string} name @param {string|null} url null: it is not shown */
  #picture(name, url) {
    const old = this.facts.pictures.get(name);
    if (old) URL.revokeObjectURL(old);
    if (url === null) this.facts.pictures.delete(name);
    else this.facts.pictures.set(name, url);
  }
}

const STATES = { connecting: "connecting", live: "live", waiting: "no picture" };

/** The fixed cameras in the operator's panel: state, picture, a question. Uses no connection. */
export class CamerasView {
  #section = byId("cameras", HTMLElement);
  #list = byId("cameras-list", HTMLElement);
  #problem = byId("cameras-problem", HTMLElement);
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #hooks;

  /**
   * @param {{onShow: (name: string, shown: boolean) => void, onRetry: (name: string) => void,
   *   onQuestion: (name: string, question: string) => void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /** @param {CamerasFacts} facts */
  render({ cameras, pictures, asked, problem }) {
    tell(this.#problem, problem);
    show(this.#section, cameras.length > 0 || problem !== "");
    const names = cameras.map(({ name }) => name);
    if (names.join() !== [...this.#cards.keys()].join()) {
      this.#cards = new Map(names.map((name) => [name, new Card(name, this.#hooks)]));
      this.#list.replaceChildren(...[...this.#cards.values()].map(({ item }) => item));
    }
    for (const camera of cameras)
      this.#cards.get(camera.name)?.render(camera, pictures.get(camera.name), asked.get(camera.name));
  }
}

/** One camera. */
class Card {
  item = made("li");
  #name;
  #small = made("small");
  #detail = made("p", { className: "fine" });
  #image = made("img");
  #look;
  #retry;
  #form;
  #answer = made("p", { className: "answer", dir: "auto" });
  #shown = false;

  /**
   * @param {string} name
   * @param {{onShow: (name: string, shown: boolean) => void, onRetry: (name: string) => void,
   *   onQuestion: (name: string, question: string) => void}} hooks
   */
  constructor(name, { onShow, onRetry, onQuestion }) {
    this.#name = name;
    const words = made("span", {}, made("strong", { translate: false }, name), this.#small);
    this.#look = button(() => onShow(name, !this.#shown));
    this.#retry = button(() => onRetry(name));
    const head = made("div", { className: "head" }, words, this.#look, this.#retry);
    const input = made("input", { type: "text", maxLength: 4000, required: true, placeholder: `Ask ${name}` });
    input.setAttribute("aria-label", `Ask ${name}`);
    this.#form = made("form", { className: "head" }, input, made("button", {}, "Ask"));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const question = input.value.trim();
      if (!question) return;
      input.value = "";
      onQuestion(name, question);
    });
    this.#answer.setAttribute("role", "status");
    this.item.append(head, this.#detail, this.#image, this.#form, this.#answer);
  }

  /** @param {HouseCamera} camera @param {string|undefined} picture @param {Asked|undefined} asked */
  render(camera, picture, asked) {
    const parts = [STATES[camera.state], `for ${lasted(camera.since_seconds)}`];
    if (camera.state === "live")
      parts.push(
        [camera.codec, camera.width && `${camera.width}×${camera.height}`, `${Math.round(camera.fps)}/s`]
          .filter(Boolean)
          .join(" "),
      );
    if (camera.retry_seconds !== null) parts.push(`tries again in ${lasted(camera.retry_seconds)}`);
    say(this.#small, [camera.where, ...parts].join(" · "));
    const unwatched = camera.unwatched.map(({ condition, reason }) => `“${condition}”: ${reason}`);
    const detail = [camera.detail, camera.sends, ...unwatched].filter(Boolean).join(" ");
    tell(this.#detail, detail);
    show(this.#retry, camera.state === "waiting");
    say(this.#retry, "Try now");
    this.#shown = picture !== undefined;
    say(this.#look, this.#shown ? "Hide picture" : "Show picture");
    this.#look.setAttribute("aria-pressed", String(this.#shown));
    show(this.#look, this.#shown || camera.state === "live");
    show(this.#image, Boolean(picture));
    if (picture && this.#image.src !== picture) this.#image.src = picture;
    this.#image.alt = `What ${this.#name} sees`;
    show(this.#form, camera.state === "live");
    say(this.#answer, asked ? (asked.waiting ? "…" : asked.answer) : "");
    show(this.#answer, asked !== undefined);
  }
}

/** In the operator's panel: the fixed cameras. @param {import("../../core/operator/panel.js").PanelApi} panel */
export function register(panel) {
  const desk = new CamerasDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const view = new CamerasView({
    onShow: (name, shown) => desk.show(name, shown),
    onRetry: (name) => void desk.retry(name),
    onQuestion: (name, question) => void desk.question(name, question),
  });
  panel.add(desk);
}
