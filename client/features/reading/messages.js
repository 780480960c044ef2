/** WebSocket messages about a text that is read over several pictures. */

/**
 * A hint for reading a text over several pictures, or its end.
 * @typedef {Object} ReadingState
 * @property {"reading"} type
 * @property {string} id of the question
 * @property {import("../../core/live/messages.js").AimHint["hint"]} [hint]
 * @property {boolean} ended nothing new has come: the text is read
 */

export {};
