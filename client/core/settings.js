/** The settings' connection with camera and session; their dialog loads when it is opened. */

import { byId } from "./page/dom.js";
import { Part } from "./page/part.js";
import { change, onSettings, settings } from "./page/settings.js";

export class SettingsEntry {
  // The settings that the session has, as far as they were compared
  #told = described(settings());
  #visit;
  #begun = false;

  /**
   * @param {import("./live/visit.js").Visit} visit
   * @param {(again: () => void) => void} onMissing the dialog did not load
   * @param {import("./page/language.js").Language} words
   * @param {() => void} onHere its elements are there
   */
  constructor(visit, onMissing, words, onHere) {
    this.#visit = visit;
    const button = byId("settings-open", HTMLButtonElement);
    const part = new Part({
      address: new URL("./settings/panel.js", import.meta.url),
      load: async () => {
        const { SettingsPanel } = await import("./settings/panel.js");
        onHere();
        return new SettingsPanel((select) => words.offer(select));
      },
      sheets: [new URL("./settings/settings.css", import.meta.url)],
      elements: new URL("./settings/panel.html", import.meta.url),
      onMissing,
    });
    button.addEventListener("click", () => void part.open(button));
    const { camera, details, resolution } = settings();
    visit.camera.prefer(camera, Number(resolution));
    visit.description.prefer({ verbosity: settings().verbosity, ...(settings().tools && { tools: true }) });
    openDetails(details);
    onSettings((now, before) => {
      openDetails(now.details);
      if (visit.camera.prefer(now.camera, Number(now.resolution))) void visit.exchangeCamera(true);
      if (now.tools !== before.tools) visit.description.prefer({ tools: now.tools });
      if (now.verbosity !== before.verbosity) visit.description.prefer({ verbosity: now.verbosity });
      const { ready, preferred } = visit.facts;
      if (now.sensitivity !== before.sensitivity && now.sensitivity !== preferred.sensitivity) {
        // 0: the server's own, which it says when a session begins
        this.#told.sensitivity = now.sensitivity || (ready?.sensitivity ?? 1);
        visit.description.prefer({ sensitivity: this.#told.sensitivity });
      }
      if (now.length !== before.length && now.length !== preferred.length) {
        this.#told.length = now.length || (ready?.features.describe?.length ?? "short");
        visit.description.prefer({ length: this.#told.length });
      }
    });
  }

  /**
   * Keep what was chosen at the answers; at first prefer what was kept.
   * @param {import("./live/facts.js").Facts} facts
   */
  render({ preferred: { sensitivity, length } }) {
    const told = this.#told;
    if (!this.#begun) {
      this.#begun = true;
      if (told.sensitivity || told.length) {
        this.#visit.description.prefer({
          ...(told.sensitivity && { sensitivity: told.sensitivity }),
          ...(told.length && { length: told.length }),
        });
      }
      return;
    }
    if (sensitivity && sensitivity !== told.sensitivity) {
      told.sensitivity = sensitivity;
      change({ sensitivity });
    }
    if (length && length !== told.length) {
      told.length = length;
      change({ length });
    }
  }
}

/** Those about descriptions. @param {import("./page/settings.js").Settings} settings */
function described({ sensitivity, length }) {
  return { sensitivity, length };
}

/** Of answers from now on. @param {boolean} open */
function openDetails(open) {
  const turn = byId("turn-template", HTMLTemplateElement).content;
  for (const name of [".evidence", ".figures"]) {
    const details = turn.querySelector(name);
    if (details instanceof HTMLDetailsElement) details.open = open;
  }
}
