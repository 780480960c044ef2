/** WebSocket messages about watches. */

/**
 * Begin a watch, in place of one with the same id.
 * @typedef {Object} Watch
 * @property {"watch"} type
 * @property {string} id
 * @property {string} condition
 * @property {boolean} [repeat] true: alert each time that it begins; else once
 * @property {number} [cooldown] seconds after the end of a seen event in which nothing alerts
 * @property {number} [expires] seconds until it ends by itself
 * @property {[number, number]} [hours] first and last minute of the day
 * @property {number} [zone] the person's time, in minutes east of UTC
 * @property {string} [zone_name] the same as an IANA zone, which knows summer time
 * @property {number} [threshold] the confidence that it needed in an earlier session
 */

/**
 * End a watch.
 * @typedef {Object} Unwatch
 * @property {"unwatch"} type
 * @property {string} id
 */

/**
 * The page has shown an alert; the next one that it missed may follow.
 * @typedef {Object} Ack
 * @property {"transcript"} type
 * @property {string} id
 */

/**
 * An alert was false: the threshold of its watch rises.
 * @typedef {Object} FalseAlarm
 * @property {"false_alarm"} type
 * @property {string} id
 */

/**
 * @typedef {Object} WatchInfo
 * @property {string} id
 * @property {string} condition
 * @property {boolean} repeat
 * @property {"looking"|"seen"|"paused"|"expired"|"cannot"} state
 * @property {boolean} ended it alerts no more
 * @property {string} reason of the state, or of the last answer; may be empty
 * @property {number} [looked_at] absent before the first look
 * @property {number} [expires_at]
 * @property {boolean} armed it knows how things are at its beginning
 * @property {[number, number]} [hours] first and last minute of the day
 * @property {number} threshold the confidence that an answer needs
 */

/**
 * All watches of the session, oldest first.
 * @typedef {Object} WatchList
 * @property {"watches"} type
 * @property {WatchInfo[]} watches
 * @property {number} most the most that a session may have
 */

/**
 * A watch's condition holds, with the frame that proves it. A repeated id has newer words.
 * @typedef {Object} Alert
 * @property {"alert"} type
 * @property {string} id
 * @property {string} watch
 * @property {string} condition
 * @property {number} at capture of the frame
 * @property {number} confidence 0 to 1
 * @property {string} reason
 * @property {string} frame
 * @property {string} [image] JPEG data URL; absent when a filter withheld it, and with newer words
 * @property {[number, number, number, number]} [region] left, top, right, bottom as shares of the picture
 * @property {boolean} acked a page has shown it before
 */

export {};
