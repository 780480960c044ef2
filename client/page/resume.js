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
