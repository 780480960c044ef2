import { byId } from "../../core/page/dom.js";

/** Other devices as cameras. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const cameras = page.part(import.meta.url, "./panel.js", {
    load: async () => {
      // It has its place in the dialog that chooses the camera.
      await page.dialogs.ahead();
      const { CamerasPanel } = await import("./panel.js");
      return new CamerasPanel(page);
    },
    missed: "page.missing_cameras",
    sheets: ["./cameras.css"],
    elements: "./panel.html",
  });
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
  page.when("stop", async () => {
    // One that came by itself, too
    const far = page.visit.facts.camera === "elsewhere";
    if (far) await cameras.ahead();
    cameras.here?.endAll(far);
  });
  page.when("choosing", (open) => {
    if (open) void cameras.open(byId("camera-dialog", HTMLDialogElement));
    else cameras.here?.forget();
  });
}
