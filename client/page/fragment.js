/** The fragment of the page's address: a one-time code, or the operator's sign. */

const PAIRING = /^#pair=([\w-]{1,64})$/;
/** Whoever runs the server opens the page with this behind its address. It stays there: it is no secret and opens nothing. */
const OPERATOR = "#operator";

/**
 * The one-time code in the page's address, which is taken out of it at once: it stays in no history, no bookmark and no
 * address that is passed on.
 * @returns {string} empty where there is none
 */
export function takePairingCode() {
  const { hash, pathname, search } = location;
  if (!hash.startsWith("#pair=")) return "";
  history.replaceState(history.state, "", pathname + search);
  return PAIRING.exec(hash)?.[1] ?? "";
}

/** Whether the page was opened for the operator: visitors see nothing of the engine panel. */
export function cameAsOperator() {
  return location.hash === OPERATOR;
}
