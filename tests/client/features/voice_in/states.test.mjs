/** The one state of the microphone, for all that can be at once. */

import assert from "node:assert/strict";
import { test } from "node:test";

const { stateWords, talkState } = await import("../../../../client/features/voice_in/words.js");

const STATES = ["off", "waiting", "speech", "silence", "recognising"];
const all = STATES.flatMap((state) =>
  ["hands_free", "push"].flatMap((mode) =>
    [false, true].flatMap((held) =>
      ["", "slow", "unclear"].flatMap((news) =>
        [false, true].flatMap((answering) =>
          [false, true].map((deaf) => ({ on: true, mode, state, held, news, answering, deaf })),
        ),
      ),
    ),
  ),
);

const FREE = { on: true, mode: "hands_free" };
const PUSH = { on: true, mode: "push" };
for (const [facts, expected] of [
  [{ ...FREE, on: false, state: "speech", answering: true }, "off"],
  [{ ...FREE, state: "off" }, "connecting"],
  [{ ...FREE, state: "waiting" }, "listening"],
  [{ ...FREE, state: "waiting", news: "unclear" }, "unclear"],
  [{ ...FREE, state: "waiting", answering: true }, "over"],
  [{ ...FREE, state: "waiting", answering: true, news: "unclear" }, "over"],
  [{ ...FREE, state: "waiting", answering: true, deaf: true }, "answering"],
  [{ ...FREE, state: "off", answering: true }, "answering"],
  [{ ...FREE, state: "speech" }, "hearing"],
  [{ ...FREE, state: "speech", answering: true }, "hearing"],
  [{ ...FREE, state: "silence", answering: true }, "pause"],
  [{ ...FREE, state: "recognising" }, "understanding"],
  [{ ...FREE, state: "recognising", news: "slow" }, "slow"],
  [{ ...PUSH, state: "waiting" }, "muted"],
  [{ ...PUSH, state: "off" }, "muted"],
  [{ ...PUSH, state: "speech" }, "muted"],
  [{ ...PUSH, state: "waiting", held: true, answering: true }, "hearing"],
  [{ ...PUSH, state: "waiting", answering: true }, "answering"],
  [{ ...PUSH, state: "recognising" }, "understanding"],
  [{ ...PUSH, state: "waiting", news: "unclear" }, "unclear"],
])
  test(`${JSON.stringify(facts)} is ${expected}`, () => assert.equal(talkState(facts), expected));

test("it never listens while an answer is on its way or heard", () => {
  const answering = all.filter((one) => one.answering).map(talkState);
  assert.ok(answering.length > 50);
  assert.deepEqual(answering.filter((one) => ["listening", "unclear", "muted", "connecting"].includes(one)), []);
});

test("who hears nothing meanwhile is neither heard nor asked to talk", () => {
  const deaf = all.filter((one) => one.answering && one.deaf && !one.held).map(talkState);
  assert.deepEqual(deaf.filter((one) => ["hearing", "over"].includes(one)), []);
});

test("no answer is told of where there is none", () => {
  const quiet = all.filter((one) => !one.answering).map(talkState);
  assert.deepEqual(quiet.filter((one) => ["answering", "over"].includes(one)), []);
});

test("each state has its words", () => {
  const words = new Set(all.map((one) => stateWords(talkState(one))));
  assert.equal(words.size, new Set(all.map(talkState)).size);
  assert.ok(!words.has(""));
  assert.equal(stateWords("off"), "");
});
