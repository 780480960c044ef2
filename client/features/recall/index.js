import { keepWish, wish } from "../../core/page/resume.js";
import { Memory } from "./memory.js";

/**
 * The recent past: whether it is remembered, and what is kept of it.
 * @param {import("../../core/page.js").Page} page
 */
export function register(page) {
  const { stage, visit } = page;
  const draw = () => stage.detailed && view.here?.render(memory);
  const wanted = wish("recall") !== false;
  // Without a word the server remembers nothing.
  visit.description.prefer({ recall: wanted });
  const memory = new Memory(wanted, {
    send: (message) => page.send(message),
    onWish: (wanted) => {
      visit.description.prefer({ recall: wanted });
      keepWish("recall", wanted);
    },
    onChange: draw,
  });
  const view = page.part(import.meta.url, "./memoryview.js", {
    load: async () => new (await import("./memoryview.js")).MemoryView(memory),
  });
  page.take(["recall"], (message) => memory.received(message));
  page.when("facts", ({ socket, ready }) => memory.connected(socket === "open", ready));
  page.when("details", () => void view.ahead().then(draw));
  page.when("stop", () => memory.forget());
  page.tools.set("recall", { words: "chat.tool_recall" });
  page.route("past", () => memory.bounds !== null && memory.wanted);
}
