/** Words of the panel, which is in English alone: for administrators. Uses no DOM. */

/** @param {number} value @param {number} [digits] behind the point @returns {string} such as "1,234.5" */
export function number(value, digits = 0) {
  return new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** @param {number} count @param {string} one such as "look" @param {string} [others] for other counts than one */
export function counted(count, one, others = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : others}`;
}

/** @param {number} seconds @returns {string} such as "5 min" */
export function lasted(seconds) {
  // No line may end between a number and its unit.
  if (seconds < 60) return `${number(Math.max(0, seconds))}\u00a0s`;
  if (seconds < 3600) return `${number(Math.floor(seconds / 60))}\u00a0min`;
  if (seconds < 86_400) return `${number(Math.floor(seconds / 3600))}\u00a0h`;
  return `${number(Math.floor(seconds / 86_400))}\u00a0d`;
}

/**
 * Why a request failed, in the server's own words where it has said so.
 * @param {import("../live/api.js").ApiError} error
 * @returns {string}
 */
export function failure({ sentence, message }) {
  return sentence || message;
}
