/** The user's settings. They stay on this device and hold for all pages of the server. */

/**
 * Those of the core, and each of a feature by its name: see `oneOf` and `within`.
 * @typedef {Core & {[own: string]: any}} Settings
 */
/**
 * @typedef {Object} Core
 * @property {string} language of the page; "" for the browser's
 * @property {"normal"|"short"|"full"} verbosity length of answers and hints
 * @property {boolean} tones short tones for what cannot be seen
 * @property {boolean} tools the model may act
 * @property {boolean} toolsAsked the user has said whether it may
 * @property {"100"|"125"|"150"|"200"} size of text, in percent
 * @property {"system"|"light"|"dark"} theme
 * @property {boolean} details of each answer are open
 * @property {string} camera its device id; "" for the browser's choice
 * @property {"720"|"480"|"1080"} resolution height of the camera's picture, in pixels
 * @property {number} sensitivity 0.25 to 4, 0 for the server's: how small a change counts for descriptions and watches
 * @property {string} voice of the browser, by its URI; "" for the browser's choice
 * @property {"1"|"0.75"|"1.25"|"1.5"|"2"} speed of that voice
 */

// boot.js reads it, too.
const KEY = "qwen-camera-settings";
const VERSION = 1;
/** The first of each is the default. @type {Record<string, string[]>} */
const CHOICES = {
  verbosity: ["normal", "short", "full"],
  size: ["100", "125", "150", "200"],
  theme: ["system", "light", "dark"],
  resolution: ["720", "480", "1080"],
  speed: ["1", "0.75", "1.25", "1.5", "2"],
};
/** @type {Record<string, boolean>} */
const SWITCHES = { tones: true, details: false, tools: false, toolsAsked: false };
const MOST_CHARS = 256;
// Those of features, which may not be here yet, are kept, too.
const MOST = 64;

/** @type {Set<(settings: Settings, before: Settings) => void>} */
const listeners = new Set();
let current = readStored();

/** @returns {Settings} */
export function settings() {
  return current;
}

/**
 * A setting of a feature. @template {string} T @param {any} value @param {readonly T[]} allowed the default first
 * @returns {T}
 */
export function oneOf(value, allowed) {
  return allowed.includes(value) ? value : allowed[0];
}

/** Another. @param {any} value @param {number} least @param {number} most @param {number} usual @returns {number} */
export function within(value, least, most, usual) {
  return value >= least && value <= most ? Number(value) : usual;
}

/** Change some of them, and keep all. @param {Partial<Settings>} change */
export function change(change) {
  use(tolerant({ ...current, ...change }));
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...current, version: VERSION }));
  } catch {
    // A browser that keeps nothing: they hold for this page.
  }
}

/** Keep none of them any more. */
export function forgetSettings() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // as above
  }
  use(tolerant({}));
}

/**
 * Call with the new and the old ones after each change, also by another page.
 * @param {(now: Settings, before: Settings) => void} listener
 */
export function onSettings(listener) {
  listeners.add(listener);
}

window.addEventListener("storage", ({ key }) => {
  if (key === KEY || key === null) use(readStored());
});

/** @returns {Settings} */
function readStored() {
  try {
    return tolerant(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    return tolerant({});
  }
}

/**
 * The default for whatever is missing or not allowed: the store may be another version's.
 * @param {any} found
 * @returns {Settings}
 */
function tolerant(found) {
  /** @type {any} */
  const result = {};
  for (const [name, value] of Object.entries(found ?? {}).slice(0, MOST)) {
    const fits = typeof value === "string" ? value.length <= MOST_CHARS : typeof value !== "object";
    if (fits && /^[a-z]\w{0,31}$/i.test(name)) result[name] = value;
  }
  for (const [name, allowed] of Object.entries(CHOICES)) result[name] = oneOf(found?.[name], allowed);
  for (const [name, usual] of Object.entries(SWITCHES))
    result[name] = typeof found?.[name] === "boolean" ? found[name] : usual;
  const { language, camera, sensitivity, voice } = found ?? {};
  result.language = typeof language === "string" && /^[a-z]{2,3}$/.test(language) ? language : "";
  result.camera = typeof camera === "string" && camera.length <= MOST_CHARS ? camera : "";
  result.voice = typeof voice === "string" && voice.length <= MOST_CHARS ? voice : "";
  result.sensitivity = within(sensitivity, 0.25, 4, 0);
  return result;
}

/** @param {Settings} next */
function use(next) {
  const before = current;
  current = next;
  const { dataset } = document.documentElement;
  dataset.theme = next.theme;
  dataset.size = next.size;
  for (const listener of listeners) listener(next, before);
}
