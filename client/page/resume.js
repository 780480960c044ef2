/**
 * Remember with this page's place in the tab's history whether a paired device was live: phones discard pages all the time.
 * It says that and nothing else.
 * @param {boolean} live
 */
export function remember(live) {
  if (Boolean(history.state?.live) === live) return;
  history.replaceState({ ...history.state, live }, "");
}

/** Whether to go straight on: it was live, and the camera is allowed without asking. @returns {Promise<boolean>} */
export async function wasLive() {
  if (history.state?.live !== true) return false;
  try {
    const { state } = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
    return state === "granted";
  } catch {
    return false; // a browser that does not tell
  }
}
