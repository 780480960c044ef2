/** Path of the server's own certificate authority, if it has one (run.sh --https). */
const AUTHORITY = "/ca.crt";

/**
 * True when the server has a certificate authority of its own. A response also proves that https works here.
 * @returns {Promise<boolean>}
 */
export async function hasOwnAuthority() {
  if (location.protocol !== "https:") return false;
  try {
    return (await fetch(AUTHORITY, { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false; // unreachable: a problem of the network
  }
}
