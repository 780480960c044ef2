/** The settings' connection with camera and session; their dialog loads when it is opened. */

import { byId } from "./page/dom.js";
import { Part } from "./page/part.js";
import { change, onSettings, settings } from "./page/settings.js";

export class SettingsEntry {
  // The sensitivity that the session has, as far as it was taken notice of
  #sensitivity = settings().sensitivity;
  #visit;
  #begun = false;

  /**
   * @param {import("./live/visit.js").Visit} visit
   * @param {(again: () => void) => void} onMissing the dialog did not load
   */
  constructor(visit, onMissing) {
    this.#visit = visit;
    const button = byId("settings-open", HTMLButtonElement);
    const part = new Part({
      address: new URL("./settings/panel.js", import.meta.url),
      load: async () => {
        const { SettingsPanel } = await import("./settings/panel.js");
        return new SettingsPanel({ cameras: () => visit.camera.list() });
      },
      onMissing,
    });
    button.addEventListener("click", () => void part.open(button));
    const { camera, details, resolution } = settings();
    visit.camera.prefer(camera, Number(resolution));
    openDetails(details);
    onSettings((now, before) => {
      openDetails(now.details);
      if (now.camera !== before.camera || now.resolution !== before.resolution) {
        visit.camera.prefer(now.camera, Number(now.resolution));
        void visit.exchangeCamera(true);
      }
      if (now.sensitivity !== before.sensitivity && now.sensitivity !== visit.facts.preferred.sensitivity) {
        // 0: the server's own, which it says when a session begins
        this.#sensitivity = now.sensitivity || (visit.facts.ready?.sensitivity ?? 1);
        visit.description.prefer({ sensitivity: this.#sensitivity });
      }
    });
  }

  /** Keep what was chosen at the answers; at first prefer what was kept. @param {import("./live/facts.js").Facts} facts */
  render({ preferred: { sensitivity } }) {
    if (!this.#begun) {
      this.#begun = true;
      if (this.#sensitivity) this.#visit.description.prefer({ sensitivity: this.#sensitivity });
      return;
    }
    if (!sensitivity || sensitivity === this.#sensitivity) return;
    this.#sensitivity = sensitivity;
    change({ sensitivity });
  }
}

/** Of answers from now on. @param {boolean} open */
function openDetails(open) {
  const details = byId("turn-template", HTMLTemplateElement).content.querySelector(".evidence");
  if (details instanceof HTMLDetailsElement) details.open = open;
}
