/** Where the server offers the authority that its own certificate comes from, when it made one (run.sh --https). */
const AUTHORITY = "/ca.crt";

/**
 * Whether this page came with a certificate of the server's own making. That the answer arrives tells also that https
 * works here, whatever else does not.
 * @returns {Promise<boolean>}
 */
export async function hasOwnAuthority() {
  if (location.protocol !== "https:") return false;
  try {
    return (await fetch(AUTHORITY, { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false; // not reached: then it is the network
  }
}
