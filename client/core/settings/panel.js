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
    for (const range of this.#ranges) range.addEventListener("input", () => showRange(range));
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
    // Turning the model's actions on here counts as consent.
    change({ [control.name]: valueOf(control), ...(control.name === "tools" && { toolsAsked: true }) });
  }

  #render() {
    const now = /** @type {any} */ (settings());
    for (const control of this.#controls) {
      if (control instanceof HTMLInputElement && control.type === "checkbox")
        control.checked = now[control.name] ?? control.defaultChecked;
      else if (control.name === "sensitivity") control.value = String(Math.log2(now.sensitivity || 1));
      else control.value = String(now[control.name] ?? usual(control));
      // A voice that is not here now, or another version's word
      if (control instanceof HTMLSelectElement && control.selectedIndex < 0) control.value = usual(control);
    }
    for (const range of this.#ranges) showRange(range);
  }

  get #ranges() {
    return this.#controls.filter((one) => one instanceof HTMLInputElement && one.type === "range");
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

}

/** Its default value. @param {HTMLInputElement|HTMLSelectElement} control */
function usual(control) {
  if (control instanceof HTMLInputElement) return control.defaultValue;
  return ([...control.options].find((one) => one.defaultSelected) ?? control.options[0])?.value ?? "";
}

/** Say its value beside it: milliseconds as seconds, else percent. @param {HTMLInputElement|HTMLSelectElement} range */
function showRange(range) {
  const value = Number(range.value);
  const seconds = range.dataset.unit === "ms";
  const said = seconds ? text("page.seconds_long", { number: number(value / 1000, 1) }) : percent(2 ** value);
  byId(`${range.id}-value`, HTMLOutputElement).textContent = said;
  range.setAttribute("aria-valuetext", said);
}

/** @param {HTMLInputElement|HTMLSelectElement} control @returns {string|number|boolean} */
function valueOf(control) {
  if (control.type === "checkbox") return /** @type {HTMLInputElement} */ (control).checked;
  // Each step of the slider doubles or halves it.
  if (control.name === "sensitivity") return 2 ** Number(control.value);
  return control.type === "range" ? Number(control.value) : control.value;
}
