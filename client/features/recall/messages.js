/** WebSocket messages about the pictures of the recent past. */

/**
 * Drop the pictures of the recent past.
 * @typedef {Object} ClearRecall
 * @property {"clear_recall"} type
 */

/**
 * The pictures of the recent past that are kept now.
 * @typedef {Object} Recalled
 * @property {"recall"} type
 * @property {number} pictures
 * @property {number} bytes
 * @property {number} [oldest_at] by the server's clock; absent without any
 */

export {};
