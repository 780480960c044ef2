/** A visitor's session, and how a cut of its link is noticed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Outage } from "../../../../client/core/live/outage.js";
import { Session } from "../../../../client/core/live/session.js";
import { still } from "../../time.mjs";

test("an access code is asked for until it fits: a wrong one is said, and giving up is apart", async (t) => {
  const codes = [];
  t.mock.method(globalThis, "fetch", async (_path, { body }) => {
    const { access_code: given } = JSON.parse(body);
    codes.push(given);
    if (given === "right") return Response.json({ token: "t", session_id: "s", expires_in: 60, ice_servers: [] });
    return Response.json({ error: { code: "unauthorized", message: "No.", retryable: false } }, { status: 401 });
  });
  const asked = [];
  const answers = [null, "wrong", "right"];
  const session = new Session({
    askCode: async (wrong) => {
      asked.push(wrong);
      return answers.shift() ?? null;
    },
    onNew: (first) => asked.push(`new ${first}`),
  });
  t.after(() => session.forget());
  await assert.rejects(session.ensure(), { code: "cancelled" });
  await Promise.all([session.ensure(), session.ensure()]);
  assert.deepEqual([asked, session.id, session.valid], [[false, false, true, "new true"], "s", true]);
  assert.deepEqual(codes, [undefined, undefined, "wrong", "right"]);
});

test("a connection that is called interrupted when it is back is not lost", async (t) => {
  // Browsers notice a cut seconds late: where packets come again by then, nobody hears of it a second time.
  const pass = still(t);
  const said = [];
  const socket = /** @type {any} */ ({ probe() {}, renew() {}, ask() {} });
  const facts = /** @type {any} */ ({ active: true, cut: false });
  const outage = new Outage({ facts: () => facts, socket, onChange: (cut) => said.push(cut) });
  const after = async (quiet, ms, next) => {
    said.length = 0;
    outage.pulse.quiet = quiet;
    outage.linkChanged("connected");
    outage.linkChanged("interrupted");
    await pass(ms);
    if (next) outage.linkChanged(next);
    return [...said];
  };
  assert.deepEqual(await after(true, 0), [true]);
  assert.deepEqual(await after(false, 100, "connected"), []);
  await pass(1200);
  assert.deepEqual(said, []);
  assert.deepEqual(await after(false, 1200), [true]);
  assert.deepEqual(await after(false, 100, "waiting"), [true]);
});
