/** WebSocket messages that take a chat to another session, a part of messages.js. */

// --- Sent by the page ----------------------------------------------------------------------------

/**
 * Go on with the chat of an earlier session, before this one's first question.
 * @typedef {Object} Resume
 * @property {"resume"} type
 * @property {string} handover the last one
 * @property {string} token of the earlier session
 */

// --- Sent by the server --------------------------------------------------------------------------

/**
 * The chat, signed; a newer one replaces it.
 * @typedef {Object} Handover
 * @property {"handover"} type
 * @property {string} handover
 */

/**
 * The chat of the earlier session was taken over.
 * @typedef {Object} Resumed
 * @property {"resumed"} type
 * @property {number} turns questions with their answers that are remembered
 */

/**
 * This part of the server is about to stop: begin a new session now, which another has room for.
 * @typedef {Object} Moved
 * @property {"moved"} type
 */

/** @typedef {Handover|Resumed|Moved} HandoverReport */

export {};
