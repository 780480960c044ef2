import { text } from "../../core/words/text.js";

/** @typedef {Omit<import("../../core/live/messages.d.ts").Glance, "type">} Seen */

/** Questions that fit the print and the code in front of the camera. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const { chat } = page;
  /** @param {string} words @param {string} [question] of the button */
  const asks = (words, question = words) => ({
    words: text(words),
    does: () => void chat.ask(text(question), "high"),
  });
  /** @param {Partial<Seen>} seen */
  const offer = ({ link, date, price }) => {
    const fitting = [];
    if (link) fitting.push(asks("builtin.open_link", "stage.scan_this"));
    if (date) fitting.push(asks("builtin.when_expires"));
    if (price) fitting.push(asks("builtin.what_costs"));
    if (fitting.length > 0) fitting.push(asks("stage.read_this"));
    chat.composer.suggestions.offer("builtin", fitting);
  };
  page.take(["glance"], offer);
  page.when("session", () => offer({}));
}
