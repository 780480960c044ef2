/** Words about watches in languages whose comma is another one. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { summary, whenWords } from "../../../client/watch/words.js";
import { use } from "../../../client/words/text.js";

const watch = (/** @type {string} */ state) => /** @type {any} */ ({ state, over: false, condition: "red", reason: "" });

test("parts of a sentence are joined by the language's comma", () => {
  assert.equal(whenWords(undefined, undefined), "At any time, until I say stop");
  assert.equal(summary([watch("cannot"), watch("watching")], 0), "2 watches, 1 cannot watch now");
  use("ja", {
    "At any time": "いつでも",
    "until I say stop": "停止するまで",
    "{count} watches": { other: "見守り {count} 件" },
    "{count} cannot watch now": { other: "{count} 件は現在見守れません" },
  });
  assert.equal(whenWords(undefined, undefined), "いつでも、停止するまで");
  assert.equal(summary([watch("cannot"), watch("watching")], 0), "見守り 2 件、1 件は現在見守れません");
  use("en", {});
});
