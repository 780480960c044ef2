import { number, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").Listening["state"]} State */

/** @type {Record<import("../../core/live/camera.js").CameraTrouble, string>} */
export const NO_MICROPHONE = {
  insecure: "voice.insecure",
  refused:
    "voice.denied",
  dismissed: "voice.dismissed",
  missing: "voice.missing",
  busy: "voice.busy",
  failed: "voice.failed",
};

export const LOST = "voice.lost";

/**
 * What the page says of the microphone, one at a time.
 * @typedef {"off"|"connecting"|"listening"|"hearing"|"pause"|"understanding"|"slow"|"unclear"|"muted"|"answering"
 *   |"over"} TalkState over: an answer is on its way or heard, and talking stops it
 */

/** @type {Record<TalkState, string>} */
const WORDS = {
  off: "",
  connecting: "page.connecting",
  listening: "voice.listening",
  hearing: "voice.hearing",
  pause: "…",
  understanding: "voice.understanding",
  slow: "voice.still_listening",
  unclear: "voice.unclear",
  muted: "voice.muted",
  answering: "voice.answering",
  over: "voice.answering_over",
};

/**
 * The one state of the microphone: it never listens while an answer is on its way or heard.
 * @param {Object} facts
 * @param {boolean} facts.on
 * @param {"hands_free"|"push"} facts.mode
 * @param {State} facts.state what is made of its sound
 * @param {boolean} [facts.held] the button is
 * @param {"slow"|"unclear"|""} [facts.news] its words take long, or there were none
 * @param {boolean} [facts.answering] an answer is on its way or heard
 * @param {boolean} [facts.deaf] nothing is heard meanwhile
 * @returns {TalkState}
 */
export function talkState({ on, mode, state, held = false, news = "", answering = false, deaf = false }) {
  if (!on) return "off";
  const free = mode === "hands_free";
  if (held || (free && state === "speech" && !(answering && deaf))) return "hearing";
  if (state === "recognising") return news === "slow" ? "slow" : "understanding";
  if (free && state === "silence") return "pause";
  if (answering) return free && state === "waiting" && !deaf ? "over" : "answering";
  if (news === "unclear" && (state === "waiting" || !free)) return "unclear";
  if (!free) return "muted";
  return state === "waiting" ? "listening" : "connecting";
}

/** @param {TalkState} state */
export function stateWords(state) {
  return WORDS[state] && text(WORDS[state]);
}

/** @param {number} milliseconds */
export function pauseWords(milliseconds) {
  return text("page.seconds_long", { number: number(milliseconds / 1000, 1) });
}
