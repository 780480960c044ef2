import { Fold, byId, say, show } from "../page/dom.js";
import { shownPicture, toPicture } from "../page/picture.js";
import { card, farAway, inSimpleMode, live, notice, simpleWords, summary } from "../page/words.js";
import { ended, isolated, number, text } from "../words/text.js";

/** @typedef {import("../live/facts.js").Facts} Facts */

// For this time (ms) after being live, a new connection being set up is not shown.
const BLINK = 1500;
// A picture that would lose more than this share by cropping is shown whole, or has a button for that.
const MAX_CROP = 0.3;
// Part of its height by which the picture moves up
const MOST_UP = 0.17;

/** The picture, the controls on it, and the state in words. Uses no connection. */
export class StageView {
  app = byId("app", HTMLElement);
  video = byId("video", HTMLVideoElement);
  /** The stills of another device's camera */
  far = byId("far", HTMLImageElement);
  state = byId("state", HTMLButtonElement);
  start = byId("start", HTMLButtonElement);
  zoom = byId("zoom", HTMLInputElement);
  torch = byId("torch", HTMLButtonElement);
  switchCamera = byId("switch-camera", HTMLButtonElement);
  quick = byId("quick", HTMLElement);
  quickWhat = byId("quick-what", HTMLButtonElement);
  /** Opens the dialog that chooses the camera */
  other = byId("other", HTMLButtonElement);
  noticeAction = byId("notice-action", HTMLButtonElement);

  #cardCheck = byId("card-check", HTMLButtonElement);
  #noticeCheck = byId("notice-check", HTMLButtonElement);
  #stage = byId("stage", HTMLElement);
  #picture = byId("picture", HTMLElement);
  #view = byId("view", HTMLElement);
  #panel = byId("panel", HTMLElement);
  #still = byId("still", HTMLCanvasElement);
  #finder = byId("finder", HTMLElement);
  #ring = byId("focus-ring", HTMLElement);
  #simple = [byId("simple-label", HTMLElement), byId("simple", HTMLElement)];
  #facts = new Fold(this.state, byId("facts", HTMLElement));
  #more = new Fold(byId("more-open", HTMLButtonElement), byId("more", HTMLElement));
  #read = byId("quick-read", HTMLButtonElement);
  #card = byId("card", HTMLElement);
  #notice = byId("notice", HTMLElement);
  #stateLabel = byId("state-label", HTMLElement);
  #wholeButton = byId("whole", HTMLButtonElement);
  // The user wants to see all of a picture that an upright page crops.
  #wantsWhole = false;
  #zoomBox = byId("zoom-box", HTMLElement);
  #noticeTitle = byId("notice-title", HTMLElement);
  #noticeText = byId("notice-text", HTMLElement);
  #cardTitle = byId("card-title", HTMLElement);
  #cardText = byId("card-text", HTMLElement);
  /** Called when the details of the state are opened. */
  onDetails = () => {};

  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #ringTimer;
  // performance.now() at which it was last live
  #liveAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #blink;

  constructor() {
    this.#facts.onOpen = () => this.onDetails();
    const more = byId("more-open", HTMLButtonElement);
    this.#more.onOpen = () => {
      // By a key: the field stands between the button and what it opens.
      if (more.matches(":focus-visible"))
        byId("more", HTMLElement)
          .querySelector(/** @type {"button"} */ ("button:not([hidden], :disabled)"))
          ?.focus();
    };
    new Fold(byId("menu-open", HTMLButtonElement), byId("menu", HTMLElement));
    // The size changes when the device is turned, or with the page.
    this.video.addEventListener("resize", () => this.fit());
    this.#wholeButton.addEventListener("click", () => {
      this.#wantsWhole = !this.#wantsWhole;
      this.fit();
    });
    this.far.addEventListener("load", () => this.fit());
    const sizes = new ResizeObserver(() => this.fit());
    for (const element of [this.#stage, this.#panel]) sizes.observe(element);
  }

  /** @param {MediaStream|null} stream */
  play(stream) {
    this.video.srcObject = stream;
    show(this.video, stream !== null);
    // The browser may not play before a touch; the camera sends all the same.
    if (stream) this.video.play().catch(() => {});
    if (!stream) this.dropStill();
  }

  /** True while the details of the state are open. */
  get detailed() {
    return this.#facts.open;
  }

  /** Move the picture up below the sheet, and place the rest in what is left of it. */
  fit() {
    const { clientWidth, clientHeight } = this.#stage;
    const [app, stage, panel] = [this.app, this.#stage, this.#panel].map((one) => one.getBoundingClientRect());
    const beside = panel.left >= stage.right || panel.right <= stage.left;
    const covered = Math.max(0, stage.bottom - (beside ? app.bottom : panel.top));
    // Nothing of the page lies behind the picture: it stays where it can be seen through the sheet.
    const clear = beside || getComputedStyle(this.#panel).backgroundColor === "rgba(0, 0, 0, 0)";
    const up = clear ? 0 : Math.min(covered / 2, clientHeight * MOST_UP);
    this.#picture.style.translate = `0 ${-up}px`;
    this.#view.style.bottom = `${covered}px`;
    const far = !this.far.hidden;
    const width = far ? this.far.naturalWidth : this.video.videoWidth;
    const height = far ? this.far.naturalHeight : this.video.videoHeight;
    if (!width || !clientHeight) return;
    const picture = width / height;
    const place = clientWidth / clientHeight;
    const crops = 1 - Math.min(picture / place, place / picture) > MAX_CROP;
    // On an upright page a wide picture would be a strip between two bars.
    const strip = crops && picture > place && this.app.clientHeight > this.app.clientWidth;
    const whole = crops && (!strip || this.#wantsWhole);
    this.#stage.classList.toggle("whole", whole);
    // It would change the room for the picture, and so whether it is to be there.
    if (!this.#more.open) show(this.#wholeButton, strip);
    this.#wholeButton.setAttribute("aria-pressed", String(whole));
    // The finder is placed within the picture.
    const spare = whole ? 1 : 0;
    const bar = (spare * (clientHeight - clientWidth / picture)) / 2;
    const side = (spare * (clientWidth - clientHeight * picture)) / 2;
    const free = { beside: side, above: bar - up, below: bar + up - covered };
    for (const [name, px] of Object.entries(free)) this.#finder.style.setProperty(`--${name}`, `${Math.max(0, px)}px`);
  }

  /** Freeze the shown picture. */
  takeStill() {
    const { videoWidth, videoHeight } = this.video;
    const context = this.#still.getContext("2d");
    if (!videoWidth || !context) return;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    context.drawImage(this.video, 0, 0);
    show(this.#still, true);
  }

  /** Show a picture of another device's camera. @param {string} image a data URL; "" for none */
  showFar(image) {
    show(this.far, image !== "");
    if (image) this.far.src = image;
    else this.far.removeAttribute("src");
  }

  dropStill() {
    if (this.#still.hidden) return;
    show(this.#still, false);
    this.#still.width = this.#still.height = 0; // frees its memory
  }

  /**
   * Convert a press to its position in the picture.
   * @param {MouseEvent} event
   * @returns {{x: number, y: number}|null} 0 to 1 each; null beside the picture
   */
  pointIn(event) {
    const box = this.video.getBoundingClientRect();
    const { videoWidth, videoHeight } = this.video;
    const whole = this.#stage.classList.contains("whole");
    const shown = shownPicture(box, { width: videoWidth, height: videoHeight }, { whole });
    return shown && toPicture({ x: event.clientX - box.left, y: event.clientY - box.top }, shown);
  }

  /** @param {MouseEvent} event */
  ringAt(event) {
    const box = this.#picture.getBoundingClientRect();
    this.#ring.style.left = `${event.clientX - box.left}px`;
    this.#ring.style.top = `${event.clientY - box.top}px`;
    show(this.#ring, true);
    clearTimeout(this.#ringTimer);
    this.#ringTimer = setTimeout(() => show(this.#ring, false), 900);
  }

  /** @param {Facts} facts */
  render(facts) {
    const { tone, label } = this.#steady(facts);
    this.app.dataset.tone = tone;
    // Another device's picture has the same controls.
    this.app.dataset.camera = farAway(facts) ? "on" : facts.camera;
    if (!farAway(facts)) this.showFar("");
    this.app.dataset.held = String(facts.held);
    this.video.ariaLabel = text(facts.screen ? "page.live_screen" : "page.live_picture");
    say(this.#stateLabel, label);
    const simple = inSimpleMode(facts) && this.app.dataset.camera === "on";
    for (const element of this.#simple) show(element, simple);
    if (facts.screen) show(this.#simple[0], false);
    say(byId("simple-words", HTMLElement), simpleWords(facts));
    this.#renderCard(facts);
    this.#renderNotice(facts);
    if (!facts.held) this.dropStill();
    this.#latest = facts;
  }

  /** Suppress the state of a new connection that is set up in a moment. @param {Facts} facts */
  #steady(facts) {
    const now = performance.now();
    const found = summary(facts);
    clearTimeout(this.#blink);
    if (!facts.active) this.#liveAt = -Infinity;
    if (found.tone === "ok") this.#liveAt = now;
    const left = this.#liveAt + BLINK - now;
    if (found.label !== text("page.connecting") || left <= 0) return found;
    this.#blink = setTimeout(() => this.#latest && this.render(this.#latest), left);
    return live(facts);
  }

  /** @type {Facts|null} */
  #latest = null;

  /** Show the slider's value. */
  showZoom() {
    say(byId("zoom-value", HTMLElement), isolated(`${number(Number(this.zoom.value), 1)}×`));
    this.zoom.setAttribute("aria-valuetext", byId("zoom-value", HTMLElement).textContent ?? "");
  }

  /** @param {import("../live/camera.js").Camera} camera */
  renderCamera(camera) {
    const on = camera.stream !== null;
    const zoom = on ? camera.zoom : null;
    show(this.#zoomBox, zoom !== null);
    if (zoom) {
      this.zoom.min = String(zoom.min);
      this.zoom.max = String(zoom.max);
      this.zoom.step = String(zoom.step);
      if (document.activeElement !== this.zoom) this.zoom.value = String(zoom.value);
      this.showZoom();
    }
    show(this.torch, on && camera.hasTorch);
    this.torch.setAttribute("aria-pressed", String(camera.torch));
    show(this.switchCamera, on && !camera.screen && camera.count > 1);
  }

  /** @param {boolean} on the button reads a text on over several pictures, for somebody who sees little */
  renderRead(on) {
    say(this.#read, text(on ? "stage.read_to_me" : "stage.read_this"));
    this.#read.dataset.question = on ? "stage.read_this_to_me" : "stage.read_this";
  }

  /** @param {boolean} busy an answer is being made */
  renderBusy(busy) {
    this.#stage.classList.toggle("looking", busy);
  }

  /** @param {Facts} facts */
  #renderCard(facts) {
    const shown = card(facts);
    show(this.#card, shown !== null);
    if (!shown) return;
    this.#card.dataset.tone = shown.tone;
    say(this.#cardTitle, shown.title);
    say(this.#cardText, shown.text);
    show(this.start, !shown.busy);
    show(this.other, !shown.busy || facts.camera === "elsewhere");
    show(this.#cardCheck, shown.tone === "bad" || shown.tone === "warn");
  }

  /** @param {Facts} facts */
  #renderNotice(facts) {
    const shown = notice(facts);
    show(this.#notice, shown !== null);
    if (!shown) {
      // Clear the texts, so that a screen reader announces the same ones again.
      say(this.#noticeTitle, "");
      say(this.#noticeText, "");
      return;
    }
    this.#notice.dataset.tone = shown.tone;
    this.#notice.classList.toggle("hint", shown.hint === true);
    say(this.#noticeTitle, ended(shown.title));
    say(this.#noticeText, shown.text);
    show(this.noticeAction, shown.action !== undefined);
    if (shown.action) say(this.noticeAction, shown.action.label);
    show(this.#noticeCheck, shown.tone === "bad" || shown.action !== undefined);
  }
}
