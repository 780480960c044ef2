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

/** @type {Record<State, string>} */
const HANDS_FREE = {
  off: "page.connecting",
  waiting: "voice.listening",
  speech: "voice.hearing",
  silence: "…",
  recognising: "voice.understanding",
};

/**
 * @param {"hands_free"|"push"} mode @param {State} state @param {boolean} held the button is
 * @param {"slow"|"unclear"|""} [news] its words take long, or there were none
 * @returns {string}
 */
export function stateWords(mode, state, held, news = "") {
  if (held) return text("voice.hearing");
  if (news === "slow" && state === "recognising") return text("voice.still_listening");
  if (news === "unclear" && (state === "waiting" || mode === "push")) return text("voice.unclear");
  if (mode === "hands_free") return text(HANDS_FREE[state]);
  return state === "recognising" ? text(HANDS_FREE.recognising) : text("voice.muted");
}

/** @param {number} milliseconds */
export function pauseWords(milliseconds) {
  return text("page.seconds_long", { number: number(milliseconds / 1000, 1) });
}
