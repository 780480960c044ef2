/** WebSocket messages about webhooks that a person may choose. */

/**
 * Let alerts of this session go to these webhooks alone; none: to nobody any more.
 * @typedef {Object} Forward
 * @property {"forward"} type
 * @property {string[]} webhooks names
 */

/**
 * A program elsewhere that the person may choose.
 * @typedef {Object} WebhookOffer
 * @property {string} name
 * @property {string} host
 * @property {boolean} on alerts of this session go there
 */

/**
 * The webhooks to which the person may let alerts go.
 * @typedef {Object} WebhookOffers
 * @property {"webhooks"} type
 * @property {WebhookOffer[]} webhooks
 */

export {};
