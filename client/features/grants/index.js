import { byId, show } from "../../core/page/dom.js";

/** Access that people give to other programs. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const { chat, visit } = page;
  const button = byId("programs-open", HTMLButtonElement);
  const programs = page.part(import.meta.url, "./panel.js", {
    load: async () => {
      const { ProgramsPanel } = await import("./panel.js");
      return (page.others = new ProgramsPanel(visit, {
        chat: {
          add: (entry, loud) => chat.add(entry, loud),
          drop: (entry) => chat.drop(entry),
          announce: (text) => page.announce(text),
          note: (text) => page.note(text),
        },
        last: () => chat.conversation.turns.at(-1)?.key ?? "",
      }));
    },
    missed: "page.missing_programs",
    sheets: ["./programs.css"],
    elements: "./panel.html",
  });
  button.addEventListener("click", () => void programs.open(button));
  // Say whose access went with the page before.
  if (history.state?.programs?.length) void programs.ahead();
  page.take(["programs", "look"], async (message) => {
    await programs.ahead();
    programs.here?.receive(message);
  });
  page.when("facts", ({ active, ready }) => {
    show(button, active && Boolean(ready?.features.grants?.allowed));
  });
  page.when("session", () => programs.here?.clear());
  page.when("deleted", () => programs.here?.forget());
  page.keepers.push(() => Boolean(programs.here?.on));
}
