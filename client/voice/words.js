/** @typedef {import("../live/voicemessages.js").Listening["state"]} State */

/** @type {Record<import("../live/camera.js").CameraTrouble, string>} */
export const NO_MICROPHONE = {
  insecure: "Browsers give the microphone only to pages opened with https.",
  refused:
    "The browser does not let this page use the microphone. Press the icon left of the address, set Microphone to Allow, then press Talk again.",
  dismissed: "The browser asked for the microphone and got no answer. Press Talk again and choose Allow.",
  missing: "No microphone was found. Connect one, then press Talk again.",
  busy: "Another program uses the microphone. Close it there, then press Talk again.",
  failed: "The microphone did not start. Press Talk again, or type your question.",
};

export const LOST = "The microphone was disconnected.";

/** @type {Record<State, string>} */
const HANDS_FREE = {
  off: "Connecting…",
  waiting: "Listening. Ask your question.",
  speech: "Hearing you…",
  silence: "…",
  recognising: "Understanding…",
};

/**
 * @param {"hands_free"|"push"} mode @param {State} state @param {boolean} held the button is
 * @returns {string}
 */
export function stateWords(mode, state, held) {
  if (mode === "hands_free") return HANDS_FREE[state];
  if (held) return "Hearing you…";
  return state === "recognising" ? HANDS_FREE.recognising : "Muted. Hold the button, or Space, while you talk.";
}

/** @param {number} milliseconds */
export function pauseWords(milliseconds) {
  return `${(milliseconds / 1000).toFixed(1)} seconds`;
}

/**
 * Something that is wrong, in the words that the page shows.
 * @typedef {Object} Problem
 * @property {"camera"|"light"|"connection"|"engine"} kind
 * @property {string} tone
 * @property {string} title
 * @property {string} text
 */

const BACK = { camera: "The camera is back.", light: "", connection: "The connection is back.", engine: "Answers are back." };

/** @param {Problem} problem @param {"short"|"normal"|"full"} verbosity @returns {string} "" for nothing to say */
export function problemWords({ kind, tone, title, text }, verbosity) {
  if (verbosity === "short") return tone === "bad" || kind === "camera" ? `${title}.` : "";
  // What to do is of use where the user can do it.
  return verbosity === "full" || kind === "light" || kind === "camera" ? `${title}. ${text}` : `${title}.`;
}

/** @param {Problem} over @param {"short"|"normal"|"full"} verbosity */
export function backWords({ kind, tone }, verbosity) {
  if (verbosity === "short" && tone !== "bad" && kind !== "camera") return "";
  return kind === "light" && verbosity === "full" ? "The picture is good again." : BACK[kind];
}
