/** The fragment of the page's address: a one-time code, or the operator's mark. */

const PAIRING = /^#pair=([\w-]{1,64})$/;
/** The operator opens the page with this behind its address. It stays there, because it is no secret and grants nothing. */
const OPERATOR = "#operator";

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
