// Id of this page: 72 random bits
const PAGE = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * Add this page's id and the attempt's number to a URL, so that the server recognises an abandoned attempt that arrives
 * late, after a cut.
 * @param {string} address
 * @param {number} attempt from 1 on; grows with each attempt of its kind, and with its end
 * @returns {string}
 */
export function numbered(address, attempt) {
  return `${address}${address.includes("?") ? "&" : "?"}page=${PAGE}&attempt=${attempt}`;
}
