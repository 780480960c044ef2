/** The user's settings. They stay on this device and hold for all pages of the server. */

/**
 * @typedef {Object} Settings
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
 * @property {""|"short"|"medium"|"long"} length of descriptions; "" for the server's
 * @property {"hands_free"|"push"} talk how the microphone is heard
 * @property {number} silence 200 to 2000: milliseconds that end a spoken question
 * @property {string} voice of the browser, by its URI; "" for the browser's choice
 * @property {"1"|"0.75"|"1.25"|"1.5"|"2"} speed of that voice
 * @property {"spoken"|"tones"|"shown"|"none"} help with aiming the camera: each has what those after it have
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
  help: ["spoken", "tones", "shown", "none"],
  length: ["", "short", "medium", "long"],
  talk: ["hands_free", "push"],
  speed: ["1", "0.75", "1.25", "1.5", "2"],
};
/** @type {Record<string, boolean>} */
const SWITCHES = { tones: true, details: false, tools: false, toolsAsked: false };
const MOST_ID_CHARS = 256;
const USUAL_SILENCE = 500;

/** @type {Set<(settings: Settings, before: Settings) => void>} */
const listeners = new Set();
let current = stored();

/** @returns {Settings} */
export function settings() {
  return current;
}

/** Change some of them, and keep all. @param {Partial<Settings>} change */
export function change(change) {
  use(tolerant({ ...current, ...change }));
  try {
    localStorage.setItem(KEY, JSON.stringify({ version: VERSION, ...current }));
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
  if (key === KEY || key === null) use(stored());
});

/** @returns {Settings} */
function stored() {
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
  for (const [name, allowed] of Object.entries(CHOICES))
    result[name] = allowed.includes(found?.[name]) ? found[name] : allowed[0];
  for (const [name, usual] of Object.entries(SWITCHES))
    result[name] = typeof found?.[name] === "boolean" ? found[name] : usual;
  const { language, camera, sensitivity, silence, voice } = found ?? {};
  result.language = typeof language === "string" && /^[a-z]{2,3}$/.test(language) ? language : "";
  result.camera = typeof camera === "string" && camera.length <= MOST_ID_CHARS ? camera : "";
  result.voice = typeof voice === "string" && voice.length <= MOST_ID_CHARS ? voice : "";
  result.silence = silence >= 200 && silence <= 2000 ? Number(silence) : USUAL_SILENCE;
  result.sensitivity = sensitivity >= 0.25 && sensitivity <= 4 ? Number(sensitivity) : 0;
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
