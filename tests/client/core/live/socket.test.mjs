/** The socket of a session: what each close code means, how it comes back, and how a silent one is replaced. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff, parse } from "../../../../client/core/live/api.js";
import { ChatSocket } from "../../../../client/core/live/socket.js";
import { still } from "../../time.mjs";

globalThis.location = /** @type {any} */ (new URL("http://localhost:9/"));

/** A browser's socket, which opens, speaks and closes when the test says so. */
class FakeSocket {
  static CONNECTING = 0;
  static OPEN = 1;
  /** @type {FakeSocket[]} */
  static made = [];
  readyState = 0;
  sent = [];
  // The state in which it was closed, each time
  closed = [];

  constructor(address, protocols) {
    this.address = new URL(address);
    this.protocols = protocols;
    FakeSocket.made.push(this);
  }

  opens() {
    this.readyState = 1;
    this.onopen();
  }

  says(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  closes(code) {
    this.readyState = 3;
    this.onclose({ code });
  }

  send(text) {
    this.sent.push(JSON.parse(text).type);
  }

  close() {
    this.closed.push(this.readyState);
  }
}
globalThis.WebSocket = /** @type {any} */ (FakeSocket);

/** A chat socket, what it reports, and what it asks of its session. */
function chat(t, hooks = {}) {
  const pass = still(t);
  FakeSocket.made = [];
  const states = [];
  const events = [];
  const session = {
    id: "s1",
    token: "t1",
    ensure: async () => void events.push("ensure"),
    distrust: () => events.push("distrust"),
    forget: () => events.push("forget"),
  };
  const onState = (state, code) => states.push(code ? [state, code] : state);
  const socket = new ChatSocket({ session: /** @type {any} */ (session), onMessage: ({ type }) => events.push(type), onState, ...hooks });
  const open = async () => {
    socket.open();
    await pass(5);
    return FakeSocket.made.at(-1);
  };
  return { pass, states, events, socket, open, made: FakeSocket.made };
}

test("text that is no JSON, no object or without a type is no message", () => {
  const raw = ["{", "null", "7", "[]", '{"type":7}', '{"type":"pong","at":1}', new ArrayBuffer(2)];
  assert.deepEqual(raw.map((one) => parse(one)?.type), [undefined, undefined, undefined, undefined, undefined, "pong", undefined]);
});

test("each wait is between half of and the whole of a doubling time, at most two seconds in a short break", () => {
  const backoff = new Backoff();
  for (const full of [400, 800, 1600, 2000, 2000, 2000, 2000, 2000]) {
    const wait = backoff.next();
    assert.ok(full / 2 <= wait && wait <= full, `${wait}`);
  }
  backoff.reset();
  assert.ok(backoff.next() <= 400);
  assert.ok(backoff.next(30_000) >= 30_000);
});

for (const [code, state, event] of /** @type {[number, string, string?][]} */ ([
  [4401, "waiting", "distrust"],
  [4403, "ended"],
  [4404, "waiting", "forget"],
  [4408, "ended"],
  [4409, "ended"],
  [4429, "waiting"],
  [1009, "waiting"],
  [1011, "waiting"],
  [1013, "waiting"],
]))
  test(`close code ${code}: ${state}${event ? `, ${event}` : ""}`, async (t) => {
    const { open, states, events } = chat(t);
    (await open()).closes(code);
    assert.deepEqual(states.at(-1), [state, code]);
    assert.deepEqual(events, ["ensure", ...(event ? [event] : [])]);
  });

test("each attempt says its number and the page's, so that the server knows late ones", async (t) => {
  const { pass, open, made } = chat(t);
  await open();
  // Each is given up.
  while (made.length < 3) await pass(500);
  const query = (name) => made.map(({ address }) => address.searchParams.get(name));
  const [page] = query("page");
  assert.match(page, /^[\da-f]{18}$/);
  assert.deepEqual(query("page"), [page, page, page]);
  const [first, second, third] = query("attempt").map(Number);
  assert.ok(0 < first && first < second && second < third);
});

test("after a lost connection the next one opens by itself, with the token as a subprotocol and nowhere else", async (t) => {
  const { pass, open, states, socket, made } = chat(t);
  const first = await open();
  first.opens();
  first.closes(1011);
  await pass(500);
  made[1].opens();
  assert.deepEqual(states, ["connecting", "open", ["waiting", 1011], "connecting", "open"]);
  assert.ok(socket.send(/** @type {any} */ ({ type: "ping" })));
  socket.close();
  assert.equal(socket.send(/** @type {any} */ ({ type: "ping" })), false);
  for (const { address, protocols } of made) {
    assert.equal(address.origin + address.pathname, "ws://localhost:9/ws/s1");
    assert.ok(!address.href.includes("t1"));
    assert.deepEqual(protocols, ["qwen-camera", "bearer.t1"]);
  }
});

test("a socket that is asked and silent is doubted, and another one takes its place: its opening alone is reported", async (t) => {
  let trusted = 0;
  const { pass, open, states, socket, made } = chat(t, { onTrusted: () => trusted++ });
  const first = await open();
  first.opens();
  socket.probe(1000);
  const doubted = [socket.doubted];
  first.says({ type: "pong", at: 1 });
  doubted.push(socket.doubted);
  socket.probe(100);
  doubted.push(socket.doubted);
  await pass(150);
  made[1].opens();
  doubted.push(socket.doubted);
  made[1].says({ type: "pong", at: 1 });
  doubted.push(socket.doubted);
  socket.close();
  assert.deepEqual(doubted, [true, false, true, true, false]);
  assert.deepEqual([trusted, states, made.length], [2, ["connecting", "open", "open", "closed"], 2]);
});

test("a silent socket's place is taken without a break: its close with 4409 is no other window's", async (t) => {
  // The server closes the old one as the new one comes, perhaps before this page knows.
  let silent = 0;
  const { pass, open, states, socket, made } = chat(t, { onSilent: () => silent++ });
  const first = await open();
  first.opens();
  socket.ask(50);
  assert.equal(socket.doubted, false);
  await pass(60);
  first.closes(4409);
  made[1].opens();
  made[1].says({ type: "pong", at: 1 });
  await pass(50);
  assert.ok(socket.send(/** @type {any} */ ({ type: "ping" })));
  assert.deepEqual([silent, states], [1, ["connecting", "open", "open"]]);
});

test("a socket that is still opening is closed when it has opened: the browser would log an error", async (t) => {
  // Only where another one has to get through it is closed at once.
  const { open, socket, made } = chat(t);
  const first = await open();
  socket.close();
  assert.deepEqual(first.closed, []);
  first.opens();
  await open();
  socket.close();
  await open();
  assert.deepEqual(made.map(({ closed }) => closed), [[1], [0], []]);
});

test("a spare that opens late is used all the same, and nobody loses the session", async (t) => {
  const { pass, open, states, socket, made } = chat(t);
  const first = await open();
  first.opens();
  socket.probe(5);
  await pass(10);
  // The silent one has answered meanwhile.
  first.says({ type: "pong", at: 1 });
  await pass(5100);
  assert.deepEqual([socket.doubted, made[1].closed], [false, []]);
  made[1].opens();
  first.closes(4409);
  assert.deepEqual([first.closed, made[1].closed, states], [[1], [], ["connecting", "open", "open"]]);
  assert.ok(socket.send(/** @type {any} */ ({ type: "ping" })));
});
