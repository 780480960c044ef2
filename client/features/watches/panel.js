import { Alarm } from "./alarm.js";
import { Changes } from "../../core/attention/changes.js";
import { WatchDesk } from "./desk.js";
import { Receivers } from "./receivers.js";
import { WatchView } from "./view.js";
import { cannotWords } from "./words.js";
import { clock, ended, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").ServerMessage} ServerMessage */
/** @typedef {import("./desk.js").Order} Order */

// A state that lasts for less (ms) is not told.
const SETTLED = 1200;

/** Watches: connects what is ordered and alerted with its views. Loaded when needed, not with the page. */
export class WatchPanel {
  #alarm = new Alarm();
  #visit;
  #changes;
  // The reason for which nothing is watched, as the page showed it; "" for none
  #trouble = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #settling;
  /** @type {Set<string>} conditions that the server has not confirmed yet */
  #added = new Set();
  #desk;
  #receivers;
  #say;
  #view;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    const { chat, visit } = page;
    const say = (this.#say = (/** @type {string} */ words) => page.tell(words));
    this.#visit = visit;
    this.#changes = new Changes((wish) => visit.description.prefer(wish));
    const hooks = {
      onStop: (id) => {
        const stopped = [...this.#desk.list, ...this.#desk.waiting].find((one) => one.id === id);
        if (stopped && !("ended" in stopped && stopped.ended)) {
          view.stopped(id, stopped.condition);
          say(`${ended(stopped.condition)} ${text("watch.stopped")}`);
        }
        this.#desk.stop(id);
      },
      onChange: (id, change) => this.#desk.change(id, change),
      onWrong: (id) => this.#desk.wrong(id),
      onDone: (entry) => {
        chat.drop(entry);
        chat.view.log.focus();
      },
      onSee: (entry) => {
        if (!entry.isConnected) chat.add(entry, false);
        entry.scrollIntoView({ block: "nearest" });
      },
      onOpen: () => page.sheet.grow(true),
      onComparing: (open) => visit.description.prefer({ watch_changes: open }),
    };
    const view = (this.#view = new WatchView(hooks, this.#changes.element));
    this.#receivers = new Receivers(page.receivers);
    view.box.append(this.#receivers.element);
    view.box.before(this.#receivers.light);
    const desk = (this.#desk = new WatchDesk({
      send: (message) => visit.socket.send(message),
      onChange: () => {
        view.render(this.#desk?.list ?? [], this.#desk?.waiting ?? []);
        this.#begun(say);
        this.#tell(say);
      },
      onAlert: (alert, fresh, last) => {
        const entry = view.entry(alert);
        chat.add(entry);
        if (!fresh) return;
        const over = last ? [text("watch.seen", { time: clock(alert.at) })] : [];
        say([ended(alert.condition), alert.reason, ...over].join(" "));
        void this.#alarm.show(alert, () => hooks.onSee(entry));
      },
      onWords: (alert) => view.reword(alert),
      onRefused: (condition, why) => {
        this.#added.delete(condition);
        chat.composer.restore(condition);
        page.note(why);
      },
      saved: readSaved(),
      save,
    }));
    page.when("receivers", () => this.#receivers.changed());
    page.when("deleted", () => view.forget().forEach((entry) => chat.drop(entry)));
    this.connected(visit.facts.socket === "open");
    view.render(desk.list, desk.waiting);
  }

  /** Say that a new watch has begun. @param {(text: string) => void} say */
  #begun(say) {
    for (const { condition, state } of this.#desk?.list ?? [])
      if (this.#added.delete(condition) && state !== "cannot") say(text("watch.watching_for", { condition }));
  }

  /** Say that watching stopped, and why, and that it goes on. @param {(text: string) => void} say */
  #tell(say) {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      const on = this.#desk?.list.filter((one) => !one.ended) ?? [];
      const trouble = on.find((one) => one.state === "cannot")?.reason ?? "";
      if (trouble === this.#trouble) return;
      this.#trouble = trouble;
      if (trouble) say(cannotWords(trouble));
      else if (on.length > 0) say(text("watch.watching_again"));
    }, SETTLED);
  }

  /**
   * @param {string} condition
   * @param {string} [prefix] of its id
   * @returns {() => boolean} takes it back; false: it has ended
   */
  add(condition, prefix) {
    const same = this.#desk.list.some((one) => !one.ended && one.condition === condition);
    if (same) this.#say(text("watch.already", { condition }));
    else this.#added.add(condition);
    const id = this.#desk.add(condition, false, prefix);
    return () => this.#desk.stop(id) !== null;
  }

  /**
   * End the watch for a condition.
   * @param {string} condition
   * @returns {(() => boolean)|null} takes it back; null: there is none
   */
  end(condition) {
    const found = this.#desk.list.find((one) => !one.ended && one.condition === condition);
    const order = found && this.#desk.stop(found.id);
    return order
      ? () => {
          this.#desk.restore(order);
          return true;
        }
      : null;
  }

  /** Open the list. @returns {boolean} false if it is empty */
  reveal() {
    return this.#view.reveal();
  }

  /** End all watches. @returns {string} what is said of it */
  endAll() {
    const on = [...this.#desk.list.filter((one) => !one.ended), ...this.#desk.waiting];
    for (const { id, condition } of on) {
      this.#view.stopped(id, condition);
      this.#desk.stop(id);
    }
    return text(on.length > 0 ? "watch.stopped" : "watch.none");
  }

  /** A person has tapped: the list shows itself as soon as there is something in it. */
  open() {
    this.#alarm.prepare();
  }

  /** @param {boolean} open the socket is open */
  connected(open) {
    this.#desk.connected(open);
    const { active, ready, preferred } = this.#visit.facts;
    this.#view.off(!active);
    if (ready) this.#changes.settings({ ...ready, ...preferred });
  }

  forget() {
    this.#desk.forget();
    this.#receivers.forget();
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about watches */
  receive(message) {
    if (message.type !== "change") return this.#desk.receive(message);
    this.#changes.render(message);
    return true;
  }
}

/** The orders of this tab before a reload, out of its history entry. @returns {Order[]} */
function readSaved() {
  const orders = history.state?.watches;
  return Array.isArray(orders)
    ? orders.filter((one) => typeof one?.id === "string" && typeof one.condition === "string")
    : [];
}

/** @param {Order[]} orders */
function save(orders) {
  if (JSON.stringify(history.state?.watches ?? []) === JSON.stringify(orders)) return;
  history.replaceState({ ...history.state, watches: orders }, "");
}
