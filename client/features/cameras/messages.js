/** Messages about the cameras of a session with more than its own. */

/**
 * @typedef {Object} CameraInfo
 * @property {string} id
 * @property {string} name
 * @property {"starting"|"live"|"stalled"|"frozen"|"ended"} [state] absent: nothing was sent yet
 * @property {boolean} asked questions are about it
 */

/**
 * All cameras, the session's own first.
 * @typedef {Object} CameraList
 * @property {"cameras"} type
 * @property {CameraInfo[]} cameras
 */

export {};
