import { byId } from "../../core/page/dom.js";
import { change, oneOf, onSettings, settings } from "../../core/page/settings.js";

/** Of descriptions; "" for the server's choice. @type {["", "short", "medium", "long"]} */
const LENGTHS = ["", "short", "medium", "long"];

/**
 * The running description, of the scene or of what matters: its buttons, and what counts as a change.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const { chat, visit } = page;
  /** @type {["scene"|"notable", HTMLButtonElement][]} */
  const buttons = [["scene", byId("describe", HTMLButtonElement)], ["notable", byId("notable", HTMLButtonElement)]];
  const changes = page.part(import.meta.url, "../../core/attention/changes.js", {
    load: async () => {
      const { Changes } = await import("../../core/attention/changes.js");
      const panel = new Changes((wish) => visit.description.prefer(wish), true);
      chat.view.changes = panel.element;
      return panel;
    },
    sheets: ["../../core/attention/changes.css"],
    elements: "../../core/attention/changes.html",
  });
  const about = () => visit.facts.preferred.about ?? "scene";
  const now = () => (visit.facts.describing ? about() : "");
  /** @param {"scene"|"notable"} wanted */
  function begin(wanted) {
    if (now() === wanted) return;
    chat.conversation.endDescription();
    if (wanted !== about()) visit.description.prefer({ about: wanted });
    visit.describe(true);
  }
  for (const [one, button] of buttons) {
    button.addEventListener("click", () => (now() === one ? visit.describe(false) : begin(one)));
  }
  // The session's values, as last compared
  let told = oneOf(settings().length, LENGTHS);
  if (told) visit.description.prefer({ length: told });
  onSettings((now, before) => {
    const length = oneOf(now.length, LENGTHS);
    if (length === oneOf(before.length, LENGTHS) || length === visit.facts.preferred.length) return;
    // Without a choice the server's own, which it says when a session begins
    told = length || (visit.facts.ready?.features.describe?.length ?? "short");
    visit.description.prefer({ length: told });
  });
  page.take(["change"], (message) => {
    if (message.about === "watches") return false;
    changes.here?.render(message);
    return true;
  });
  page.take(["listening"], ({ state }) => state === "speech" && now() === "notable" && chat.speech.hush());
  page.take(["transcript"], ({ order }) => {
    if (now() && (order === "stop" || order === "describe_off")) visit.describe(false);
    if (order === "notable") begin("notable");
  });
  page.when("facts", ({ camera, socket, ready, preferred }) => {
    for (const [one, button] of buttons) {
      button.disabled = socket !== "open" || !["on", "resting", "elsewhere"].includes(camera);
      button.setAttribute("aria-pressed", String(now() === one));
    }
    // Keep the choice made at an answer.
    if (preferred.length && preferred.length !== told) change({ length: (told = preferred.length) });
    chat.conversation.notable = about() === "notable";
    if (now()) void changes.ahead();
    if (ready) changes.here?.settings({ ...ready, ...ready.features.describe, ...preferred });
  });
}
