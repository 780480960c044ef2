/** The connection doctor: its report, the server's clock, and checks that hang. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { examine, verdict } from "../../../../client/core/doctor/doctor.js";
import { checkRelay } from "../../../../client/core/doctor/mediachecks.js";
import { report } from "../../../../client/core/doctor/report.js";
import { checkClock } from "../../../../client/core/doctor/webchecks.js";
import { plural, text, use } from "../../../../client/core/words/text.js";
import { still } from "../../time.mjs";
import "../../english.mjs";

globalThis.location = /** @type {any} */ (new URL("http://localhost:9/"));
globalThis.window = /** @type {any} */ ({ isSecureContext: true });
Object.defineProperty(globalThis, "navigator", { value: { userAgent: "Browser/1", onLine: true }, configurable: true });

test("a report has the beginning of addresses alone, and nothing of secrets", () => {
  // Versions, ports and names are no addresses.
  const observed =
    "turn:203.0.113.7:3478, [2001:db8::17] 0b1c-9.local, fe80:0:0:0:1:2:3:4, turn:relay.example.org:3478, 0.1.0, the token s3cret-token";
  const results = [{ id: "a", title: "A", state: /** @type {const} */ ("failed"), text: observed, cause: "C", todo: "D" }];
  const [head, body] = report(results, { began: new Date(0), took: 1234 }, ["s3cret-token", ""]).split("\n\n");
  assert.deepEqual(head.split("\n").slice(1), ["1970-01-01T00:00:00.000Z, took 1.2 s", "Page: http, localhost", "Browser: Browser/1"]);
  assert.equal(
    body,
    "FAILED A: turn:203.0.x.x:3478, [2001:x] x.local, fe80:x, turn:relay.example.org:3478, 0.1.0, the token [removed]\n" +
      "       Cause: C\n       To do: D\n",
  );
});

test("the clock is compared with the middle of the request: only more than its length and whole seconds is an offset", () => {
  const at = (seconds, took = 0) => {
    const date = new Date(1e12 + seconds * 1000).toUTCString();
    const found = checkClock(/** @type {any} */ ({ date, sent: 1e12, came: 1e12 + took }));
    return found.state === "ok" ? "ok" : found.text;
  };
  assert.deepEqual([at(0), at(9), at(-9), at(16, 8000)], ["ok", "ok", "ok", "ok"]);
  assert.equal(at(12), text("doctor.clock_behind", { time: plural("doctor.seconds", 13) }));
  assert.equal(at(-600), text("doctor.clock_ahead", { time: plural("doctor.minutes", 10) }));
  assert.equal(at(86_400), text("doctor.clock_behind", { time: plural("page.hours", 24) }));
  assert.equal(checkClock(/** @type {any} */ ({ date: "", sent: 0, came: 0 })).state, "skipped");
});

const never = () => new Promise(() => {});

/** Never answers. */
const silent = (_path, { signal }) => new Promise((_, refuse) => signal.addEventListener("abort", refuse));

/** An examination of a server: how often it told, and its results. */
function examined(t, ensure, signal, fetch = silent) {
  t.mock.method(globalThis, "fetch", fetch);
  const told = [];
  const results = new Map();
  const visit = { facts: { camera: "off", socket: "closed" }, session: { ensure, iceServers: [] }, peer: {} };
  const end = examine(/** @type {any} */ (visit), (result) => results.set(result.id, (told.push(result), result)), signal);
  return { end, told, results };
}

test("a check that hangs ends by itself with words", async (t) => {
  const pass = still(t);
  const ensure = () => new Promise((_, refuse) => setTimeout(refuse, 300, new TypeError("its text")));
  const answer = async (path, options) =>
    path === "/" ? Response.json({ service: "qwen-camera", version: "1" }) : silent(path, options);
  const { end, results } = examined(t, ensure, new AbortController().signal, answer);
  await pass(13_000);
  await end;
  const states = Object.fromEntries([...results.values()].map(({ id, state }) => [id, state]));
  assert.ok(!Object.values(states).includes("running"));
  assert.deepEqual([states.server, states.access, states.socket], ["ok", "failed", "skipped"]);
  assert.equal(results.get("access").text, text("doctor.check_failed", { error: "TypeError" }));
  assert.equal(verdict([...results.values()]).tone, "bad");
});

test("where the server does not answer, that alone is said, and what needs it is not checked", async (t) => {
  const pass = still(t);
  const { end, results } = examined(t, async () => {}, new AbortController().signal);
  await pass(13_000);
  await end;
  assert.equal(results.get("server").state, "failed");
  for (const id of ["clock", "access", "socket", "engine", "direct", "relays"]) {
    const { state, text: said, cause, todo } = results.get(id);
    assert.deepEqual([state, said, cause, todo], ["skipped", text("doctor.server_unchecked"), "", ""], id);
  }
});

test("closing it stops all at once, and nothing more is reported", async (t) => {
  const pass = still(t);
  const stop = new AbortController();
  const { end, told } = examined(t, never, stop.signal);
  await pass(20);
  stop.abort();
  await end;
  assert.ok(told.length < 30, `${told.length}`);
});

test("a relay's cause is in the page's language; in English, and for an unknown code, it is the server's own sentence", async (t) => {
  // A connection that finds a candidate at once
  globalThis.RTCPeerConnection = /** @type {any} */ (
    class {
      addTransceiver() {}
      async createOffer() {}
      async setLocalDescription() {
        /** @type {any} */ (this).onicecandidate({ candidate: { candidate: "candidate:1" } });
      }
      close() {}
    }
  );
  t.after(() => use("en", {}));
  const cause = async (problem) => {
    const reported = { ok: false, problem, why: "The server's sentence." };
    return (await checkRelay({ urls: "turn:relay.test" }, /** @type {any} */ (reported), new AbortController().signal)).cause;
  };
  assert.equal(await cause("quota"), "The server's sentence.");
  use("de", { "doctor.relay_quota": "Sein Kontingent ist verbraucht." });
  assert.deepEqual([await cause("quota"), await cause("unknown")], ["Sein Kontingent ist verbraucht.", "The server's sentence."]);
});
