import { ended, key, number, text } from "../words/text.js";

/** @typedef {import("../live/voicemessages.js").Listening["state"]} State */

/** @type {Record<import("../live/camera.js").CameraTrouble, string>} */
export const NO_MICROPHONE = {
  insecure: key("Browsers give the microphone only to pages opened with https."),
  refused:
    key("The browser does not let this page use the microphone. Press the icon left of the address, set Microphone to Allow, then press Talk again."),
  dismissed: key("The browser asked for the microphone and got no answer. Press Talk again and choose Allow."),
  missing: key("No microphone was found. Connect one, then press Talk again."),
  busy: key("Another program uses the microphone. Close it there, then press Talk again."),
  failed: key("The microphone did not start. Press Talk again, or type your question."),
};

export const LOST = key("The microphone was disconnected.");

/** @type {Record<State, string>} */
const HANDS_FREE = {
  off: key("Connecting…"),
  waiting: key("Listening. Ask your question."),
  speech: key("Hearing you…"),
  silence: "…",
  recognising: key("Understanding…"),
};

/**
 * @param {"hands_free"|"push"} mode @param {State} state @param {boolean} held the button is
 * @param {"slow"|"unclear"|""} [news] its words take long, or there were none
 * @returns {string}
 */
export function stateWords(mode, state, held, news = "") {
  if (held) return text("Hearing you…");
  if (news === "slow" && state === "recognising") return text("Still listening to what you said…");
  if (news === "unclear" && (state === "waiting" || mode === "push")) return text("I did not catch that. Say it again.");
  if (mode === "hands_free") return text(HANDS_FREE[state]);
  return state === "recognising" ? text(HANDS_FREE.recognising) : text("Muted. Hold the button, or Space, while you talk.");
}

/** @param {number} milliseconds */
export function pauseWords(milliseconds) {
  return text("{number} seconds", { number: number(milliseconds / 1000, 1) });
}

/**
 * Something that is wrong, in the words that the page shows.
 * @typedef {Object} Problem
 * @property {"camera"|"light"|"connection"|"engine"} kind
 * @property {string} tone
 * @property {string} title
 * @property {string} text
 */

const BACK = { camera: key("The camera is back."), light: "", connection: key("The connection is back."), engine: key("Answers are back.") };

/** @param {Problem} problem @param {"short"|"normal"|"full"} verbosity @returns {string} "" for nothing to say */
export function problemWords({ kind, tone, title, text }, verbosity) {
  if (verbosity === "short") return tone === "bad" || kind === "camera" ? ended(title) : "";
  // Advice is of use where the user can follow it.
  return verbosity === "full" || kind === "light" || kind === "camera" ? `${ended(title)} ${text}` : ended(title);
}

/** @param {Problem} over @param {"short"|"normal"|"full"} verbosity */
export function backWords({ kind, tone }, verbosity) {
  if (verbosity === "short" && tone !== "bad" && kind !== "camera") return "";
  return kind === "light" && verbosity === "full" ? text("The picture is good again.") : text(BACK[kind]);
}
