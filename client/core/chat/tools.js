import { byId, made } from "../page/dom.js";
import { change, settings } from "../page/settings.js";
import { text } from "../words/text.js";

/** @typedef {import("../live/messages.d.ts").CalledTool} CalledTool */
/** @typedef {import("./conversation.js").Turn} Turn */
/** Takes a call back; false: it had ended already. @typedef {() => boolean} Undo */

/**
 * A tool of the model.
 * @typedef {Object} Tool
 * @property {string} words id of what is shown of it
 * @property {(about: string) => Undo|null|Promise<Undo|null>} [act] null: it cannot be done; without `act` the answer
 *   comes of it, and there is nothing to be undone
 * @property {boolean} [silent] it says itself that it is done
 */

/**
 * The page, as far as this module knows it.
 * @typedef {Object} ToolPage
 * @property {Map<string, Tool>} tools
 * @property {(words: string) => void} tell
 */

/** The core's own. @type {[string, Tool][]} */
const OURS = [
  ["hold", { words: "page.picture_held", act: () => (press("hold", true) ? () => press("hold", false) : null) }],
  ["look_closer", { words: "chat.tool_look_closer" }],
];

/**
 * What the model does for the person: asks for consent once, carries calls out as the person could, and takes them
 * back.
 */
export class Tools {
  #page;
  #offered = false;

  /** @param {ToolPage} page */
  constructor(page) {
    this.#page = page;
    for (const [name, tool] of OURS) page.tools.set(name, tool);
  }

  /**
   * Do what an answer has called for, or ask whether the model may.
   * @param {Turn} turn
   * @param {CalledTool[]} [calls]
   */
  take(turn, calls) {
    if (calls) void this.#carryOut(turn, calls);
    else this.#offer(turn);
  }

  /** Ask once. @param {Turn} turn */
  #offer(turn) {
    if (this.#offered || settings().tools) return;
    this.#offered = true;
    const answer = (/** @type {boolean} */ tools) => () => {
      change({ tools, toolsAsked: true });
      card.remove();
    };
    const row = made("div", { className: "row" });
    row.append(once(text("page.not_now"), answer(false)), once(text("chat.tool_allow"), answer(true)));
    const card = made("div", { className: "consent tool" }, made("p", {}, text("chat.tool_consent")), row);
    document.getElementById(turn.key)?.append(card);
    this.#page.tell(text("chat.tool_consent"));
  }

  /** @param {Turn} turn @param {CalledTool[]} calls in their order */
  async #carryOut(turn, calls) {
    for (const { name, about = "", refused } of calls) {
      const tool = this.#page.tools.get(name);
      // A newer server may have more of them.
      if (!tool) continue;
      const undo = refused ? null : await tool.act?.(about);
      const done = !refused && (undo || !tool.act);
      const said = done ? text(tool.words, { about }) : text("chat.tool_refused");
      const line = lineBelow(turn, said);
      if (undo) line.append(" · ", once(text("chat.tool_undo"), (pressed) => this.#undo(pressed, undo)));
      if (!tool.silent) this.#page.tell(said);
    }
  }

  /** @param {HTMLButtonElement} pressed @param {Undo} undo */
  #undo(pressed, undo) {
    const said = text(undo() ? "chat.tool_undone" : "chat.tool_over");
    pressed.replaceWith(said);
    this.#page.tell(said);
  }
}

/**
 * Put a line below an answer, of which it is a part: the words of the answer stay in sight.
 * @param {Turn} turn
 * @param {string} words
 */
function lineBelow(turn, words) {
  const line = made("p", { className: "note tool" }, words);
  document.getElementById(turn.key)?.append(line);
  return line;
}

/** A button that acts once. @param {string} words @param {(pressed: HTMLButtonElement) => void} act */
function once(words, act) {
  const one = made("button", { type: "button", textContent: words });
  one.addEventListener("click", () => act(one), { once: true });
  return one;
}

/**
 * Press a button, unless it is as wanted.
 * @param {string} id
 * @param {boolean} wanted
 * @returns {boolean} false: it was, or cannot be pressed
 */
function press(id, wanted) {
  const one = byId(id, HTMLButtonElement);
  const pressed = () => one.getAttribute("aria-pressed") === "true";
  if (pressed() === wanted || one.hidden) return false;
  one.click();
  return pressed() === wanted;
}
