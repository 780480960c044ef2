/** WebSocket messages about other programs that may look, a part of messages.js. */

/**
 * One program's access, without its token.
 * @typedef {Object} ProgramInfo
 * @property {string} id
 * @property {string} name the person's name for it
 * @property {string[]} scopes look | watch | events
 * @property {number} made_at
 * @property {number} expires_at
 * @property {number} [last_used] absent before the first use
 * @property {number} looks so far
 */

/**
 * All programs that have access to the session now, oldest first.
 * @typedef {Object} ProgramList
 * @property {"programs"} type
 * @property {ProgramInfo[]} programs
 * @property {number} most 0 where the operator allows none
 * @property {number} looks_per_minute of each program, at most
 */

/**
 * A look of a program: as it begins, and again with the same id at its end.
 * @typedef {Object} ProgramLook
 * @property {"look"} type
 * @property {string} id
 * @property {string} program the program's id
 * @property {string} name
 * @property {string} tool look | find | recall | snapshot | chat
 * @property {string} question "" for a picture alone
 * @property {"looking"|"done"|"failed"} state
 * @property {number} at ms since the epoch by the server's clock
 * @property {string} text the answer, or why there is none
 * @property {string} [image] JPEG data URL
 */

/** @typedef {ProgramList|ProgramLook} ProgramReport */

export {};
