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
