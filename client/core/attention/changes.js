import { ended, joined, onLanguage, percent, text } from "../words/text.js";

/** @typedef {import("../live/messages.d.ts").SceneChange} SceneChange */

/** @type {Record<string, string>} */
const CHANGES = {
  same: "watch.change_none",
  first: "watch.change_first",
  view: "watch.change_view",
  scene: "watch.change_scene",
  object: "watch.change_object",
  slight: "watch.change_slight",
  color: "watch.change_color",
  print: "watch.change_print",
};
// Milliseconds without a movement of the slider before its value is sent
const SETTLED = 250;

// Panels that were made: each has a slider with an id of its own.
let panels = 0;

/**
 * In details of the running description and of the watches: the last comparison of the scene, and what counts as a
 * change.
 */
export class Changes {
  element;

  #compared;
  #region;
  #part;
  #slider;
  #output;
  #length;
  /** @type {SceneChange|null} */
  #last = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #sending;

  /**
   * @param {(wish: import("../live/facts.js").Preferred) => void} prefer
   * @param {boolean} [lengths] descriptions have a length
   */
  constructor(prefer, lengths = false) {
    const template = document.querySelector("#changes-template");
    if (!(template instanceof HTMLTemplateElement)) throw new Error("The page has no #changes-template.");
    const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = must(fragment.querySelector(".changes"));
    this.#compared = must(this.element.querySelector(".compared"));
    this.#region = must(this.element.querySelector(".region"));
    this.#part = must(this.element.querySelector(".part"));
    this.#slider = /** @type {HTMLInputElement} */ (must(this.element.querySelector("input")));
    this.#output = must(this.element.querySelector("output"));
    this.#length = /** @type {HTMLSelectElement} */ (must(this.element.querySelector("select")));
    const label = /** @type {HTMLLabelElement} */ (must(this.element.querySelector("label")));
    this.#slider.id = label.htmlFor = `sensitivity-${(panels += 1)}`;
    this.#slider.addEventListener("input", () => {
      this.#show(this.#value);
      clearTimeout(this.#sending);
      this.#sending = setTimeout(() => prefer({ sensitivity: this.#value }), SETTLED);
    });
    if (!lengths) this.#length.closest("label")?.remove();
    this.#length.addEventListener("change", () =>
      prefer({ length: /** @type {"short"|"medium"|"long"} */ (this.#length.value) }),
    );
    onLanguage(() => {
      if (this.#last) this.render(this.#last);
      this.#show(this.#value);
    });
  }

  /** The sensitivity that the slider stands for: each step doubles or halves it. */
  get #value() {
    return 2 ** Number(this.#slider.value);
  }

  /** @param {{sensitivity: number, length: string}} settings that hold at the server */
  settings({ sensitivity, length }) {
    if (document.activeElement === this.#slider) return; // somebody moves it
    this.#slider.value = String(Math.log2(sensitivity));
    this.#length.value = length;
    this.#show(sensitivity);
  }

  /** @param {SceneChange} change */
  render(change) {
    this.#last = change;
    this.#compared.textContent = changeWords(change);
    const [left, top, right, bottom] = change.region ?? [0, 0, 0, 0];
    this.#part.setAttribute("x", String(left * 160));
    this.#part.setAttribute("y", String(top * 90));
    this.#part.setAttribute("width", String((right - left) * 160));
    this.#part.setAttribute("height", String((bottom - top) * 90));
    this.#region.setAttribute("aria-label", change.region ? text("watch.part_changed") : text("watch.nothing_changed"));
  }

  /** @param {number} sensitivity */
  #show(sensitivity) {
    this.#output.textContent = percent(sensitivity);
    this.#slider.setAttribute("aria-valuetext", this.#output.textContent);
  }
}

/** @template T @param {T|null} found @returns {T} */
function must(found) {
  if (found === null) throw new Error("The template of changes is not complete.");
  return found;
}

/** @param {SceneChange} change */
function changeWords({ why, value, busy, asks }) {
  const much = why === "first" ? "" : text("watch.share_changed", { share: percent(value) });
  const found = joined(
    [text(CHANGES[why] ?? "watch.change_other"), much, asks ? text("watch.asked") : ""].filter(Boolean),
  );
  return busy < 0.005 ? ended(found) : `${ended(found)} ${text("watch.share_moves", { share: percent(busy) })}`;
}
