import { byId, show } from "../../core/page/dom.js";
import { text } from "../../core/words/text.js";

/** @typedef {{type: string, [field: string]: any}} ServerMessage */

/**
 * The part with the watches, as far as this module knows it.
 * @typedef {Object} Watches
 * @property {() => void} open
 * @property {(condition: string, prefix?: string) => () => boolean} add
 * @property {(condition: string) => (() => boolean)|null} end
 * @property {() => string} endAll
 * @property {() => boolean} reveal
 * @property {(message: ServerMessage) => boolean} receive
 * @property {(open: boolean) => void} connected
 * @property {() => void} forget
 */

// The ids of watches that a model begins, whose alerts the server sends to no receiver, begin so.
const BY_MODEL = "tool:";
const EXAMPLES = ["watch.person_comes", "watch.something_moves", "watch.person_leaves"];
// Messages that the watches show
const OURS = ["watches", "alert"];

/** Watches on the page. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const entry = new WatchEntry(page);
  page.take([...OURS, "change", "error"], (message) => entry.receive(message));
  page.take(["transcript"], ({ order }) => {
    if (order === "watch_off") void entry.endAll().then((words) => page.tell(words));
  });
  page.when("facts", ({ socket }) => entry.connected(socket === "open"));
  page.when("session", () => entry.forget());
  page.keepers.push(() => entry.on);
  page.offer("watches", {
    add: (/** @type {string} */ condition) => void entry.add(condition),
  });
  page.launches.set("watch", (condition) => void (condition ? entry.add(condition) : page.chat.composer.toggleOrder()));
  const begin = (/** @type {string} */ condition) => entry.add(condition, BY_MODEL);
  // It says that it watches once the server has it.
  page.tools.set("watch", { words: "chat.tool_watch", act: begin, silent: true });
  page.tools.set("unwatch", { words: "chat.tool_unwatch", act: (condition) => entry.end(condition) });
}

/** The way to the watches. Their part loads with the first one, and gets what came before. */
class WatchEntry {
  /** Something is watched for. */
  on = false;

  #button = byId("watch", HTMLButtonElement);
  #composer;
  #menu = byId("watches-open", HTMLButtonElement);
  /** @type {import("../../core/page/part.js").Part<Watches>} */
  #part;
  #page;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
    this.#composer = page.chat.composer;
    this.#part = page.part(import.meta.url, "./panel.js", {
      load: async () => new (await import("./panel.js")).WatchPanel(page),
      missed: "page.missing_watches",
      sheets: ["../../core/attention/changes.css", "./watch.css"],
      elements: "../../core/attention/changes.html",
    });
    page.when("receivers", (receivers) => {
      const on = [...receivers.values()].some(({ programs }) => programs.some((one) => one.on));
      if (on) void this.#part.ahead().then(() => this.#deliver());
    });
    // The list, or the beginning of the first one
    this.#menu.addEventListener("click", () => {
      if (!this.#part.here?.reveal()) this.#button.click();
    });
    const words = page.part(import.meta.url, "./condition.js", { load: () => import("./condition.js") });
    this.#button.addEventListener("click", () => this.#composer.toggleOrder());
    this.#composer.takeOrders({
      conditionIn: (text) => words.here?.conditionIn(text) ?? "",
      onOrder: (condition) => {
        if (!page.visit.facts.active) void page.visit.start();
        void this.add(condition);
      },
      onWaiting: (waiting) => {
        this.#button.setAttribute("aria-pressed", String(waiting));
        const examples = waiting ? EXAMPLES.map((id) => text(id)) : [];
        const chips = examples.map((words) => ({ words, does: () => this.#composer.give(words) }));
        this.#composer.suggestions.offer("watches", chips);
      },
      ahead: () => words.ahead(),
      invites: "watch.tell_me",
      gives: "chat.watch_this",
    });
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about watches */
  receive(message) {
    if (message.type === "watches") {
      this.on = message.watches.some((one) => !one.ended);
      show(this.#button, true);
      show(this.#menu, true);
    }
    if (this.#part.here) return this.#part.here.receive(message);
    if (!OURS.includes(message.type)) return false;
    this.#page.hold(message);
    const idle = message.type === "watches" && message.watches.length === 0 && !history.state?.watches?.length;
    if (!idle) void this.#part.ahead().then(() => this.#deliver());
    return true;
  }

  /**
   * Begin a watch.
   * @param {string} condition
   * @param {string} [prefix] of its id
   * @returns {Promise<(() => boolean)|null>} see `WatchPanel.add`
   */
  async add(condition, prefix) {
    await this.#part.open(this.#button);
    if (!this.#part.here) {
      if (!prefix) this.#composer.restore(condition);
      return null;
    }
    this.#deliver();
    return this.#part.here.add(condition, prefix);
  }

  /** End a watch. @param {string} condition */
  end(condition) {
    return this.#part.here?.end(condition) ?? null;
  }

  /** End all watches. @returns {Promise<string>} what is said of it */
  async endAll() {
    await this.#part.ahead();
    return this.#part.here?.endAll() ?? "";
  }

  /** @param {boolean} open the socket is open */
  connected(open) {
    this.#part.here?.connected(open);
  }

  /** Another session began. */
  forget() {
    this.on = false;
    this.#part.here?.forget();
  }

  #deliver() {
    const { here } = this.#part;
    if (here) this.#page.release(OURS, (message) => here.receive(message));
  }
}
