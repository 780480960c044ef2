/** Watches from one session to the next: what the page orders anew, and with which bar. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { WatchDesk } from "../../../../client/features/watches/desk.js";

/** A desk, the messages that it sent, and the orders that it keeps for a reload. */
function tab(saved = []) {
  const sent = [];
  let kept = saved;
  const desk = new WatchDesk({
    send: (message) => (sent.push(message), true),
    onChange: () => {},
    onAlert: () => {},
    onWords: () => {},
    onRefused: () => {},
    saved,
    save: (orders) => (kept = orders),
  });
  return { desk, sent, kept: () => kept, orders: () => sent.filter(({ type }) => type === "watch") };
}
const info = (order, more = {}) => ({ id: order.id, condition: order.condition, repeat: Boolean(order.repeat), state: "looking", ended: false, reason: "", threshold: 0.5, ...more });
const watches = (...list) => ({ type: "watches", watches: list, most: 8 });

test("a condition that is watched for already is no second watch", () => {
  const { desk, orders } = tab();
  desk.receive(watches());
  const first = desk.add("it boils");
  assert.equal(desk.add("it boils"), first);
  assert.notEqual(desk.add("it smokes"), first);
  assert.equal(orders().length, 2);
  desk.stop(first);
  assert.notEqual(desk.add("it boils"), first);
});

test("another session begins with the threshold that this one has learned", () => {
  const { desk, orders } = tab();
  desk.receive(watches());
  desk.add("it boils", true);
  const [first] = orders();
  assert.equal(first.threshold, undefined);
  desk.receive(watches(info(first)));
  desk.receive(watches(info(first, { threshold: 0.82 })));
  desk.forget();
  desk.connected(false);
  desk.connected(true);
  desk.receive(watches());
  const [, second] = orders();
  assert.deepEqual([second.id, second.condition, second.repeat, second.threshold], [first.id, "it boils", true, 0.82]);
});

test("a watch that was to alert once goes on after a false alert, in the next session, too", () => {
  const { desk, orders, kept } = tab();
  desk.receive(watches());
  desk.add("it boils");
  const [order] = orders();
  desk.receive(watches(info(order)));
  desk.receive({ type: "alert", id: "r1", watch: order.id, condition: order.condition, acked: false });
  desk.receive(watches(info(order, { state: "seen", ended: true })));
  assert.deepEqual(kept(), []);
  desk.wrong("r1");
  desk.receive(watches(info(order, { threshold: 0.7 })));
  assert.deepEqual(kept().map(({ id, threshold }) => [id, threshold]), [[order.id, 0.7]]);
  // Its condition holds, which is a state and no alert.
  desk.receive(watches(info(order, { state: "seen", threshold: 0.7 })));
  assert.equal(kept().length, 1);
  desk.forget();
  desk.receive(watches());
  assert.equal(orders().at(-1).threshold, 0.7);
  desk.stop(order.id);
  assert.deepEqual(kept(), []);
});

test("a changed watch begins anew, and a stopped one stays stopped", () => {
  const { desk, orders, kept } = tab([{ id: "w1", condition: "it boils", repeat: true, threshold: 0.9 }]);
  desk.receive(watches());
  assert.equal(orders()[0].threshold, 0.9);
  desk.receive(watches(info({ id: "w1", condition: "it boils" }, { repeat: true, threshold: 0.9 })));
  desk.change("w1", { hours: [60, 120] });
  assert.equal(orders()[1].threshold, undefined);
  desk.receive({ type: "alert", id: "r1", watch: "w1", condition: "it boils", acked: false });
  desk.wrong("r1");
  desk.stop("w1");
  // A list that was on its way
  desk.receive(watches(info({ id: "w1", condition: "it boils" })));
  assert.deepEqual(kept(), []);
});
