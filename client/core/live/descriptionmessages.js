/** WebSocket messages about a running description, a part of messages.js. */

/**
 * The description with this id still holds, though the scene has changed.
 * @typedef {Object} Unchanged
 * @property {"unchanged"} type
 * @property {string} id
 * @property {number} looked_at ms since the epoch by the server's clock
 */

/**
 * The comparison of a frame with the one last described, or last asked about for the watches.
 * @typedef {Object} SceneChange
 * @property {"change"} type
 * @property {"description"|"watches"} about
 * @property {number} value the strongest evidence; a change from 1 on
 * @property {"same"|"first"|"view"|"scene"|"object"|"slight"|"color"|"print"} why
 * @property {[number, number, number, number]} [region] left, top, right, bottom as shares of the picture
 * @property {number} busy share of the picture that always moves
 * @property {boolean} asks the frame goes to the engine
 */


/** @typedef {Unchanged|SceneChange} DescriptionReport */

export {};
