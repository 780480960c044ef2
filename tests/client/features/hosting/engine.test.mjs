/** The operator's desk for models: what is loaded, what is shown of it; with a server in place of its requests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EngineDesk } from "../../../../client/features/hosting/engine/desk.js";
import { bytes, meanwhile, standing, startWords } from "../../../../client/features/hosting/engine/words.js";
import { still } from "../../time.mjs";

/** A desk that is watched, what it shows, and its requests. */
async function desk(t, { pending = 0 } = {}) {
  const asked = [];
  const pass = still(t);
  const ask = async (method, path, body) => {
    asked.push([path, body]);
    const engine = { type: "engine", state: "loading", answers: false };
    if (path.endsWith("/preview")) return { command: `run ${body.model}`, elsewhere: "", warnings: [] };
    if (path === "/api/engine") return { engine: { ...engine, state: "idle" }, models: [], machine: "A machine.", pending: pending-- > 0 };
    return { engine };
  };
  const shown = [];
  const own = new EngineDesk({ ask: /** @type {any} */ (ask), onChange: (facts) => shown.push(facts) });
  const receive = (message) => own.receive(/** @type {any} */ (message));
  const tell = (state, more = {}) => receive({ type: "engine", state, answers: false, ...more });
  own.joined(true);
  own.watch(true);
  await pass(0);
  return { own, shown, asked, receive, tell, pass, paths: () => asked.map(([path]) => path) };
}
const CHOICE = { model: "m", mode: /** @type {const} */ ("remote") };

test("what the server does not know yet is looked for again, and nobody is kept waiting meanwhile", async (t) => {
  const { shown, paths, pass } = await desk(t, { pending: 2 });
  await pass(6000);
  assert.equal(shown.at(-1).busy, false);
  assert.deepEqual(paths(), Array(3).fill("/api/engine"));
});

test("the lines of the connection before are not shown twice, and lines are bounded", async (t) => {
  const { own, receive } = await desk(t);
  receive({ type: "log", lines: ["a"], dropped: 0 });
  own.joined(true);
  assert.deepEqual(own.facts.lines, []);
  for (let n = 0; n < 10; n++) receive({ type: "log", lines: Array.from({ length: 100 }, (_, at) => `${n} ${at}`), dropped: 1 });
  const { lines, dropped } = own.facts;
  assert.deepEqual([lines.length, lines[0], lines.at(-1), dropped], [400, "6 0", "9 99", 610]);
});

test("what the socket told meanwhile is newer than an answer: a quick engine does not load for ever", async (t) => {
  const { own, tell } = await desk(t);
  const starting = own.start(CHOICE);
  tell("ready", { model: "m", answers: true });
  await starting;
  assert.equal(own.facts.report?.state, "ready");
  // Without a word from the socket the answer is what is known.
  await own.start(CHOICE);
  assert.equal(own.facts.report?.state, "loading");
});

test("the list is looked at anew when something was loaded or stopped, and not with every step", async (t) => {
  const { shown, asked, tell, pass } = await desk(t);
  const before = asked.length;
  const counts = [];
  for (const state of ["loading", "loading", "ready", "ready", "stopping", "idle"]) {
    tell(state);
    await pass(50);
    counts.push(asked.length - before);
  }
  assert.deepEqual(counts, [0, 0, 1, 1, 1, 2]);
  assert.ok(!shown.some(({ busy, report }) => busy && report?.state === "ready"));
});

test("it says when nothing is told, until the next connection", async (t) => {
  const { own, tell, pass } = await desk(t);
  await pass(5000);
  const stale = [own.facts.stale];
  tell("idle");
  stale.push(own.facts.stale);
  own.joined(false);
  stale.push(own.facts.stale);
  own.joined(true);
  tell("idle");
  stale.push(own.facts.stale);
  assert.deepEqual(stale, [true, false, true, false]);
});

test("only the last choice is previewed: one request for many changes, and no answer to an older one", async (t) => {
  const { own, asked, pass } = await desk(t);
  for (const model of ["a", "b", "c"]) own.choose({ ...CHOICE, model });
  assert.equal(own.facts.preview, null);
  await pass(700);
  assert.equal(own.facts.preview?.command, "run c");
  own.choose(null);
  await pass(500);
  assert.equal(own.facts.preview, null);
  assert.deepEqual(asked.slice(1), [["/api/engine/preview", { ...CHOICE, model: "c" }]]);
});

const plain = (words) => words.replaceAll("\u00a0", " ");
const LOADED = { model: "a/b", mode: "in_process" };
const REMOTE = { model: "http://x/v1", mode: "remote", answers: true };
const VLLM = { engine: "vllm", model: "Qwen2.5-VL-32B", server: "vLLM", where: "cam:8001" };
const ROLES = { watches: { engine: "watches", model: "s", where: "b:1" }, reads: { engine: "builtin" } };
const NOTHING = "Nothing is there.";
const ELSEWHERE = "Nothing else is loaded from here.";

for (const [report, tone, title, detail, percent, stoppable] of /** @type {[any, string, string, string, number|undefined|null, boolean][]} */ ([
  [null, "off", "Not known yet", "", NaN, false],
  [{ state: "idle" }, "off", "No model is loaded", "The server chooses among the engines it has.", NaN, false],
  [{ ...LOADED, state: "loading", progress: { phase: "weights", percent: 41.7, done_bytes: 2.5e9, total_bytes: 6e9 } }, "busy", "Loading The Model in this program", "weights · 42 % · 2.5 GB of 6.0 GB", 41.7, true],
  [{ ...LOADED, state: "loading", progress: { phase: "starting" } }, "busy", "Loading The Model in this program", "starting", null, true],
  [{ ...LOADED, state: "ready", answers: true }, "ok", "The Model runs in this program", "It answers visitors.", NaN, true],
  [{ ...LOADED, state: "ready", answers: false }, "warn", "The Model runs in this program", "Another engine answers visitors.", NaN, true],
  [{ ...LOADED, state: "stopping" }, "busy", "Stopping The Model", "Its memory is being freed.", null, false],
  [{ ...LOADED, state: "failed", error: "Why." }, "bad", "The Model does not run", "", NaN, false],
  [{ state: "idle", answering: VLLM }, "ok", "Qwen2.5-VL-32B on vLLM answers", `It is at cam:8001. ${ELSEWHERE}`, NaN, false],
  [{ state: "idle", answering: { engine: "builtin" }, why: NOTHING }, "warn", "The built-in engine answers", `${NOTHING} ${ELSEWHERE}`, NaN, false],
  [{ state: "idle", why: NOTHING }, "bad", "Nothing answers", `${NOTHING} ${ELSEWHERE}`, NaN, false],
  [{ state: "idle", answering: { engine: "local", model: "m" } }, "ok", "m answers", ELSEWHERE, NaN, false],
  [{ state: "idle", answering: VLLM, roles: ROLES }, "ok", "Qwen2.5-VL-32B on vLLM answers", `It is at cam:8001. s at b:1 watches. The built-in engine reads texts. ${ELSEWHERE}`, NaN, false],
  [{ ...REMOTE, state: "loading" }, "busy", "Connecting to http://x/v1", "starting", null, true],
  [{ ...REMOTE, state: "ready" }, "ok", "Connected to http://x/v1", "It answers visitors.", NaN, true],
  [{ ...REMOTE, state: "failed" }, "bad", "http://x/v1 is not used", "", NaN, false],
]))
  test(`how the engine stands in words: ${title} (${detail})`, () => {
    const found = standing(/** @type {any} */ ({ report, models: [{ id: "a/b", name: "The Model" }] }));
    assert.deepEqual([found.tone, found.title, plain(found.detail), found.percent, found.stoppable], [tone, title, detail, percent, stoppable]);
  });

test("what answers while nothing is loaded from here stands first", () => {
  const first = (report) => meanwhile(/** @type {any} */ ({ report }));
  const said = "Qwen2.5-VL-32B on vLLM answers (cam:8001).";
  for (const [report, wanted] of /** @type {[object, string][]} */ ([
    [{ state: "idle" }, ""],
    [{ state: "ready", answers: true }, ""],
    [{ state: "ready", answers: false }, said],
    [{ state: "failed" }, said],
  ]))
    assert.equal(first({ ...report, answering: VLLM }), wanted);
  assert.equal(first({ state: "failed", why: NOTHING }), `Nothing answers. ${NOTHING}`);
});

test("bytes, and the button that starts", () => {
  assert.deepEqual([999, 1000, 9949, 9950, 1.5e6, 16.58e9, 2e12].map(bytes).map(plain), ["999 B", "1.0 kB", "9.9 kB", "10 kB", "1.5 MB", "17 GB", "2.0 TB"]);
  const start = (facts, model = "x", mode = "in_process") => startWords(/** @type {any} */ (facts), model, /** @type {any} */ (mode));
  const runs = { report: { state: "ready", ...LOADED } };
  assert.deepEqual(
    [start({ report: null, busy: true }), start({ report: { state: "idle" } }), start(runs), start(runs, "a/b"), start(runs, "a/b", "subprocess")],
    ["A moment…", "Start", "Switch to this", "Start again", "Switch to this"],
  );
});
