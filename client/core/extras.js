/** Vibration, the offer to install the page, and a small window for the picture, where the device has them. */

import { button, byId, made, show } from "./page/dom.js";
import { change, settings } from "./page/settings.js";
import { text } from "./words/text.js";

/** @typedef {import("./chat/conversation.js").Turn} Turn */

// Milliseconds of a vibration
const SHAKE = 15;
// Answers after which the person is asked whether to install the page
const USEFUL = 3;

/** Add what this device has. Loaded when the camera is live. @param {import("./page.js").Page} page */
export function addExtras(page) {
  followAnswers(page, installOffer());
  addSmallWindow(page);
}

/** Vibrate, where motion is welcome. */
function shake() {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) navigator.vibrate?.(SHAKE);
}

/**
 * Vibrate with each question and with the first word of its answer; count what was useful.
 * @param {import("./page.js").Page} page @param {(below: Turn) => void} offer
 */
function followAnswers(page, offer) {
  /** @type {Turn|null} whose answer has no word yet */
  let waiting = null;
  /** @type {Turn|null} */
  let last = null;
  let useful = 0;
  page.when("asked", shake);
  page.when("running", (turn) => {
    if (turn && turn !== last) waiting = last = turn;
    if (waiting && (waiting.state === "answering" || waiting.response)) {
      if (waiting.text) shake();
      waiting = null;
    }
    if (turn || !last) return;
    if (last.response?.finish_reason === "stop" && last.text) useful += 1;
    if (useful >= USEFUL) offer(last);
    last = waiting = null;
  });
}

/** @returns {(below: Turn) => void} offers to install the page, once on this device, below an answer */
function installOffer() {
  /** The browser's, which boot.js keeps. @type {any} */
  let event = /** @type {any} */ (window).installPrompt;
  window.addEventListener("beforeinstallprompt", (newer) => {
    newer.preventDefault();
    event = newer;
  });
  return ({ key }) => {
    if (!event || settings().installAsked === true) return;
    const answer = (/** @type {boolean} */ install) => () => {
      card.remove();
      if (install) void event.prompt();
    };
    const later = button(answer(false), { textContent: text("page.not_now") });
    const install = button(answer(true), { textContent: text("app.install"), className: "primary" });
    const row = made("div", { className: "row" }, later, install);
    const card = made("div", { className: "install" }, made("p", {}, text("app.install_offer")), row);
    // Asked once: a reload, too, is an answer.
    change({ installAsked: true });
    document.getElementById(key)?.append(card);
  };
}

/** Offer the live picture in a window of its own above other apps. @param {import("./page.js").Page} page */
function addSmallWindow(page) {
  const { video } = page.stage;
  const toggle = byId("pip", HTMLButtonElement);
  if (!document.pictureInPictureEnabled) return;
  const on = () => document.pictureInPictureElement === video;
  for (const event of ["enterpictureinpicture", "leavepictureinpicture"])
    video.addEventListener(event, () => toggle.setAttribute("aria-pressed", String(on())));
  toggle.addEventListener("click", () => {
    const done = on() ? document.exitPictureInPicture() : video.requestPictureInPicture();
    done.catch(() => page.announce(text("stage.pip_failed")));
  });
  // What is looked at there goes on while the page is hidden.
  page.keepers.push(on);
  page.when("facts", ({ camera }) => show(toggle, camera === "on"));
}
