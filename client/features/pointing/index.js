import { onceLater } from "../../core/page/part.js";

// Milliseconds after the camera is live
const MARKS_AHEAD = 500;

/**
 * Places on the live picture, the part that somebody points at, second looks.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const { chat, stage, visit } = page;
  const marks = page.part(import.meta.url, "./marks.js", {
    load: async () => {
      const { Marks } = await import("./marks.js");
      return new Marks(stage.video, stage.far, {
        onAsk: (text) => chat.composer.suggest(text),
        announce: (text) => page.announce(text),
      });
    },
    sheets: ["./marks.css"],
  });
  const pick = page.part(import.meta.url, "./pick.js", {
    load: async () => new (await import("./pick.js")).Picker(page),
    sheets: ["./pick.css"],
  });
  const fetchAhead = onceLater(MARKS_AHEAD, () => void marks.ahead());
  const fetchPick = onceLater(MARKS_AHEAD, () => void pick.ahead());
  chat.part = () => pick.here?.part ?? null;
  page.take(["pointed"], (message) => void pick.here?.receive(message));
  /** True when an answer may say where something is in the page's own live picture. */
  const canPoint = () => {
    const { ready, camera, held } = visit.facts;
    const live = ["on", "elsewhere"].includes(camera) && !held;
    return live && Boolean(ready?.capabilities.grounding || ready?.features.pointing?.finds);
  };
  page.take(["started", "response", "error"], (message) => void marks.here?.receive(message));
  page.when("asked", (id) => {
    marks.here?.clear();
    if (!canPoint()) return;
    void marks.ahead().then(() => chat.conversation.running?.id === id && marks.here?.asked(id));
  });
  page.when("running", (running) => {
    if (!running) marks.here?.ended();
  });
  page.when("stream", () => marks.here?.clear());
  page.when("facts", ({ socket, camera }) => {
    if (socket === "open" && canPoint()) fetchAhead();
    if (socket === "open" && ["on", "elsewhere"].includes(camera)) fetchPick();
  });
  page.route("where", () => true);
  page.route("twice", () => true);
  page.offer("pointing", {
    /**
     * Follow a box on the live picture.
     * @param {(box: import("../../core/page/picture.js").Edges, at: number, id: number) => void} onBox
     * @param {(id: number) => void} onLost
     */
    follow: async (onBox, onLost) => new (await import("./follow.js")).Follow(stage.video, onBox, onLost),
  });
}
