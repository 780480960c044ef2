/** Requests with the operator's token, for parts of the page beside the panel. Uses no DOM. */

/** @type {{ask: import("./desk.js").Ask|null}} ask: null while this page has no token */
export const operator = { ask: null };
