import { byId, show } from "../../core/page/dom.js";

/** The running description: its button, and what counts as a change. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const { chat, visit } = page;
  const button = byId("describe", HTMLButtonElement);
  show(button, true);
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
  button.addEventListener("click", () => visit.describe(!visit.facts.describing));
  page.take(["change"], (message) => {
    if (message.about === "watches") return false;
    changes.here?.render(message);
    return true;
  });
  page.when("facts", ({ camera, socket, describing, ready, preferred }) => {
    button.disabled = socket !== "open" || !["on", "resting", "elsewhere"].includes(camera);
    button.setAttribute("aria-pressed", String(describing));
    if (describing) void changes.ahead();
    if (ready) changes.here?.settings({ ...ready, ...ready.features.describe, ...preferred });
  });
}
