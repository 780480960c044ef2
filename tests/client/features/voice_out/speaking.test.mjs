/** Answers that are spoken: piece by piece by the browser's own voice, and the sound of the server's. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** A page with a voice of its browser's that writes down what it gets, and ends pieces on request. */
const said = [];
const waiting = [];
const sounds = [];
const voice = {
  paused: false,
  speak: (one) => (said.push(one.text), waiting.push(one), one.onstart()),
  cancel: () => (said.push("(silent)"), (waiting.length = 0)),
  pause: () => (voice.paused = true),
  resume: () => (voice.paused = false),
};
class Utterance {
  constructor(text) {
    this.text = text;
  }
}
class Sound {
  muted = false;
  srcObject = null;
  constructor() {
    sounds.push(this);
  }
}
Object.assign(globalThis, {
  window: globalThis,
  addEventListener: () => {},
  document: { documentElement: { lang: "en" } },
  Audio: Sound,
  speechSynthesis: voice,
});
const { Speech } = await import("../../../../client/core/chat/speech.js");
const { Speaking } = await import("../../../../client/features/voice_out/speaking.js");

beforeEach(() => {
  globalThis.SpeechSynthesisUtterance = /** @type {any} */ (Utterance);
  voice.paused = false;
  for (const list of [said, waiting, sounds]) list.length = 0;
});

/** What is spoken on a page, and what it tells the server and marks. */
function page() {
  const log = [];
  const speech = new Speech(() => {});
  const speaking = new Speaking({
    send: (message) => log.push(message) > 0,
    speech,
    language: () => "en",
    mark: (id, start, end) => log.push([id, start, end]),
    onChange: () => log.push(speaking.id || "(none)"),
  });
  const say = (text, start, end) => speaking.receive({ type: "say", id: "a", text, start, end });
  const state = (id, state) => speaking.receive(/** @type {any} */ ({ type: "speaking", id, state, text: "", start: 0, end: 0 }));
  return { log, speech, speaking, say, state, ends: () => waiting.shift().onend() };
}

test("pieces are read in turn, each is marked while it is read, and the server hears how far the page is", () => {
  const { log, say, ends } = page();
  say("One.", 0, 4);
  say("Two.", 4, 9);
  ends();
  assert.deepEqual(said, ["One.", "Two."]);
  assert.deepEqual(log, ["a", ["a", 0, 4], ["a", 4, 9], { type: "speech_progress", id: "a", end: 4 }]);
});

test("a stop leaves nothing marked or spoken; the news of another answer's end does nothing", () => {
  const { log, speaking, say, state } = page();
  say("One.", 0, 4);
  state("b", "stopped");
  assert.equal(speaking.id, "a");
  state("a", "stopped");
  assert.deepEqual([speaking.id, said, log.slice(2)], ["", ["One.", "(silent)"], [["a", 0, 0], "(none)"]]);
});

test("a lowered answer pauses the browser's voice", () => {
  const { log, speaking, say, state } = page();
  say("One.", 0, 4);
  for (const [name, paused] of /** @type {[string, boolean][]} */ ([["lowered", true], ["speaking", false], ["paused", true]])) {
    state("a", name);
    assert.equal(voice.paused, paused, name);
  }
  speaking.hush();
  assert.deepEqual([voice.paused, log.at(-3)], [false, { type: "cancel", id: "a" }]);
});

test("a paused answer is silent with the message: its sound is on its way; what goes on, and the next one, are heard", () => {
  const { speaking, state } = page();
  const [sound, ...others] = sounds;
  assert.deepEqual(others, []);
  for (const [id, name, muted] of /** @type {[string, string, boolean][]} */ ([
    ["a", "speaking", false],
    ["a", "lowered", false],
    ["a", "paused", true],
    ["a", "speaking", false],
    ["a", "paused", true],
    ["a", "stopped", true],
    ["b", "speaking", false],
  ])) {
    state(id, name);
    assert.equal(sound.muted, muted, `${id} ${name}`);
  }
  speaking.hush();
  assert.ok(sound.muted);
});

test("the wish goes to each new socket once", () => {
  const { log, speaking } = page();
  for (const open of [true, true, false, true]) speaking.connected(open);
  speaking.off();
  assert.deepEqual(log, [true, true, false].map((speak) => ({ type: "settings", speak })));
});

test("a browser without a voice says at once that it is done", () => {
  const { log, say } = page();
  Reflect.deleteProperty(globalThis, "SpeechSynthesisUtterance");
  say("One.", 0, 4);
  assert.deepEqual([said, log.at(-1)], [[], { type: "speech_progress", id: "a", end: 4 }]);
});

test("a remark stops for somebody who talks, one that waits for the end of an answer, too; the answer goes on", () => {
  const { speech, say, ends } = page();
  speech.remark("A step.", true);
  speech.hush();
  assert.deepEqual([...said, speech.busy], ["A step.", "(silent)", false]);
  said.length = 0;
  say("One.", 0, 4);
  say("Two.", 4, 8);
  speech.remark("A door.", true);
  speech.hush();
  ends();
  ends();
  assert.deepEqual([said, speech.busy], [["One.", "Two."], false]);
});
