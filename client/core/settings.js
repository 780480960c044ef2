/** The settings' connection with camera and session; their dialog loads when it is opened. */

import { byId } from "./page/dom.js";
import { Part } from "./page/part.js";
import { change, onSettings, settings } from "./page/settings.js";

export class SettingsEntry {
  // The session's values, as last compared
  #told = settings().sensitivity;
  #visit;
  #begun = false;

  /**
   * @param {import("./live/visit.js").Visit} visit
   * @param {(again: () => void) => void} onMissing the dialog did not load
   * @param {import("./page/language.js").Language} words
   */
  constructor(visit, onMissing, words) {
    this.#visit = visit;
    const button = byId("settings-open", HTMLButtonElement);
    const part = new Part({
      address: new URL("./settings/panel.js", import.meta.url),
      load: async () => {
        const { SettingsPanel } = await import("./settings/panel.js");
        return new SettingsPanel((select) => words.offer(select));
      },
      sheets: [new URL("./settings/settings.css", import.meta.url)],
      elements: new URL("./settings/panel.html", import.meta.url),
      onMissing,
    });
    button.addEventListener("click", () => void part.open(button));
    const { camera, resolution } = settings();
    visit.camera.prefer(camera, Number(resolution));
    visit.description.prefer({ verbosity: settings().verbosity, ...(settings().tools && { tools: true }) });
    onSettings((now, before) => {
      if (visit.camera.prefer(now.camera, Number(now.resolution))) void visit.exchangeCamera(true);
      if (now.tools !== before.tools) visit.description.prefer({ tools: now.tools });
      if (now.verbosity !== before.verbosity) visit.description.prefer({ verbosity: now.verbosity });
      const { ready, preferred } = visit.facts;
      if (now.sensitivity !== before.sensitivity && now.sensitivity !== preferred.sensitivity) {
        // 0: the server's own, which it says when a session begins
        this.#told = now.sensitivity || (ready?.sensitivity ?? 1);
        visit.description.prefer({ sensitivity: this.#told });
      }
    });
  }

  /**
   * Keep what was chosen at the answers; at first prefer what was kept.
   * @param {import("./live/facts.js").Facts} facts
   */
  render({ preferred: { sensitivity } }) {
    if (!this.#begun) {
      this.#begun = true;
      if (this.#told) this.#visit.description.prefer({ sensitivity: this.#told });
    } else if (sensitivity && sensitivity !== this.#told) {
      this.#told = sensitivity;
      change({ sensitivity });
    }
  }
}
