import { byId, show } from "../page/dom.js";
import { change, forgetSettings, onSettings, settings } from "../page/settings.js";
import { text } from "../words/text.js";

/** @typedef {import("../page/settings.js").Settings} Settings */

/** The dialog of the settings. Each control has the name of its setting, and holds at once. */
export class SettingsPanel {
  #dialog = byId("settings", HTMLDialogElement);
  #camera = byId("settings-camera", HTMLSelectElement);
  #said = byId("settings-said", HTMLElement);
  #cameras;

  /** @param {{cameras: () => Promise<{id: string, name: string}[]>}} hooks cameras: empty before the camera is allowed */
  constructor({ cameras }) {
    this.#cameras = cameras;
    byId("settings-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("settings-forget", HTMLButtonElement).addEventListener("click", () => {
      forgetSettings();
      this.#said.textContent = text("The settings are as they were at first.");
    });
    for (const control of this.#controls) control.addEventListener("change", () => this.#take(control));
    byId("settings-sensitivity", HTMLInputElement).addEventListener("input", () => this.#showSensitivity());
    onSettings(() => this.#render());
    this.#render();
  }

  async open() {
    this.#said.textContent = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    const cameras = await this.#cameras();
    show(/** @type {HTMLElement} */ (this.#camera.closest("label")), cameras.length > 1);
    this.#camera.replaceChildren(new Option(text("The browser's choice"), ""), ...cameras.map(({ id, name }) => new Option(name, id)));
    this.#render();
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
    change({ [control.name]: valueOf(control) });
  }

  #render() {
    const now = /** @type {any} */ (settings());
    for (const control of this.#controls) {
      if (control.type === "checkbox") /** @type {HTMLInputElement} */ (control).checked = now[control.name];
      else if (control.type === "range") control.value = String(Math.log2(now[control.name] || 1));
      else control.value = now[control.name];
    }
    // A camera that is not here now: the browser chooses.
    if (this.#camera.selectedIndex < 0) this.#camera.value = "";
    this.#showSensitivity();
  }

  #showSensitivity() {
    const range = byId("settings-sensitivity", HTMLInputElement);
    const words = `${Math.round(2 ** Number(range.value) * 100)} %`;
    byId("settings-sensitivity-value", HTMLOutputElement).textContent = words;
    range.setAttribute("aria-valuetext", words);
  }
}

/** @param {HTMLInputElement|HTMLSelectElement} control @returns {string|number|boolean} */
function valueOf(control) {
  if (control.type === "checkbox") return /** @type {HTMLInputElement} */ (control).checked;
  // Each step of the slider doubles or halves it.
  return control.type === "range" ? 2 ** Number(control.value) : control.value;
}
