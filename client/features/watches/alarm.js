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
  /** @type {Map<string, () => void>} what a tap on a notification does, by the alert's id */
  #opened = new Map();

  constructor() {
    navigator.serviceWorker?.addEventListener("message", ({ data }) => this.#opened.get(data?.alert)?.());
  }

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
  async show(alert, onOpen) {
    playNotes(TONES, TONE_SECONDS, LOUDNESS);
    navigator.vibrate?.(SHAKE_MS);
    if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    const options = { body: alert.reason, tag: alert.id, icon: alert.image };
    // Chrome on Android shows notifications of service workers only.
    const registration = await navigator.serviceWorker?.getRegistration();
    if (registration?.active) {
      this.#opened.set(alert.id, onOpen);
      await registration.showNotification(alert.condition, options).catch(() => {});
      return;
    }
    try {
      const shown = new Notification(alert.condition, options);
      shown.onclick = () => {
        window.focus();
        shown.close();
        onOpen();
      };
    } catch {
      // No worker keeps this page, and the browser shows no other notifications.
    }
  }
}
