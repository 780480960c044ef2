import { byId, show } from "../../core/page/dom.js";
import { text } from "../../core/words/text.js";

/** @typedef {"scene"|"notable"} About */

/** The running description, of the scene or of what matters: its buttons, and what counts as a change. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const { chat, visit } = page;
  /** @type {Record<About, HTMLButtonElement>} */
  const buttons = { scene: byId("describe", HTMLButtonElement), notable: byId("notable", HTMLButtonElement) };
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
  /** @param {About} about */
  const on = (about) => visit.facts.describing && about === (visit.facts.preferred.about ?? "scene");
  /** @param {About} about @param {boolean} wanted */
  function want(about, wanted) {
    if (wanted === on(about)) return;
    if (wanted && about !== (visit.facts.preferred.about ?? "scene")) {
      chat.conversation.endDescription();
      visit.description.prefer({ about });
    }
    visit.describe(wanted);
  }
  for (const about of /** @type {About[]} */ (["scene", "notable"])) {
    show(buttons[about], true);
    buttons[about].addEventListener("click", () => want(about, !on(about)));
  }
  page.take(["change"], (message) => {
    if (message.about === "watches") return false;
    changes.here?.render(message);
    return true;
  });
  page.take(["listening"], ({ state }) => state === "speech" && on("notable") && chat.speech.hush());
  page.take(["transcript"], ({ order }) => {
    if (order === "stop" || order === "describe_off") visit.facts.describing && visit.describe(false);
    if (order !== "notable") return;
    if (buttons.notable.disabled) page.tell(text("voice.impossible"));
    else want("notable", true);
  });
  page.when("facts", ({ camera, socket, describing, ready, preferred }) => {
    for (const about of /** @type {About[]} */ (["scene", "notable"])) {
      buttons[about].disabled = socket !== "open" || !["on", "resting", "elsewhere"].includes(camera);
      buttons[about].setAttribute("aria-pressed", String(on(about)));
    }
    chat.conversation.notable = preferred.about === "notable";
    if (describing) void changes.ahead();
    if (ready) changes.here?.settings({ ...ready, ...ready.features.describe, ...preferred });
  });
}
