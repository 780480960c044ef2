import { byId, say, show } from "../page/dom.js";

/**
 * Show a hint on the picture; "" for none.
 * @param {string} text
 * @param {boolean} [spoken] it is also spoken
 * @param {string} [hint] its name
 */
export function showHint(text, spoken = false, hint = "") {
  const line = byId("aim", HTMLElement);
  // A voice and a screen reader would say it twice.
  line.setAttribute("aria-live", spoken ? "off" : "polite");
  line.dataset.hint = hint;
  show(line, text !== "");
  say(line, text);
}
