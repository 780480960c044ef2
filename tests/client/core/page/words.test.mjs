/** Words for the states of a page, and for what became of an answer. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { details } from "../../../../client/core/facts/words.js";
import { Stand, card, notice, remarks, summary } from "../../../../client/core/page/words.js";
import { text } from "../../../../client/core/words/text.js";
import "../../english.mjs";

Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });

const BASE = {
  active: true, camera: "on", muted: false, link: "connected", linkError: null, socket: "open", closeCode: 0, socketError: null,
  ready: { engine: "builtin", model: "m", engine_state: "ready" }, status: { camera: "live" }, held: false, describing: false, sent: null,
};
const facts = (change = {}) => /** @type {any} */ ({ ...BASE, ...change });
const off = (change) => facts({ active: false, ...change });

/** Each has a title and a next step of its own, and no word is missing. */
function differ(shown) {
  for (const { title, text } of shown) {
    assert.ok(title && text);
    assert.ok(!`${title}${text}`.includes("undefined"));
  }
  assert.equal(new Set(shown.map(({ title }) => title)).size, shown.length);
}

test("each reason for no camera has a title and a next step of its own", () => {
  const cameras = ["off", "asking", "resting", "refused", "dismissed", "missing", "busy", "failed", "lost", "insecure"].map((camera) => card(off({ camera })));
  const closed = [4401, 4403, 4408, 4409].map((closeCode) => card(off({ camera: "off", closeCode })));
  differ([...cameras, ...closed]);
});

test("each trouble of a live page has a title and a next step of its own", () => {
  const live = (status) => ({ status: { camera: "live", ...status } });
  const changes = [
    { muted: true },
    { socket: "waiting" },
    { socket: "waiting", closeCode: 1013 },
    { socket: "waiting", closeCode: 4429 },
    { socket: "waiting", gone: true },
    { link: "interrupted", status: { camera: "stalled" } },
    { link: "ended", linkError: { message: "No codec." } },
    live({ camera: "stalled" }),
    live({ camera: "frozen" }),
    live({ dark: true }),
    live({ blurred: true }),
    ...["loading", "unreachable", "misconfigured"].map((engine_state) => live({ engine_state })),
  ];
  differ(changes.map((change) => notice(facts(change))));
  // Nobody lights a screen.
  assert.equal(notice(facts({ screen: true, ...live({ dark: true, black: true }) })), null);
});

test("where all is well nothing is said but that", () => {
  assert.deepEqual([summary(facts()), notice(facts()), card(facts())], [{ tone: "ok", label: text("page.live") }, null, null]);
});

test("without a connection the details claim nothing of what only the server knows", () => {
  const unknown = text("facts.once_connected");
  for (const lost of [{ socket: "waiting" }, { cut: true }]) {
    const { camera, engine, received } = details(facts(lost));
    assert.deepEqual([camera, engine, received], [text("doctor.camera_on"), unknown, unknown]);
    assert.equal(details(facts({ camera: "elsewhere", ...lost })).camera, text("facts.camera_elsewhere"));
  }
});

test("a clock that is doubted stands in the details", () => {
  const said = [false, true].map((clock_doubted) => details(facts({ status: { camera: "live", clock_doubted } })).received);
  assert.deepEqual(said.map((words) => words.includes(text("facts.clock_wrong"))), [false, true]);
});

test("a visitor reads words: numbers stand apart", () => {
  const sent = { width: 1280, height: 720, fps: 4, bytes: 1e6, kbps: 112, limitation: "none" };
  const status = { camera: "live", width: 1280, height: 720, fps: 2.2 };
  const { camera, connection, engine, ...rest } = details(facts({ status, sent }));
  assert.doesNotMatch([camera, connection, engine].join(), /\d/);
  assert.deepEqual(Object.keys(rest), ["sending", "received", "data"]);
  for (const words of Object.values(rest)) assert.match(words, /\d/);
  assert.equal(connection, text("facts.good"));
  const slow = details(facts({ status, sent: { ...sent, limitation: "bandwidth" } }));
  assert.equal(slow.connection, text("facts.limited_network"));
  assert.equal(details(facts({ status: { camera: "stalled" }, sent })).connection, text("page.connected"));
});

test("a sound that was not used is said; not one that was heard, nor of an engine that never hears", () => {
  const unused = text("page.sound_unused");
  assert.deepEqual(["refused", "empty", "heard", "deaf", undefined].map((sound) => remarks({ sound })), [unused, unused, "", "", ""]);
});

test("a change between model and built-in engine is told once, however often it is heard", () => {
  const stand = new Stand();
  const heard = [["vllm", "m"], ["vllm", "m"], ["builtin", "builtin"], ["builtin", "builtin"], ["local", "n"], ["vllm", "m"]].map(
    ([engine, model]) => stand.heard(engine, model, facts({ ready: null })),
  );
  const simple = text("stage.model_silent", { simple: text("stage.simple_mode") });
  assert.deepEqual(heard, ["", "", simple, "", `${text("stage.model_now", { model: "n" })}.`, ""]);
});
