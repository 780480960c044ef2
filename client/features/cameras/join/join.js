/** The page of a device that is a further camera of another page: its link has the one-time code. */

import { ApiError } from "../../../core/live/api.js";
import { Camera, CameraProblem } from "../../../core/live/camera.js";
import { byId, say, show } from "../../../core/page/dom.js";
import { Language, laterWords } from "../../../core/page/language.js";
import { settings } from "../../../core/page/settings.js";
import { ended, onLanguage, text } from "../../../core/words/text.js";
import { Sending } from "./sending.js";

/** @typedef {import("./sending.js").Place} Place */

const state = byId("join-state", HTMLElement);
const video = byId("join-video", HTMLVideoElement);
const start = byId("join-start", HTMLButtonElement);
const stop = byId("join-stop", HTMLButtonElement);

await laterWords();

// The code is taken out of the address, where somebody could read it; it is good once.
const code = decodeURIComponent(location.hash.slice(1));
if (code) history.replaceState(null, "", location.pathname);

/** @type {Place|null} */
let place = code ? null : Sending.kept();
/** @type {() => string} in the page's language of the moment */
let words = () => "";

document.documentElement.dataset.theme = settings().theme;
new Language({ onChosen: () => {}, onMissing: () => {} });
onLanguage(() => tell(words));

const sending = new Sending((now) => {
  const name = place?.name ?? "";
  if (now === "over") return end(() => text("join.ended"));
  tell(() => {
    if (now === "live") return text("join.sending_as", { name });
    return now === "waiting" ? text("join.lost") : text("page.connecting");
  });
});
const camera = new Camera({ onChange: () => {}, onLost: () => end(() => ended(text("page.camera_unplugged"))) });

/** @param {() => string} what */
function tell(what) {
  words = what;
  say(state, words());
}

/** @param {boolean} on */
function render(on) {
  show(start, !on);
  show(stop, on);
  show(video, on);
}

/** @param {() => string} why */
function end(why) {
  if (place) sending.stop(place);
  camera.close();
  video.srcObject = null;
  render(false);
  tell(why);
}

// Until now a press had no effect.
start.disabled = false;
start.addEventListener("click", async () => {
  start.disabled = true;
  try {
    if (!(await camera.open())) return;
    place ??= await Sending.join(code);
    const { stream, track } = camera;
    if (!track) return;
    video.srcObject = stream;
    void video.play().catch(() => {});
    render(true);
    sending.start(place, track);
    // The screen stays on where the browser can keep it.
    void navigator.wakeLock?.request("screen").catch(() => {});
  } catch (error) {
    const why = () => {
      if (error instanceof CameraProblem) return text("join.no_camera");
      if (error instanceof ApiError && error.status === 0) return error.message;
      return text("join.link_over");
    };
    end(why);
  } finally {
    start.disabled = false;
  }
});
stop.addEventListener("click", () => end(() => text("page.stopped")));
window.addEventListener("pagehide", () => place && sending.stop(place));
if (!code && !place) {
  start.hidden = true;
  tell(() => text("join.link_over"));
}
