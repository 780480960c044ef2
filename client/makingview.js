import { byId, say, show } from "./dom.js";

/** @typedef {import("./making.js").MakingFacts} MakingFacts */
/** @typedef {import("./making.js").Making} Making */
/** @typedef {import("./making.js").Takes} Takes */

/** The part of the engine panel that has the loaded model make something. Knows no connection. */
export class MakingView {
  #section = byId("making", HTMLElement);
  #form = byId("making-form", HTMLFormElement);
  #title = byId("making-title", HTMLElement);
  #prompt = byId("making-prompt", HTMLTextAreaElement);
  #camera = byId("making-camera", HTMLInputElement);
  #start = byId("making-start", HTMLButtonElement);
  #cancel = byId("making-cancel", HTMLButtonElement);
  #bar = byId("making-bar", HTMLProgressElement);
  #state = byId("making-state", HTMLElement);
  #problem = byId("making-problem", HTMLElement);
  #result = byId("making-result", HTMLElement);
  #video = byId("making-video", HTMLVideoElement);
  #sound = byId("making-sound", HTMLAudioElement);
  #save = byId("making-save", HTMLAnchorElement);

  /** @type {Takes|null} drawn last */
  #takes = null;
  #url = "";
  #sessionToken;

  /**
   * @param {{onStart: (wishes: object) => void, onCancel: () => void, sessionToken: () => string|null}} hooks
   *   sessionToken: whose camera the first frame may come from
   */
  constructor({ onStart, onCancel, sessionToken }) {
    this.#sessionToken = sessionToken;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      onStart(this.#wishes());
    });
    this.#cancel.addEventListener("click", onCancel);
  }

  /** @param {MakingFacts} facts */
  render({ takes, making, busy, problem, result }) {
    show(this.#section, takes !== null || result !== null);
    if (takes) this.#renderForm(takes);
    show(this.#form, takes !== null);
    const goes = making?.state === "working" || making?.state === "cancelling";
    this.#start.disabled = busy || goes;
    show(this.#start, !goes);
    show(this.#cancel, goes);
    this.#cancel.disabled = busy || making?.state === "cancelling";
    show(this.#bar, goes);
    const share = making && making.steps > 0 && making.phase === "steps" ? making.step / making.steps : null;
    if (share === null) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    say(this.#state, making ? words(making) : "");
    const wrong = problem || (making?.state === "failed" ? (making.error?.message ?? "") : "");
    say(this.#problem, wrong);
    show(this.#problem, wrong !== "");
    this.#renderResult(result);
  }

  /** @param {Takes} takes */
  #renderForm(takes) {
    if (JSON.stringify(takes) === JSON.stringify(this.#takes)) return;
    this.#takes = takes;
    const video = takes.kind === "video";
    say(this.#title, video ? "Make a video" : "Make sound");
    this.#prompt.maxLength = takes.max_text;
    for (const row of this.#form.querySelectorAll("[data-takes]")) {
      const what = /** @type {HTMLElement} */ (row).dataset.takes ?? "";
      const shown = what === "video" ? video : what === "camera" ? takes.first_frame !== "never" : false;
      const length = what === "seconds" && (video || takes.fields.includes("seconds"));
      show(/** @type {HTMLElement} */ (row), shown || length || takes.fields.includes(what));
    }
    this.#camera.checked = takes.first_frame === "must";
    this.#camera.disabled = takes.first_frame === "must";
    this.#limit("width", takes.factor, takes.max_side, takes.factor);
    this.#limit("height", takes.factor, takes.max_side, takes.factor);
    this.#limit("fps", 1, takes.max_fps, 1);
    this.#limit("steps", 1, takes.max_steps, 1);
    this.#limit("guidance", 0, takes.max_guidance, 0.1);
  }

  /** @param {string} name @param {number} least @param {number} most @param {number} step */
  #limit(name, least, most, step) {
    const field = byId(`making-${name}`, HTMLInputElement);
    field.min = String(least);
    field.max = String(most);
    field.step = String(step);
  }

  /** @returns {Record<string, string|number>} */
  #wishes() {
    /** @type {Record<string, string|number>} */
    const wishes = { prompt: this.#prompt.value.trim() };
    for (const field of this.#form.querySelectorAll("input")) {
      const row = field.closest("[data-takes]");
      if (!field.value.trim() || field.type === "checkbox" || (row instanceof HTMLElement && row.hidden)) continue;
      wishes[field.name] = field.type === "number" ? Number(field.value) : field.value.trim();
    }
    const token = this.#sessionToken();
    const camera = this.#takes?.first_frame !== "never" && this.#camera.checked;
    if (camera && token) wishes.camera = token;
    return wishes;
  }

  /** @param {MakingFacts["result"]} result */
  #renderResult(result) {
    show(this.#result, result !== null);
    const url = result?.url ?? "";
    if (url === this.#url) return;
    this.#url = url;
    for (const element of [this.#video, this.#sound]) {
      element.pause();
      element.removeAttribute("src");
      element.load();
    }
    if (!result) return;
    show(this.#video, result.kind === "video");
    show(this.#sound, result.kind === "sound");
    (result.kind === "video" ? this.#video : this.#sound).src = url;
    this.#save.href = url;
    this.#save.download = result.name;
  }
}

/** How far it is. @param {Making} making @returns {string} */
function words(making) {
  const { state, phase, step, steps, made, frames, width, height, seconds, seed, elapsed } = making;
  const what = making.kind === "sound" ? `${seconds} s of sound` : `${width}×${height}, ${seconds} s`;
  switch (state) {
    case "working": {
      const part = { steps: steps ? `Step ${step} of ${steps}` : "At work", decoding: "Decoding", encoding: `Frame ${made} of ${frames}` };
      return `${part[phase || "steps"]}, ${Math.round(elapsed)} s`;
    }
    case "cancelling":
      return "Cancelling";
    case "ready":
    case "taken":
      return `${what}, seed ${seed}, made in ${Math.round(elapsed)} s. Only this page has it: save it, or it is gone with the page.`;
    case "cancelled":
      return "Cancelled";
    case "expired":
      return "Nobody took it in time: it is gone.";
    default:
      return "";
  }
}
