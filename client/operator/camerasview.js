import { byId, say, show } from "../page/dom.js";
import { lasted } from "./words.js";

/** @typedef {import("./cameras.js").CamerasFacts} CamerasFacts */
/** @typedef {import("./cameras.js").HouseCamera} HouseCamera */

const STATES = { connecting: "connecting", live: "live", waiting: "no picture" };

/** The cameras of the house in the operator's panel: state, picture, a question. Uses no connection. */
export class CamerasView {
  #section = byId("cameras", HTMLElement);
  #list = byId("cameras-list", HTMLElement);
  #problem = byId("cameras-problem", HTMLElement);
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #hooks;

  /** @param {{onShow: (name: string, shown: boolean) => void, onRetry: (name: string) => void, onQuestion: (name: string, question: string) => void}} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /** @param {CamerasFacts} facts */
  render({ cameras, pictures, asked, problem }) {
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
    show(this.#section, cameras.length > 0 || problem !== "");
    const names = cameras.map(({ name }) => name);
    if (names.join() !== [...this.#cards.keys()].join()) {
      this.#cards = new Map(names.map((name) => [name, new Card(name, this.#hooks)]));
      this.#list.replaceChildren(...[...this.#cards.values()].map(({ item }) => item));
    }
    for (const camera of cameras) this.#cards.get(camera.name)?.render(camera, pictures.get(camera.name), asked.get(camera.name));
  }
}

/** One camera. */
class Card {
  item = document.createElement("li");
  #name;
  #small = document.createElement("small");
  #detail = document.createElement("p");
  #image = document.createElement("img");
  #look = document.createElement("button");
  #retry = document.createElement("button");
  #form = document.createElement("form");
  #answer = document.createElement("p");
  #shown = false;

  /** @param {string} name @param {{onShow: (name: string, shown: boolean) => void, onRetry: (name: string) => void, onQuestion: (name: string, question: string) => void}} hooks */
  constructor(name, { onShow, onRetry, onQuestion }) {
    this.#name = name;
    const title = document.createElement("strong");
    title.textContent = name;
    title.translate = false;
    const words = document.createElement("span");
    words.append(title, this.#small);
    this.#look.type = this.#retry.type = "button";
    this.#look.addEventListener("click", () => onShow(name, !this.#shown));
    this.#retry.addEventListener("click", () => onRetry(name));
    const head = document.createElement("div");
    head.className = "head";
    head.append(words, this.#look, this.#retry);
    this.#detail.className = "fine";
    const input = document.createElement("input");
    input.type = "text";
    input.maxLength = 4000;
    input.required = true;
    input.placeholder = `Ask ${name}`;
    input.setAttribute("aria-label", `Ask ${name}`);
    const button = document.createElement("button");
    button.textContent = "Ask";
    this.#form.append(input, button);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const question = input.value.trim();
      if (!question) return;
      input.value = "";
      onQuestion(name, question);
    });
    this.#answer.className = "answer";
    this.#answer.setAttribute("role", "status");
    this.#answer.dir = "auto";
    this.item.append(head, this.#detail, this.#image, this.#form, this.#answer);
  }

  /** @param {HouseCamera} camera @param {string|undefined} picture @param {import("./cameras.js").Asked|undefined} asked */
  render(camera, picture, asked) {
    const parts = [STATES[camera.state], `for ${lasted(camera.since_seconds)}`];
    if (camera.state === "live") parts.push([camera.codec, camera.width && `${camera.width}×${camera.height}`, `${Math.round(camera.fps)}/s`].filter(Boolean).join(" "));
    if (camera.retry_seconds !== null) parts.push(`tries again in ${lasted(camera.retry_seconds)}`);
    say(this.#small, [camera.where, ...parts].join(" · "));
    const unwatched = camera.unwatched.map(({ condition, reason }) => `“${condition}”: ${reason}`);
    const detail = [camera.detail, camera.sends, ...unwatched].filter(Boolean).join(" ");
    say(this.#detail, detail);
    show(this.#detail, detail !== "");
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
