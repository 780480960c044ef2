/** Questions on their way: the newest waits, a lost one goes out once more; and where pictures go is agreed to first. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Asking, PATIENCE, answerable } from "../../../../client/core/live/asking.js";
import { Agreed } from "../../../../client/core/live/facts.js";
import { still } from "../../time.mjs";

test("a question whose socket is lost goes out once more as it was", async (t) => {
  // None that has its end, was cancelled or gave way to a newer one
  const pass = still(t);
  const sent = [];
  let unheard = 0;
  const asking = new Asking({ ready: () => true, onSent: () => {}, onUnheard: () => unheard++, send: (message) => sent.push(JSON.stringify(message)) > 0 });
  const again = () => {
    const id = asking.again();
    asking.flush(99);
    return id;
  };
  asking.ask("One?", "auto", 1);
  assert.deepEqual([again(), again(), sent.length], ["q1", "", 2]);
  assert.equal(sent[0], sent[1]);
  asking.ask("Two?", "auto", 2);
  asking.heard({ id: "q2", type: "response" });
  assert.equal(again(), "");
  asking.ask("Three?", "auto", 3);
  asking.drop("q3");
  assert.equal(again(), "");
  asking.ask("Four?", "auto", 4);
  asking.heard({ id: "q4", type: "started" });
  await pass(1700);
  assert.equal(unheard, 0);
  asking.ask("Five?", "auto", 5);
  await pass(1700);
  assert.equal(unheard, 1);
});

test("an answer is under way until its end, its socket's or its visit's, and a description is none", () => {
  const asking = new Asking({ ready: () => true, onSent: () => {}, send: () => true });
  const heard = (id, type, kind = "chat") => {
    asking.heard(/** @type {any} */ ({ id, type, kind }));
    return asking.answering;
  };
  assert.equal(heard("d1", "started", "describe"), false);
  assert.deepEqual([heard("v1", "started"), heard("v1", "response")], [true, false]);
  asking.ask("One?", "auto", 1);
  assert.deepEqual([asking.answering, heard("q1", "error")], [true, false]);
  asking.ask("Two?", "auto", 2);
  asking.dropAny(true);
  assert.equal(asking.answering, true);
  asking.dropAny();
  assert.equal(asking.answering, false);
});

test("only the newest question waits, and goes out as asked then once there is a way", () => {
  const sent = [];
  let [ready, broken] = [false, true];
  const send = ({ content, sent_at }) => !broken && sent.push([content, sent_at]) > 0;
  const asking = new Asking({ ready: () => ready, onSent: (id) => sent.push(id), send: /** @type {any} */ (send) });
  assert.deepEqual(asking.ask("One?", "auto", 1), { id: "q1", sent: false });
  assert.deepEqual(asking.ask("Two?", "high", 2), { id: "q2", sent: false });
  ready = true;
  asking.flush(3);
  assert.equal(asking.drop("q1"), false);
  broken = false;
  asking.flush(4);
  assert.deepEqual(asking.ask("Three?", "auto", 5), { id: "q3", sent: true });
  ready = false;
  asking.ask("Four?", "auto", 6);
  assert.deepEqual([asking.drop("q4"), asking.dropAny()], [true, null]);
  ready = true;
  asking.flush();
  assert.deepEqual(sent, [["Two?", 4], "q2", ["Three?", 5], "q3"]);
});

test("a question goes where the server can answer it, or refuse it better than the page", () => {
  const facts = { camera: "on", held: false, link: "connected", socket: "open", status: { camera: "starting" } };
  for (const [change, connectedFor, wanted] of /** @type {[object, number, boolean][]} */ ([
    [{}, 0, false],
    [{}, PATIENCE + 1, true],
    [{ status: { camera: "stalled" } }, 0, true],
    [{ held: true, link: "closed" }, 0, true],
    [{ held: true, socket: "waiting" }, 0, false],
    [{ camera: "elsewhere" }, 0, true],
  ]))
    assert.equal(answerable(/** @type {any} */ ({ ...facts, ...change }), connectedFor), wanted, JSON.stringify(change));
});

test("a machine is agreed to once, and one of a feature gets nothing else", () => {
  const agreed = new Agreed();
  assert.deepEqual(agreed.messages, []);
  assert.equal(agreed.missing(""), "");
  assert.equal(agreed.missing("a, b"), "a, b");
  agreed.add("a");
  assert.equal(agreed.missing("a, b"), "b");
  // One for pictures may have the rest, too.
  assert.equal(agreed.missing("a", "voice_out"), "");
  const kept = agreed.add("c", "voice_out");
  assert.equal(agreed.missing("c", "voice_out"), "");
  assert.equal(agreed.missing("c", "voice_in"), "c");
  assert.equal(agreed.missing("c"), "c");
  // A reloaded page, and a new session, know of them.
  assert.deepEqual(new Agreed(kept).messages, [
    { type: "confirm", host: "a" },
    { type: "confirm", host: "c", feature: "voice_out" },
  ]);
});
