import { byId, say, show, tell } from "../../core/page/dom.js";

/** @typedef {import("./making.js").MakingFacts} MakingFacts */
/** @typedef {import("./making.js").Making} Making */
/** @typedef {import("./making.js").Takes} Takes */

/** The form and result of generating models in the engine panel. Uses no connection. */
export class MakingView {
  #section = byId("making", HTMLElement);
  #form = byId("making-form", HTMLFormElement);
  #title = byId("making-title", HTMLElement);
  #details = byId("making-details", HTMLDetailsElement);
  #prompt = byId("making-prompt", HTMLTextAreaElement);
  #camera = byId("making-camera", HTMLInputElement);
  #start = byId("making-start", HTMLButtonElement);
  #cancel = byId("making-cancel", HTMLButtonElement);
  #bar = byId("making-bar", HTMLProgressElement);
  #state = byId("making-state", HTMLElement);
  #problem = byId("making-problem", HTMLElement);
  #count = byId("making-count", HTMLElement);
  #result = byId("making-result", HTMLElement);
  #about = byId("making-about", HTMLElement);
  #video = byId("making-video", HTMLVideoElement);
  #sound = byId("making-sound", HTMLAudioElement);
  #save = byId("making-save", HTMLAnchorElement);

  /** @type {Takes|null} drawn last */
  #takes = null;
  #url = "";
  #sessionToken;

  /**
   * @param {{onStart: (wishes: object) => void, onRefuse: (problem: string) => void, onCancel: () => void,
   *   sessionToken: () => string|null}} hooks
   *   onRefuse: the request cannot be sent; sessionToken: of the session whose camera may give the first frame
   */
  constructor({ onStart, onRefuse, onCancel, sessionToken }) {
    this.#sessionToken = sessionToken;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const wishes = this.#wishes();
      if (wishes) onStart(wishes);
      else onRefuse("There is no camera to begin with. Start the camera of this page first.");
    });
    // Unfold the details, because a browser cannot show an error beside a hidden field.
    this.#form.addEventListener("invalid", () => (this.#details.open = true), { capture: true });
    this.#form.addEventListener("input", () => this.#renderCount());
    this.#cancel.addEventListener("click", onCancel);
  }

  /** @param {MakingFacts} facts */
  render({ takes, making, busy, problem, result }) {
    const wrong = problem || (making?.state === "failed" ? making.error?.message ?? "" : "");
    show(this.#section, takes !== null || result !== null || wrong !== "");
    if (takes) this.#renderForm(takes);
    show(this.#form, takes !== null);
    const goes = making?.state === "working" || making?.state === "cancelling";
    this.#start.disabled = busy || goes || making?.state === "ready";
    show(this.#start, !goes);
    show(this.#cancel, goes);
    this.#cancel.disabled = busy || making?.state === "cancelling";
    show(this.#bar, goes);
    const share = making && making.steps > 0 && making.phase === "steps" ? making.step / making.steps : null;
    if (share === null) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    say(this.#state, making ? words(making, result?.of) : "");
    tell(this.#problem, wrong);
    this.#renderResult(result);
  }

  /** @param {Takes} takes */
  #renderForm(takes) {
    if (JSON.stringify(takes) === JSON.stringify(this.#takes)) return;
    this.#takes = takes;
    const video = takes.kind === "video";
    say(this.#title, video ? "Make a video" : "Make sound");
    say(byId("making-more", HTMLElement), video ? "Size, length, steps" : "More");
    this.#prompt.maxLength = takes.max_text;
    byId("making-negative", HTMLInputElement).maxLength = takes.max_text;
    for (const row of this.#form.querySelectorAll("[data-takes]")) {
      const what = /** @type {HTMLElement} */ (row).dataset.takes ?? "";
      const shown = what === "video" ? video : what === "camera" ? takes.first_frame !== "never" : false;
      const length = what === "seconds" && (video || takes.fields.includes("seconds"));
      show(/** @type {HTMLElement} */ (row), shown || length || takes.fields.includes(what));
    }
    this.#camera.checked = takes.first_frame === "must";
    this.#camera.disabled = takes.first_frame === "must";
    const { width, height, seconds, fps, steps, guidance } = takes.defaults;
    this.#limit("width", takes.min_side, takes.max_side, takes.factor, width);
    this.#limit("height", takes.min_side, takes.max_side, takes.factor, height);
    this.#limit("seconds", 0.1, takes.max_seconds, 0.1, seconds);
    this.#limit("fps", 1, takes.max_fps, 1, fps);
    this.#limit("steps", 1, takes.max_steps, 1, steps);
    this.#limit("guidance", 0, takes.max_guidance, 0.1, guidance);
    this.#renderCount();
  }

  /**
   * @param {string} name @param {number} least @param {number} most @param {number} step
   * @param {number|null} usual the default
   */
  #limit(name, least, most, step, usual) {
    const field = byId(`making-${name}`, HTMLInputElement);
    field.min = String(least);
    field.max = String(most);
    field.step = String(step);
    field.placeholder = usual === null ? "" : String(usual);
  }

  /** Show the number of frames for the seconds, computed like the server does. */
  #renderCount() {
    const takes = this.#takes;
    if (!takes || takes.kind !== "video") return;
    const { max_frames: most, frame_step: step } = takes;
    /** @param {string} name @returns {number} */
    const given = (name) => {
      const { value, placeholder } = byId(`making-${name}`, HTMLInputElement);
      return Number(value || placeholder);
    };
    const fps = given("fps");
    const long = byId("making-seconds", HTMLInputElement).value !== "";
    const wanted = (long ? given("seconds") : Math.min(given("seconds"), most / fps)) * fps;
    const frames = Math.max(0, Math.round((wanted - 1) / step)) * step + 1;
    let count = `${Math.min(most, frames)} frames`;
    if (step > 1 && frames !== wanted) count += ", the nearest count that this model makes";
    if (wanted > most + 0.5) count = `more than ${most} frames, the most`;
    say(
      this.#count,
      wanted > 0 ? `${Math.round((wanted / fps) * 100) / 100}\u00a0s of ${fps} frames a second: ${count}.` : "",
    );
  }

  /** @returns {Record<string, string|number>|null} null when the camera is selected but off */
  #wishes() {
    /** @type {Record<string, string|number>} */
    const wishes = { prompt: this.#prompt.value.trim() };
    for (const field of this.#form.querySelectorAll("input")) {
      const row = field.closest("[data-takes]");
      if (!field.value.trim() || field.type === "checkbox" || (row instanceof HTMLElement && row.hidden)) continue;
      wishes[field.name] = field.type === "number" ? Number(field.value) : field.value.trim();
    }
    if (this.#takes?.first_frame === "never" || !this.#camera.checked) return wishes;
    const token = this.#sessionToken();
    return token ? { ...wishes, camera: token } : null;
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
    const { width, height, seed } = result.of;
    const seconds = Math.round(result.of.seconds * 100) / 100;
    const what = result.kind === "sound" ? `${seconds}\u00a0s of sound` : `${width}×${height}, ${seconds}\u00a0s`;
    say(this.#about, `${what}, seed ${seed}. Only this page has it: save it, or it is gone with the page.`);
  }
}

/**
 * The progress in words.
 * @param {Making} making
 * @param {Making} [shown] the job of the shown result
 * @returns {string}
 */
function words(making, shown) {
  const { state, phase, step, steps, made, frames, elapsed } = making;
  switch (state) {
    case "working": {
      const part = {
        steps: steps ? `Step ${step} of ${steps}` : "At work",
        decoding: "Decoding",
        encoding: `Frame ${made} of ${frames}`,
      };
      return `${part[phase || "steps"]}, ${Math.round(elapsed)}\u00a0s`;
    }
    case "cancelling":
      return "Cancelling";
    case "ready":
      return "Made. It is on its way here";
    case "taken":
      return shown?.seed === making.seed && shown.bytes === making.bytes
        ? `Made in ${elapsed < 10 ? elapsed : Math.round(elapsed)}\u00a0s`
        : "The last one went to another page, or to this one before it was loaded anew.";
    case "cancelled":
      return "Cancelled";
    case "expired":
      return "Nobody took it in time: it is gone.";
    default:
      return "";
  }
}
