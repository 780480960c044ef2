/** The turns of a page: how messages become them, and what ends, corrects and bounds them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../../../../client/core/chat/conversation.js";
import { languageOf } from "../../../../client/core/chat/language.js";

const frame = { id: "f1", thumbnail: "data:" };
const response = (id, text, more = {}) =>
  ({ type: "response", id, text, kind: "chat", finish_reason: "stop", frame, timings: {}, usage: {}, ...more });
const transcript = (id, text, final) => ({ type: "transcript", id, text, final });

/** A conversation, the ids of the turns that are gone, and `note`, which writes down what `look` finds. */
function talked(look = (_talk) => undefined) {
  const gone = [];
  const seen = [];
  const talk = new Conversation({ onTurn: () => {}, onGone: ({ id }) => gone.push(id) });
  const receive = (message) => talk.receive(/** @type {any} */ (message));
  const note = (message) => {
    if (message) receive(message);
    seen.push(look(talk));
  };
  return { talk, receive, note, seen, gone };
}

test("started brings the frame, deltas add up, the response is the whole; late ones change nothing", () => {
  const { talk, receive, note, seen } = talked(({ turns: [turn] }) => [turn.state, turn.text, turn.frame?.id ?? null]);
  talk.ask("q1", "What?", "auto", true);
  note({ type: "started", id: "q1", kind: "chat", frame });
  note({ type: "delta", id: "q1", text: "A " });
  note({ type: "delta", id: "q1", text: "cat" });
  receive({ type: "delta", id: "other", text: "x" });
  note(response("q1", "A cat."));
  receive({ type: "delta", id: "q1", text: "late" });
  note({ type: "error", id: "q1", code: "busy", message: "late", retryable: true });
  const end = ["done", "A cat.", "f1"];
  assert.deepEqual(seen, [["thinking", "", "f1"], ["answering", "A ", "f1"], ["answering", "A cat", "f1"], end, end]);
  assert.equal(talk.running, null);
});

test("a spoken question grows into a turn, which can be corrected until the next one; silence leaves nothing", () => {
  const { receive, note, seen, gone } = talked(({ turns }) => turns.map(({ question, state, correctable }) => [question, state, correctable]));
  note(transcript("s1", "what", false));
  note(transcript("s1", "what cow", true));
  note({ type: "started", id: "s1", kind: "chat", frame });
  receive(transcript("s2", "uh", false));
  note(transcript("s2", "", true));
  note(transcript("s3", "", true));
  const heard = ["what cow", "thinking", false];
  assert.deepEqual(seen, [[["what", "hearing", false]], [["what cow", "sent", true]], [["what cow", "thinking", true]], [heard], [heard]]);
  assert.deepEqual(gone, ["s2"]);
});

test("corrected words get their own answer: the rest of the one to the wrong words is left out", () => {
  const { talk, receive, note, seen } = talked(({ turns: [turn] }) => [turn.question, turn.state, turn.text]);
  receive(transcript("s1", "what cow", true));
  receive({ type: "started", id: "s1", kind: "chat", frame });
  const [turn] = talk.turns;
  talk.correct(turn, "what colour");
  note();
  receive({ type: "delta", id: "s1", text: "A cow" });
  note(response("s1", "A cow", { finish_reason: "replaced" }));
  receive({ type: "started", id: "s1", kind: "chat", frame });
  receive({ type: "delta", id: "s1", text: "Red" });
  note(response("s1", "Red."));
  talk.correct(turn, "what shade");
  note();
  note(response("s1", "", { finish_reason: "cancelled" }));
  talk.correct(turn, "what tint");
  note({ type: "error", id: "s1", code: "not_found", message: "Ask anew.", retryable: false });
  assert.deepEqual(seen, [
    ["what colour", "sent", ""],
    ["what colour", "sent", ""],
    ["what colour", "done", "Red."],
    ["what shade", "sent", ""],
    ["what shade", "done", ""],
    ["what tint", "failed", ""],
  ]);
});

test("a broken connection ends what was sent; a waiting question goes on waiting", () => {
  const { talk, receive } = talked();
  talk.ask("q1", "One?", "auto", true);
  talk.ask("q2", "Two?", "auto", false);
  talk.interrupt("Lost.");
  assert.deepEqual(talk.turns.map(({ state, problem, retryable }) => [state, problem, retryable]), [["failed", "Lost.", true], ["waiting", "", false]]);
  // A question that is asked again has its end from then on.
  talk.ask("q3", "Three?", "auto", true);
  talk.interrupt("Lost.", "q3");
  talk.sent("q3");
  receive(response("q3", "", { finish_reason: "cancelled" }));
  assert.equal(talk.byId("q3")?.state, "sent");
  receive(response("q3", "A cat."));
  assert.equal(talk.byId("q3")?.state, "done");
});

test("a description is one turn: its answers replace each other, older ones are kept bounded, no half one stays", () => {
  const { talk, receive } = talked();
  for (let n = 0; n < 310; n++) {
    const at = { ...frame, captured_at: 1000 + n };
    receive({ type: "started", id: `d${n}`, kind: "describe", frame: at });
    receive(response(`d${n}`, `text ${n}`, { kind: "describe", frame: at }));
  }
  const [turn] = talk.turns;
  receive({ type: "unchanged", id: "d308", looked_at: 5 });
  assert.equal(turn.looked, 0);
  receive({ type: "unchanged", id: "d309", looked_at: 6 });
  assert.equal(turn.looked, 6);
  receive({ type: "started", id: "d310", kind: "describe", frame });
  receive({ type: "delta", id: "d310", text: "half" });
  assert.equal(turn.text, "text 309");
  talk.endDescription();
  assert.deepEqual([talk.turns.length, turn.text, turn.state], [1, "text 309", "done"]);
  assert.deepEqual([turn.earlier.length, turn.earlier[1]], [300, { at: 1308, text: "text 308" }]);
});

test("a description changes its words and its picture together: the first is shown as it is written, later ones whole", () => {
  const { note: receive, seen } = talked(({ turns: [{ text, frame }] }) => [text, frame?.id, frame?.thumbnail ?? ""]);
  const at = (id, thumbnail) => ({ ...frame, id, thumbnail });
  receive({ type: "started", id: "d0", kind: "describe", frame: at("f0") });
  receive({ type: "delta", id: "d0", text: "A" });
  receive(response("d0", "A cup.", { kind: "describe", frame: at("f0", "p0") }));
  receive({ type: "started", id: "d1", kind: "describe", frame: at("f1") });
  receive({ type: "delta", id: "d1", text: "B" });
  receive(response("d1", "Bees.", { kind: "describe", frame: at("f1", "p1") }));
  const old = ["A cup.", "f0", "p0"];
  assert.deepEqual(seen, [["", "f0", ""], ["A", "f0", ""], old, old, old, ["Bees.", "f1", "p1"]]);
});

test("the oldest turn goes when there are more than a hundred", () => {
  const { talk, gone } = talked();
  for (let n = 0; n < 103; n++) talk.ask(`q${n}`, "?", "auto", true);
  assert.deepEqual([talk.turns.length, gone], [100, ["q0", "q1", "q2"]]);
});

for (const [language, text] of [
  ["en", "I see a red cup on the table."],
  ["de", "Ich sehe eine rote Tasse auf dem Tisch."],
  ["fr", "Je vois une tasse rouge sur la table."],
  ["es", "Hay una taza roja en la mesa."],
  ["it", "C'è una tazza rossa sul tavolo, non è piena."],
  ["pt", "Há uma caneca vermelha em cima da mesa."],
  ["nl", "Er staat een rode kop op de tafel."],
  ["pl", "Na stole jest czerwony kubek."],
  ["ru", "На столе стоит красная чашка."],
  ["uk", "На столі стоїть червона чашка, її бачу."],
  ["zh", "桌子上有一个红色的杯子。"],
  ["ja", "テーブルの上に赤いカップがあります。"],
  ["ko", "테이블 위에 빨간 컵이 있습니다."],
  ["ar", "هناك كوب أحمر على الطاولة."],
  ["", "12.50"],
  ["", "Rot."],
  ["", ""],
])
  test(`the language of "${text}" is told by its script or its small words: ${language || "neither tells"}`, () => {
    assert.equal(languageOf(text), language);
  });
