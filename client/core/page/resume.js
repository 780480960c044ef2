/**
 * The tab's address and its entry in the history: a one-time code, the operator's mark, and what holds after a reload.
 */

const PAIRING = /^#pair=([\w-]{1,64})$/;
/**
 * The operator opens the page with this behind its address. It stays there, because it is no secret and grants nothing.
 */
const OPERATOR = "#operator";

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
 * True when the page may start at once: it was live, and the camera is allowed without a prompt.
 * @returns {Promise<boolean>}
 */
export async function wasLive() {
  if (history.state?.live !== true) return false;
  try {
    const { state } = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
    return state === "granted";
  } catch {
    return false; // the browser does not give the permission's state
  }
}

/**
 * Take the one-time code out of the page's address, so that it stays in no history, bookmark or shared address.
 * @returns {string} "" without one
 */
export function takePairingCode() {
  const { hash, pathname, search } = location;
  if (!hash.startsWith("#pair=")) return "";
  history.replaceState(history.state, "", pathname + search);
  return PAIRING.exec(hash)?.[1] ?? "";
}

/** True when the page was opened with the operator's mark; visitors do not see the engine panel. */
export function cameAsOperator() {
  return location.hash === OPERATOR;
}
