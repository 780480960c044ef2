import { byId } from "../../core/page/dom.js";

/** Further cameras. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const { stage, visit } = page;
  const cameras = page.part(import.meta.url, "./panel.js", {
    load: async () => {
      const { CamerasPanel } = await import("./panel.js");
      return new CamerasPanel(visit, { video: stage.video, note: (text) => page.note(text) });
    },
    missed: "page.missing_cameras",
    sheets: ["./cameras.css"],
    elements: "./panel.html",
  });
  const button = byId("several-open", HTMLButtonElement);
  button.addEventListener("click", () => void cameras.open(button));
  page.take(["cameras"], async (message) => {
    await cameras.ahead();
    cameras.here?.receive(message.cameras);
  });
  page.take(["still"], (still) => {
    if (still.camera) cameras.here?.still(still);
    return Boolean(still.camera);
  });
  page.when("facts", () => cameras.here?.connected());
  page.when("session", () => cameras.here?.clear());
  page.when("stop", () => cameras.here?.endAll());
}
