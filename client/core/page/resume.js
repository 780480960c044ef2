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

/** Store in the same entry what the user wants, or has agreed to. @param {string} name @param {any} wanted */
export function keepWish(name, wanted) {
  history.replaceState({ ...history.state, [name]: wanted }, "");
}

/** @param {string} name @returns {any} the stored wish; undefined before any */
export function wish(name) {
  return history.state?.[name];
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
