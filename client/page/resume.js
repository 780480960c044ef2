/**
 * Store in this tab's history entry that a paired device was live, because phones often discard pages.
 * @param {boolean} live
 */
export function remember(live) {
  if (Boolean(history.state?.live) === live) return;
  history.replaceState({ ...history.state, live }, "");
}

/** Store in the same entry that the user wants the past remembered, or not. @param {boolean} wanted */
export function keepRecallWish(wanted) {
  history.replaceState({ ...history.state, recall: wanted }, "");
}

/** @returns {boolean} the stored wish; true before the user chose */
export function recallWish() {
  return history.state?.recall !== false;
}

/** Store in the same entry that the user wants answers spoken, or not. @param {boolean} wanted */
export function keepSpeakWish(wanted) {
  history.replaceState({ ...history.state, speak: wanted }, "");
}

/** @returns {boolean} the stored wish */
export function speakWish() {
  return history.state?.speak === true;
}

/**
 * How much is spoken and written. It stays on this device: who needs it, needs it each time.
 * @typedef {Object} SpokenWish
 * @property {"short"|"normal"|"full"} verbosity
 * @property {boolean} tones short tones for what cannot be seen
 */

const SPOKEN = "qwen-camera-spoken";

/** @param {SpokenWish} wish */
export function keepSpokenWish(wish) {
  try {
    localStorage.setItem(SPOKEN, JSON.stringify(wish));
  } catch {
    // A browser that keeps nothing: it holds for this page.
  }
}

/** @returns {SpokenWish} the stored wish */
export function spokenWish() {
  try {
    const { verbosity, tones } = JSON.parse(localStorage.getItem(SPOKEN) ?? "{}");
    return { verbosity: ["short", "full"].includes(verbosity) ? verbosity : "normal", tones: tones !== false };
  } catch {
    return { verbosity: "normal", tones: true };
  }
}

// boot.js reads it, too.
const LANGUAGE = "qwen-camera-language";

/** Store on this device the language that the user has chosen. @param {string} code "": the browser's */
export function keepLanguageWish(code) {
  try {
    if (code) localStorage.setItem(LANGUAGE, code);
    else localStorage.removeItem(LANGUAGE);
  } catch {
    // A browser that keeps nothing: it holds for this page.
  }
}

/** @returns {string} the stored language; "" for the browser's */
export function languageWish() {
  try {
    return localStorage.getItem(LANGUAGE) ?? "";
  } catch {
    return "";
  }
}

/** Store in the same entry that the user wants to be guided, or not. @param {boolean} wanted */
export function keepGuideWish(wanted) {
  history.replaceState({ ...history.state, guide: wanted }, "");
}

/** @returns {boolean} the stored wish */
export function guideWish() {
  return history.state?.guide === true;
}

/**
 * The way in which somebody talks to the page.
 * @typedef {Object} TalkWish
 * @property {"hands_free"|"push"} mode
 * @property {number} silence milliseconds that end a question
 */

/** Store it in the same entry; not that the microphone is on: it is switched on by a tap alone. @param {TalkWish} wish */
export function keepTalkWish(wish) {
  history.replaceState({ ...history.state, talk: wish }, "");
}

/** @returns {TalkWish} the stored wish */
export function talkWish() {
  const { mode, silence } = history.state?.talk ?? {};
  return { mode: mode === "push" ? "push" : "hands_free", silence: silence >= 200 && silence <= 2000 ? silence : 500 };
}

/** True when the page may start at once: it was live, and the camera is allowed without a prompt. @returns {Promise<boolean>} */
export async function wasLive() {
  if (history.state?.live !== true) return false;
  try {
    const { state } = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
    return state === "granted";
  } catch {
    return false; // the browser does not give the permission's state
  }
}
