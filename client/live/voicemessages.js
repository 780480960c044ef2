/** WebSocket messages about speech, a part of messages.js. */

// --- Sent by the page ----------------------------------------------------------------------------

/**
 * The words of a heard question were wrong: ask it anew in its place.
 * @typedef {Object} Correct
 * @property {"correct"} type
 * @property {string} id
 * @property {string} text
 */

/** @typedef {Correct} VoiceMessage */

// --- Sent by the server --------------------------------------------------------------------------

/**
 * The words of a spoken question as far as they were understood; the question has this id.
 * @typedef {Object} HeardWords
 * @property {"heard"} type
 * @property {string} id
 * @property {string} text all words so far; empty when nothing was understood
 * @property {boolean} final nothing follows, and the question is asked unless the text is empty
 */

/** @typedef {HeardWords} VoiceReport */

export {};
