// Short notes: hertz, and when each begins (s). Two that rise, and a low one
const GOOD = [
  [659, 0],
  [988, 0.09],
];
const NOT_YET = [[330, 0]];
const SECONDS = 0.12;
const LOUDNESS = 0.12;

/** @type {AudioContext|null} */
let audio = null;

/** Prepare at a person's tap; a browser without sound stays silent. */
export function openSound() {
  try {
    audio ??= new AudioContext();
    void audio.resume().catch(() => {});
  } catch {
    // No sound here.
  }
}

/** A short, quiet tone: the picture is good. */
export function goodTone() {
  play(GOOD);
}

/** A low one: something is to be done before the picture is good. */
export function notYetTone() {
  play(NOT_YET);
}

/** @param {number[][]} notes */
function play(notes) {
  if (audio?.state !== "running") return;
  for (const [hertz, after] of notes) {
    const tone = audio.createOscillator();
    const level = audio.createGain();
    const begin = audio.currentTime + after;
    tone.frequency.value = hertz;
    level.gain.setValueAtTime(0.0001, begin);
    level.gain.exponentialRampToValueAtTime(LOUDNESS, begin + 0.015);
    level.gain.exponentialRampToValueAtTime(0.0001, begin + SECONDS);
    tone.connect(level).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + SECONDS);
  }
}
