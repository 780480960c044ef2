const FRAGMENT = /^#pair=([\w-]{1,64})$/;

/**
 * The one-time code in the page's address, which is taken out of it at once: it stays in no history, no bookmark and no
 * address that is passed on.
 * @returns {string} empty where there is none
 */
export function takePairingCode() {
  const { hash, pathname, search } = location;
  if (!hash.startsWith("#pair=")) return "";
  history.replaceState(history.state, "", pathname + search);
  return FRAGMENT.exec(hash)?.[1] ?? "";
}
