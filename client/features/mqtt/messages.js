/** WebSocket messages about Home Assistant. */

/**
 * Make this camera a device of Home Assistant, or end that.
 * @typedef {Object} SetHomeAssistant
 * @property {"home_assistant"} type
 * @property {boolean} on
 */

/**
 * Home Assistant, by a broker of the operator's; sent where the operator offers it.
 * @typedef {Object} HomeAssistant
 * @property {"home_assistant"} type
 * @property {string} host
 * @property {boolean} on this camera is a device there
 */

export {};
