// Two short tones: hertz, and when each begins (s)
const TONES = [
  [880, 0],
  [1174, 0.22],
];
const TONE_SECONDS = 0.2;
const SHAKE_MS = [200, 100, 200];

/** Sound, vibration and the system's notification. Everything is best effort: browsers allow what they like. */
export class Alarm {
  /** @type {AudioContext|null} */
  #audio = null;
  #asked = false;

  /** Prepare at a person's tap, which browsers want for sound and for the question about notifications. */
  prepare() {
    try {
      this.#audio ??= new AudioContext();
      void this.#audio.resume();
    } catch {
      // No sound here.
    }
    if (this.#asked || !("Notification" in window) || Notification.permission !== "default") return;
    this.#asked = true;
    // A refusal, or a browser that allows no question here, leaves the page's own ring.
    Notification.requestPermission().catch(() => {});
  }

  /** @param {import("../live/watchmessages.js").Ring} ring @param {() => void} onOpen the person taps the notification */
  ring(ring, onOpen) {
    this.#sound();
    navigator.vibrate?.(SHAKE_MS);
    if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    try {
      const shown = new Notification(ring.condition, { body: ring.reason, tag: ring.id, icon: ring.image });
      shown.onclick = () => {
        window.focus();
        shown.close();
        onOpen();
      };
    } catch {
      // Chrome on Android shows notifications of service workers only.
    }
  }

  #sound() {
    const audio = this.#audio;
    if (audio?.state !== "running") return;
    for (const [hertz, after] of TONES) {
      const tone = audio.createOscillator();
      const level = audio.createGain();
      const begin = audio.currentTime + after;
      tone.frequency.value = hertz;
      level.gain.setValueAtTime(0.0001, begin);
      level.gain.exponentialRampToValueAtTime(0.3, begin + 0.02);
      level.gain.exponentialRampToValueAtTime(0.0001, begin + TONE_SECONDS);
      tone.connect(level).connect(audio.destination);
      tone.start(begin);
      tone.stop(begin + TONE_SECONDS);
    }
  }
}
