import { ended, number, text } from "../words/text.js";

/** @typedef {import("../live/voicemessages.js").Listening["state"]} State */

/** @type {Record<import("../live/camera.js").CameraTrouble, string>} */
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

/**
 * Something that is wrong, in the words that the page shows.
 * @typedef {Object} Problem
 * @property {"camera"|"light"|"connection"|"engine"} kind
 * @property {string} tone
 * @property {string} title
 * @property {string} text
 */

const BACK = { camera: "voice.camera_back", light: "", connection: "voice.connection_back", engine: "voice.answers_back" };

/** @param {Problem} problem @param {"short"|"normal"|"full"} verbosity @returns {string} "" for nothing to say */
export function problemWords({ kind, tone, title, text }, verbosity) {
  if (verbosity === "short") return tone === "bad" || kind === "camera" ? ended(title) : "";
  // Advice is of use where the user can follow it.
  return verbosity === "full" || kind === "light" || kind === "camera" ? `${ended(title)} ${text}` : ended(title);
}

/** @param {Problem} over @param {"short"|"normal"|"full"} verbosity */
export function backWords({ kind, tone }, verbosity) {
  if (verbosity === "short" && tone !== "bad" && kind !== "camera") return "";
  return kind === "light" && verbosity === "full" ? text("voice.picture_good") : text(BACK[kind]);
}
