// What this page calls itself: 72 random bits
const PAGE = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * An address that says which attempt of this page it is for, so that the server knows one that was given up and comes
 * through late, after a cut.
 * @param {string} address
 * @param {number} attempt from 1 on; grows with each attempt of its kind, and with its end
 * @returns {string}
 */
export function numbered(address, attempt) {
  return `${address}${address.includes("?") ? "&" : "?"}page=${PAGE}&attempt=${attempt}`;
}
