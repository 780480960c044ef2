import { byId, show } from "./page/dom.js";
import { remember } from "./page/resume.js";
import { followViewport, ScreenLock, watchSurroundings } from "./page/surroundings.js";
import { inSimpleMode, summary } from "./page/words.js";
import { text } from "./words/text.js";

// Between two announcements of the state (ms)
const TELLS_EVERY = 2000;

/** Join the picture and the buttons on it with the visit. @param {import("./page.js").Page} page */
export function startStage(page) {
  const { chat, stage, visit } = page;
  const stop = byId("stop", HTMLButtonElement);
  const hold = byId("hold", HTMLButtonElement);
  const empty = byId("empty", HTMLElement);
  const unpair = byId("unpair", HTMLButtonElement);
  const screenLock = new ScreenLock();

  const tell = stateTeller((words) => page.announce(words));
  // Before the first answer a long press does it, and the keyboard finds the button in the third question's place.
  const offerHold = () => {
    const seen = empty.hidden || visit.facts.held || hold.matches(":focus-visible");
    hold.classList.toggle("visually-hidden", !seen);
  };
  for (const type of ["focus", "blur"]) hold.addEventListener(type, offerHold);
  new MutationObserver(offerHold).observe(empty, { attributeFilter: ["hidden"] });
  page.when("stream", (stream) => {
    stage.play(stream);
    screenLock.want(stream !== null);
  });
  page.when("facts", (facts) => {
    page.dialogs.render(facts);
    stage.render(facts);
    tell(facts);
    stage.renderCamera(visit.camera);
    const on = ["on", "resting", "elsewhere"].includes(facts.camera);
    show(stop, on || facts.camera === "asking");
    hold.disabled = !on || facts.socket !== "open";
    hold.setAttribute("aria-pressed", String(facts.held));
    offerHold();
    show(unpair, visit.session.paired);
    remember(facts.active && !facts.screen && visit.session.paired);
    if (!facts.describing) chat.conversation.endDescription();
  });
  page.take(["still"], ({ camera, image = "", withheld }) => {
    if (camera) return; // a further one, which is a feature's
    if (!visit.facts.held) stage.showFar(withheld ? "" : image);
  });

  stage.start.addEventListener("click", async () => {
    await visit.start();
    // The button has disappeared: move a keyboard user's focus to the next control.
    requestAnimationFrame(() => document.activeElement === document.body && stage.quickWhat.focus());
  });
  const simple = byId("simple-open", HTMLButtonElement);
  simple.addEventListener("click", () => void page.dialogs.showSimple(simple));
  const { suggestions } = chat.composer;
  const usual = () => suggestions.fit({ text: false, code: false, people: 0, things: [] });
  page.take(["glance"], (seen) => suggestions.fit(seen));
  page.when("session", usual);
  // A model says nothing of what is in front.
  let inSimple = false;
  page.when("facts", (facts) => {
    if (inSimple && !inSimpleMode(facts)) usual();
    inSimple = inSimpleMode(facts);
  });
  const leave = () => {
    page.emit("stop", undefined);
    visit.stop();
  };
  stop.addEventListener("click", () => {
    leave();
    page.sheet.grow(false);
    stage.start.focus();
  });
  unpair.addEventListener("click", async () => {
    leave();
    try {
      await visit.session.unpair();
      page.announce(text("page.device_forgotten"));
    } catch {
      page.announce(text("page.not_forgotten"));
    }
    show(unpair, visit.session.paired);
  });
  const keep = () => {
    if (visit.hold(!visit.facts.held) && visit.facts.held) stage.takeStill();
  };
  hold.addEventListener("click", keep);
  onLongPress(byId("stage", HTMLElement), () => !hold.disabled && keep());
  hold.addEventListener("pointerdown", () => visit.wake());
  stage.noticeAction.addEventListener("click", () => {
    if (!page.dialogs.review(stage.noticeAction)) visit.retry();
  });
  for (const button of stage.quick.querySelectorAll("button[data-question]")) {
    button.addEventListener("pointerdown", () => visit.wake());
    button.addEventListener("click", () => {
      const { question = "", detail } = button.dataset;
      chat.ask(text(question), detail === "high" ? "high" : "auto");
    });
  }
  connectCamera(stage, visit.camera, {
    exchange: () => void visit.exchangeCamera(),
    announce: (words) => page.announce(words),
  });
  watchSurroundings({
    onOnline: () => visit.retry(),
    onOffline: () => visit.offline(),
    onNetwork: () => visit.woke(Infinity),
    onWoke: (ms) => visit.woke(ms),
    onDevices: () => void visit.devicesChanged(),
    onHidden: () => visit.hidden(),
    onShown: () => visit.shown(),
    onLeave: () => visit.leave(),
  });
  followViewport(() => stage.fit());
}

/**
 * Have a screen reader say the states that last, the newest at most every two seconds. The page's own messages tell of
 * others.
 * @param {(words: string) => void} say @returns {(facts: import("./live/facts.js").Facts) => void}
 */
function stateTeller(say) {
  let said = text("page.camera_off");
  let next = said;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let at = -Infinity;
  const now = () => {
    timer = undefined;
    if (next === said) return;
    said = next;
    at = performance.now();
    say(said);
  };
  return (facts) => {
    const { tone, label } = summary(facts);
    if (tone !== "ok" && tone !== "off" && !facts.held) return;
    next = label;
    timer ??= setTimeout(now, Math.max(0, at + TELLS_EVERY - performance.now()));
  };
}

// A finger that stays so long (ms), and moves no farther (px), presses long.
const LONG_PRESS = 500;
const STILL = 12;

/** @param {HTMLElement} stage the picture, on which buttons stand @param {() => void} does */
function onLongPress(stage, does) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let [x, y] = [0, 0];
  let pressed = false;
  stage.addEventListener("pointerdown", (event) => {
    clearTimeout(timer);
    pressed = false;
    if (event.button !== 0 || /** @type {Element} */ (event.target).closest("button, #card")) return;
    [x, y] = [event.clientX, event.clientY];
    timer = setTimeout(() => {
      pressed = true;
      does();
    }, LONG_PRESS);
  });
  stage.addEventListener("pointermove", (event) => {
    if (Math.hypot(event.clientX - x, event.clientY - y) > STILL) clearTimeout(timer);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
    stage.addEventListener(end, () => clearTimeout(timer));
  }
  // Its end is no tap, and it opens no menu of the browser.
  const swallow = (/** @type {Event} */ event) => {
    if (!pressed) return;
    if (event.type === "click") pressed = false;
    event.preventDefault();
    event.stopPropagation();
  };
  stage.addEventListener("click", swallow, true);
  stage.addEventListener("contextmenu", swallow, true);
}

/**
 * Connect what is pressed on the picture with the camera: exchange, torch, zoom, focus.
 * @param {import("./stage/stageview.js").StageView} stage
 * @param {import("./live/camera.js").Camera} camera
 * @param {{exchange: () => void, announce: (text: string) => void}} hooks
 */
function connectCamera(stage, camera, { exchange, announce }) {
  stage.switchCamera.addEventListener("click", exchange);
  stage.torch.addEventListener("click", () => {
    camera.setTorch(!camera.torch).catch(() => announce(text("stage.torch_failed")));
  });
  stage.zoom.addEventListener("input", () => {
    stage.showZoom();
    // The camera may refuse a value; then the picture stays as it is.
    camera.setZoom(Number(stage.zoom.value)).catch(() => {});
  });
  stage.video.addEventListener("click", (event) => {
    const at = camera.canFocus ? stage.pointIn(event) : null;
    if (!at) return;
    stage.ringAt(event);
    camera.focusAt(at.x, at.y).catch(() => {}); // a camera that says it can and then cannot
  });
}
