import { byId, show } from "../../core/page/dom.js";

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
    show(button, true);
    button.addEventListener("click", () => (now() === one ? visit.describe(false) : begin(one)));
  }
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
    chat.conversation.notable = about() === "notable";
    if (now()) void changes.ahead();
    if (ready) changes.here?.settings({ ...ready, ...ready.features.describe, ...preferred });
  });
}
