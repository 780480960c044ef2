/** WebSocket messages about spoken answers. */

/**
 * The page's own voice has read an answer up to `end`.
 * @typedef {Object} SpeechProgress
 * @property {"speech_progress"} type
 * @property {string} id
 * @property {number} end
 */

/**
 * The state of a spoken answer, and the piece of it that is heard.
 * @typedef {Object} SpeakingState
 * @property {"speaking"} type
 * @property {string} id
 * @property {"speaking"|"lowered"|"paused"|"stopped"|"done"} state
 * @property {string} text of the piece
 * @property {number} start its first character in the answer
 * @property {number} end the one after its last
 */

/**
 * A piece of an answer that the page reads with its browser's own voice.
 * @typedef {Object} Say
 * @property {"say"} type
 * @property {string} id
 * @property {string} text
 * @property {number} start
 * @property {number} end
 */

export {};
