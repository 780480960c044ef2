import { byId, show } from "../page/dom.js";
import { change, forgetSettings, onSettings, settings } from "../page/settings.js";
import { language, number, onLanguage, percent, text } from "../words/text.js";

/** @typedef {import("../page/settings.js").Settings} Settings */

/** The dialog of the settings. Each control has the name of its setting, and holds at once. */
export class SettingsPanel {
  #dialog = byId("settings", HTMLDialogElement);
  #voice = byId("settings-voice", HTMLSelectElement);
  #said = byId("settings-said", HTMLElement);

  /** @param {(select: HTMLSelectElement) => void} languages fill it */
  constructor(languages) {
    languages(byId("language", HTMLSelectElement));
    byId("settings-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("settings-forget", HTMLButtonElement).addEventListener("click", () => {
      forgetSettings();
      this.#said.textContent = text("settings.forgotten");
    });
    for (const control of this.#controls) control.addEventListener("change", () => this.#take(control));
    for (const name of ["sensitivity", "silence"])
      byId(`settings-${name}`, HTMLInputElement).addEventListener("input", () => this.#showRanges());
    window.speechSynthesis?.addEventListener?.("voiceschanged", () => this.#offerVoices());
    onSettings(() => this.#render());
    onLanguage(() => this.#translate());
    this.#render();
  }

  open() {
    this.#said.textContent = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#offerVoices();
  }

  /** @returns {(HTMLInputElement|HTMLSelectElement)[]} */
  get #controls() {
    return [...this.#dialog.querySelectorAll("select[name], input[name]")].filter(
      (one) => one instanceof HTMLInputElement || one instanceof HTMLSelectElement,
    );
  }

  /** @param {HTMLInputElement|HTMLSelectElement} control */
  #take(control) {
    this.#said.textContent = "";
    // Who switches the model's acts here need not be asked.
    change({ [control.name]: valueOf(control), ...(control.name === "tools" && { toolsAsked: true }) });
  }

  #render() {
    const now = /** @type {any} */ (settings());
    for (const control of this.#controls) {
      if (control.type === "checkbox") /** @type {HTMLInputElement} */ (control).checked = now[control.name];
      else if (control.name === "sensitivity") control.value = String(Math.log2(now.sensitivity || 1));
      else control.value = String(now[control.name]);
    }
    // One that is not here now: the browser chooses.
    if (this.#voice.selectedIndex < 0) this.#voice.value = "";
    this.#showRanges();
  }

  /** The browser's voices, those of the page's language first. Some browsers find them late. */
  #offerVoices() {
    const page = language();
    const voices = [...(window.speechSynthesis?.getVoices?.() ?? [])];
    voices.sort(
      (one, other) =>
        Number(other.lang.startsWith(page)) - Number(one.lang.startsWith(page)) || one.lang.localeCompare(other.lang),
    );
    for (const id of ["settings-voice", "settings-speed"])
      show(/** @type {HTMLElement} */ (byId(id, HTMLElement).closest("label")), voices.length > 0);
    const option = (/** @type {SpeechSynthesisVoice} */ { name, lang, voiceURI }) =>
      new Option(name.includes(lang) ? name : `${name} (${lang})`, voiceURI);
    this.#voice.replaceChildren(new Option(text("settings.browsers_choice"), ""), ...voices.map(option));
    this.#render();
  }

  /** Show what is put together here in another language. */
  #translate() {
    this.#said.textContent = "";
    this.#offerVoices();
  }

  #showRanges() {
    const tell = (/** @type {string} */ name, /** @type {(value: number) => string} */ words) => {
      const range = byId(`settings-${name}`, HTMLInputElement);
      const said = words(Number(range.value));
      byId(`settings-${name}-value`, HTMLOutputElement).textContent = said;
      range.setAttribute("aria-valuetext", said);
    };
    tell("sensitivity", (value) => percent(2 ** value));
    tell("silence", (value) => text("page.seconds_long", { number: number(value / 1000, 1) }));
  }
}

/** @param {HTMLInputElement|HTMLSelectElement} control @returns {string|number|boolean} */
function valueOf(control) {
  if (control.type === "checkbox") return /** @type {HTMLInputElement} */ (control).checked;
  // Each step of the slider doubles or halves it.
  if (control.name === "sensitivity") return 2 ** Number(control.value);
  return control.type === "range" ? Number(control.value) : control.value;
}
