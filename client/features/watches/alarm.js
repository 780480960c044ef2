import { openSound, playNotes } from "../../core/page/notes.js";

/** @type {import("../../core/page/notes.js").Note[]} */
const TONES = [
  [880, 0],
  [1174, 0.22],
];
const TONE_SECONDS = 0.2;
const LOUDNESS = 0.3;
const SHAKE_MS = [200, 100, 200];

/** Sound, vibration and the system's notification. Everything is best effort: browsers allow what they like. */
export class Alarm {
  #asked = false;

  /** Prepare at a person's tap, which browsers want for sound and for the question about notifications. */
  prepare() {
    openSound();
    if (this.#asked || !("Notification" in window) || Notification.permission !== "default") return;
    this.#asked = true;
    // A refusal, or a browser that allows no question here, leaves the page's own alert.
    Notification.requestPermission().catch(() => {});
  }

  /**
   * @param {import("../../core/live/messages.d.ts").Alert} ring
   * @param {() => void} onOpen the person taps the notification
   */
  show(alert, onOpen) {
    playNotes(TONES, TONE_SECONDS, LOUDNESS);
    navigator.vibrate?.(SHAKE_MS);
    if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    try {
      const shown = new Notification(alert.condition, { body: alert.reason, tag: alert.id, icon: alert.image });
      shown.onclick = () => {
        window.focus();
        shown.close();
        onOpen();
      };
    } catch {
      // Chrome on Android shows notifications of service workers only.
    }
  }
}
