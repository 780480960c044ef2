/** Messages about answers that are there, or on their way. */

/**
 * Forget a question with its answer and pictures; without an id, all of them.
 * @typedef {Object} DeleteAnswer
 * @property {"delete_answer"} type
 * @property {string} [id]
 */

/**
 * @typedef {Object} Typing
 * @property {"typing"} type
 */

export {};
