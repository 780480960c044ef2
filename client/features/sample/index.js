import { byId } from "../../core/page/dom.js";
import { plural } from "../../core/words/text.js";

/**
 * The feature that a new one is copied from: a button that waves at the server, and a line of what it says.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const button = byId("wave", HTMLButtonElement);
  button.addEventListener("click", () => page.send({ type: "wave" }));
  page.take(["waves"], ({ count }) => count > 0 && page.note(plural("sample.waved", count)));
  page.when("facts", ({ socket }) => (button.disabled = socket !== "open"));
}
