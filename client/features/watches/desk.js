/** @typedef {import("../../core/live/messages.d.ts").WatchInfo} WatchInfo */
/** @typedef {import("../../core/live/messages.d.ts").Alert} Alert */
/** @typedef {import("../../core/live/messages.d.ts").ClientMessage} ClientMessage */

/**
 * An order, as this tab keeps it.
 * @typedef {Object} Order
 * @property {string} id
 * @property {string} condition
 * @property {boolean} repeat alert every time, or once
 * @property {[number, number]} [hours] first and last minute of the day; absent: always
 * @property {number} [until] milliseconds since the epoch; absent: until it is stopped
 * @property {number} [threshold] the confidence that it needs, raised by each "False alarm"; absent: a new watch's
 */

// Alerts that the page knows by their id; the oldest is forgotten.
const MOST_ALERTS = 64;

/** The orders of this tab and the watches of its session. Knows no page. */
export class WatchDesk {
  /** @type {WatchInfo[]} as the server has them */
  list = [];

  /** @type {Map<string, Order>} */
  #orders = new Map();
  /** @type {Set<string>} ids that were sent on this socket */
  #sent = new Set();
  /** @type {Map<string, Alert>} */
  #alerts = new Map();
  /** @type {Set<string>} ids of alerts that a person took back: a watch that was to alert once goes on */
  #takenBack = new Set();
  #open = false;
  #hooks;

  /**
   * @param {Object} hooks
   * @param {(message: ClientMessage) => boolean} hooks.send
   * @param {() => void} hooks.onChange
   * @param {(alert: Alert, fresh: boolean, last: boolean) => void} hooks.onAlert fresh: no page has shown it before;
   *   last: its watch has ended with it
   * @param {(alert: Alert) => void} hooks.onWords an alert has other words now
   * @param {(condition: string, why: string) => void} hooks.onRefused a watch was not taken
   * @param {Order[]} hooks.saved orders of this tab before a reload
   * @param {(orders: Order[]) => void} hooks.save
   */
  constructor(hooks) {
    this.#hooks = hooks;
    for (const order of hooks.saved) if (!order.until || order.until > Date.now()) this.#orders.set(order.id, order);
  }

  /** @returns {Order[]} orders that the server has not yet */
  get waiting() {
    const known = new Set(this.list.map((one) => one.id));
    return [...this.#orders.values()].filter((one) => !known.has(one.id));
  }

  /** @param {string} condition @param {boolean} [repeat] @param {string} [prefix] of its id @returns {string} its id */
  add(condition, repeat = false, prefix = "w") {
    // Pressed twice, it is one watch.
    const same = [...this.#orders.values()].find(
      (one) => one.condition === condition && one.id.startsWith(prefix) && !one.hours && !one.until,
    );
    if (same) return same.id;
    const id = `${prefix}${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
    this.restore({ id, condition, repeat });
    return id;
  }

  /** Begin with an order, which `stop` may have returned. @param {Order} order */
  restore(order) {
    this.#orders.set(order.id, order);
    this.#sent.delete(order.id);
    this.#order(order);
    this.#changed();
  }

  /** Change a watch and restart it. @param {string} id @param {Partial<Order>} change */
  change(id, change) {
    const one = this.list.find((watch) => watch.id === id);
    const { condition, repeat, hours, expires_at: until } = one ?? {};
    const known = this.#orders.get(id) ?? (condition && { id, condition, repeat: Boolean(repeat), hours, until });
    if (!known) return;
    const order = { ...known, ...change };
    // It restarts.
    delete order.threshold;
    this.#orders.set(id, order);
    this.#sent.delete(id);
    this.#order(order);
    this.#changed();
  }

  /** @param {string} id @returns {Order|null} that was stopped; null: it had ended already */
  stop(id) {
    const one = this.list.find((watch) => watch.id === id);
    const known = this.#orders.get(id) ?? (one && !one.ended ? { ...one, until: one.expires_at } : null);
    this.#orders.delete(id);
    for (const alert of this.#alerts.values()) if (alert.watch === id) this.#takenBack.delete(alert.id);
    if (this.list.some((one) => one.id === id)) this.#hooks.send({ type: "unwatch", id });
    this.list = this.list.filter((one) => one.id !== id);
    this.#changed();
    if (!known) return null;
    const { condition, repeat, hours, until, threshold } = known;
    return { id, condition, repeat, hours, until, threshold };
  }

  /** @param {string} id of an alert */
  wrong(id) {
    if (this.#hooks.send({ type: "false_alarm", id })) this.#takenBack.add(id);
  }

  /** @param {boolean} open the socket is open */
  connected(open) {
    if (open === this.#open) return;
    this.#open = open;
    this.#sent.clear();
  }

  /** Forget alerts and watches of the previous session: the new one numbers alerts from the start. */
  forget() {
    this.list = [];
    this.#alerts.clear();
    this.#takenBack.clear();
    this.#sent.clear();
    this.#hooks.onChange();
  }

  /**
   * @param {import("../../core/live/messages.d.ts").ServerMessage} message
   * @returns {boolean} true when it was about watches
   */
  receive(message) {
    if (message.type === "watches") this.#listed(message.watches);
    else if (message.type === "alert") this.#alerted(message);
    else if (message.type === "error" && message.id && this.#orders.has(message.id))
      this.#refused(message.id, message.message);
    else return false;
    return true;
  }

  /** @param {WatchInfo[]} list */
  #listed(list) {
    this.list = list;
    for (const one of list) {
      if (one.state === "expired" || (one.state === "seen" && !one.repeat && this.#hasRung(one.id)))
        this.#orders.delete(one.id);
      if (!one.ended && this.#goesOn(one.id)) this.#keep(one);
      // The next session begins with what this one learned.
      const order = this.#orders.get(one.id);
      if (order) order.threshold = one.threshold;
    }
    // Those of before a reload, of an earlier session, and those ordered without a connection.
    for (const order of this.waiting) this.#order(order);
    this.#changed();
  }

  /** @param {Alert} alert */
  #alerted(alert) {
    const known = this.#alerts.get(alert.id);
    if (known) {
      known.reason = alert.reason;
      this.#hooks.onWords(known);
      return;
    }
    this.#alerts.set(alert.id, alert);
    for (const id of this.#alerts.keys()) if (this.#alerts.size > MOST_ALERTS) this.#alerts.delete(id);
    const order = this.#orders.get(alert.watch);
    if (order && !order.repeat) this.#orders.delete(order.id);
    this.#hooks.onAlert(alert, !alert.acked, order !== undefined && !order.repeat);
    this.#hooks.send({ type: "ack", id: alert.id });
    this.#changed();
  }

  /** @param {string} id @param {string} why */
  #refused(id, why) {
    const order = this.#orders.get(id);
    this.#orders.delete(id);
    this.#changed();
    if (order) this.#hooks.onRefused(order.condition, why);
  }

  /** Order it of the next session, too. @param {WatchInfo} watch */
  #keep({ id, condition, repeat, hours, expires_at: until }) {
    if (!this.#orders.has(id)) this.#orders.set(id, { id, condition, repeat, hours, until });
  }

  /** @param {string} id @returns {boolean} true when its alerts were taken back, all of them */
  #goesOn(id) {
    const alerts = [...this.#alerts.values()].filter((alert) => alert.watch === id);
    return alerts.length > 0 && alerts.every((alert) => this.#takenBack.has(alert.id));
  }

  /** @param {string} id */
  #hasRung(id) {
    return [...this.#alerts.values()].some((alert) => alert.watch === id && !this.#takenBack.has(alert.id));
  }

  /** @param {Order} order */
  #order({ id, condition, repeat, hours, until, threshold }) {
    if (this.#sent.has(id)) return;
    const expires = until && Math.max(1, (until - Date.now()) / 1000);
    const zone = -new Date().getTimezoneOffset();
    const { timeZone: zone_name } = Intl.DateTimeFormat().resolvedOptions();
    if (this.#hooks.send({ type: "watch", id, condition, repeat, hours, expires, zone, zone_name, threshold }))
      this.#sent.add(id);
  }

  #changed() {
    this.#hooks.save([...this.#orders.values()]);
    this.#hooks.onChange();
  }
}
