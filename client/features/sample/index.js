import { byId } from "../../core/page/dom.js";
import { plural } from "../../core/words/text.js";

/**
 * The feature that a new one is copied from: a button that waves at the server, and a line of what it says.
 *
 * Elements stand in page.html, by the places (`data-place`) of index.html and of core/settings/panel.html. A control of
 * the settings has the name of its setting: `oneOf(settings().name, [...])`, a checkbox `settings().name === true`.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const button = byId("wave", HTMLButtonElement);
  let told = 0;
  button.addEventListener("click", () => page.send({ type: "wave" }));
  page.take(["waves"], ({ count }) => {
    // It comes again with each connection.
    if (count > told) page.note(plural("sample.waved", count));
    told = count;
  });
  page.when("facts", ({ socket }) => (button.disabled = socket !== "open"));
}
