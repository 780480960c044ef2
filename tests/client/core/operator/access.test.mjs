/** The operator's access: the token, and what is sent with it; with a server in place of fetch. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { OperatorAccess } from "../../../../client/core/operator/access.js";
import { still } from "../../time.mjs";

/** An access, its messages, what it shows, and the requests to a server that knows one token. */
function access(t, { token = "right", operators = true, session = "" } = {}) {
  const asked = [];
  const pass = still(t);
  t.mock.method(globalThis, "fetch", async (path, { headers }) => {
    asked.push(path);
    const status = operators ? (headers.Authorization === `Bearer ${token}` ? 200 : 401) : 404;
    const data = status === 200 ? {} : { error: { code: "unauthorized", message: "Not right.", retryable: false } };
    return { ok: status === 200, status, headers: new Headers(), json: async () => data };
  });
  const sent = [];
  const joins = [];
  const own = new OperatorAccess({
    send: (message) => sent.push(message) > 0,
    session: () => session,
    onChange: () => {},
    onJoin: (joined) => joins.push(joined),
  });
  const receive = (message) => own.receive(/** @type {any} */ (message));
  return { own, sent, joins, asked, receive, pass };
}

for (const operators of [true, false])
  test(`a wrong token is forgotten, with the server's words for it: ${operators}`, async (t) => {
    const { own, sent, asked } = access(t, { operators });
    own.connected(true);
    await own.enter("wrong");
    assert.deepEqual([own.facts.known, own.facts.refused, sent, own.secrets, asked.length], [false, "Not right.", [], [], 1]);
  });

test("the token goes with each new connection once", async (t) => {
  const { own, sent, joins } = access(t);
  own.connected(true);
  await own.enter(" right ");
  own.connected(true);
  own.connected(false);
  own.connected(true);
  assert.deepEqual(sent, Array(2).fill({ type: "operator", token: "right" }));
  assert.deepEqual(joins, [true, false, true]);
  // No report that leaves the page holds it.
  assert.deepEqual(own.secrets, ["right"]);
});

test("a token that is changed on the server is asked for again", async (t) => {
  const { own } = access(t);
  await own.enter("right");
  assert.ok(own.facts.known);
  await own.enter("old");
  await assert.rejects(own.ask("GET", "/api/engine"));
  assert.deepEqual([own.facts.known, own.facts.refused], [false, "Not right."]);
});

test("what no token has, as a space or a word processor's dash, is said at once", async (t) => {
  const { own, asked } = access(t);
  for (const token of ["", "  ", "two words", "a\u2013b", "a\u0000b"]) {
    await own.enter(token);
    assert.match(own.facts.refused, token.trim() ? /copy it once more/ : /Give the token/);
  }
  assert.deepEqual([asked, own.secrets], [[], []]);
});

test("one that is held up is tried again; errors of questions are not the operator's", async (t) => {
  const { own, sent, receive, pass } = access(t);
  own.connected(true);
  await own.enter("right");
  assert.equal(receive({ type: "error", id: "q1", code: "busy", message: "", retryable: true }), false);
  assert.equal(receive({ type: "still", withheld: true }), false);
  const wait = { type: "error", id: "operator", code: "rate_limited", message: "Wait.", retryable: true, retry_after: 0.05 };
  assert.equal(receive(wait), true);
  assert.equal(own.facts.problem, "Wait.");
  await pass(200);
  assert.deepEqual([own.facts.problem, sent.length], ["", 2]);
});

test("the process of the page's own session is asked: a balancer finds it by ?session=", async (t) => {
  const { own, asked } = access(t, { session: "a b" });
  await own.enter("right");
  assert.deepEqual(asked, ["/api/operator/sessions?session=a%20b"]);
});
