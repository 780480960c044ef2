/** Words about watches in languages whose comma is another one. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { stateOf, summary, whenWords } from "../../../../client/features/watches/words.js";
import { plural, text, use } from "../../../../client/core/words/text.js";

const watch = (/** @type {string} */ state) => /** @type {any} */ ({ state, over: false, condition: "red", reason: "" });

test("parts of a sentence are joined by the language's comma", () => {
  assert.equal(whenWords(undefined, undefined), `${text("watch.any_time")}, ${text("watch.until_stop")}`);
  assert.equal(summary([watch("cannot"), watch("watching")], 0), `${plural("watch.count", 2)}, ${plural("watch.cannot_count", 1)}`);
  use("ja", {
    "watch.any_time": "いつでも",
    "watch.until_stop": "停止するまで",
    "watch.count": { other: "見守り {count} 件" },
    "watch.cannot_count": { other: "{count} 件は現在見守れません" },
  });
  assert.equal(whenWords(undefined, undefined), "いつでも、停止するまで");
  assert.equal(summary([watch("cannot"), watch("watching")], 0), "見守り 2 件、1 件は現在見守れません");
  use("en", {});
});

test("a watch that was stopped is not called finished", () => {
  assert.equal(summary([], 0, { stopped: true }), text("watch.stopped"));
  const ended = { ...watch("seen"), ended: true };
  assert.equal(summary([ended], 0, { over: "red", stopped: true }), text("watch.stopped"));
  assert.equal(summary([ended], 0, { over: "red" }), text("watch.finished", { condition: "red" }));
  assert.equal(summary([], 0), text("watch.none"));
  assert.equal(summary([watch("watching")], 0, { off: true }), `${text("watch.paused")} ${plural("watch.count", 1)}`);
});

test("it says who is asked about what the engine that watches cannot watch for", () => {
  const asked = text("watch.by_model", { model: "qwen3-vl-8b" });
  assert.equal(stateOf({ ...watch("looking"), model: "qwen3-vl-8b" }), `${text("watch.watching")} ${asked}`);
  assert.equal(stateOf(watch("looking")), text("watch.watching"));
});
