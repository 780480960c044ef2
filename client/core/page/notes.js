/** @typedef {[number, number]} Note hertz, and when it begins (s) */

// One for all tones of the page: browsers allow few.
/** @type {AudioContext|null} */
let audio = null;

/** Prepare at a person's tap, which browsers want for sound; one without sound stays silent. */
export function openSound() {
  try {
    audio ??= new AudioContext();
    void audio.resume().catch(() => {});
  } catch {
    // No sound here.
  }
}

/**
 * Play short notes; silent until `openSound` had its tap.
 * @param {Note[]} notes
 * @param {number} seconds of each
 * @param {number} loudness 0 to 1
 * @param {number} [pan] -1 left to 1 right
 */
export function playNotes(notes, seconds, loudness, pan = 0) {
  if (audio?.state !== "running") return;
  for (const [hertz, after] of notes) {
    const tone = audio.createOscillator();
    const level = audio.createGain();
    const begin = audio.currentTime + after;
    tone.frequency.value = hertz;
    level.gain.setValueAtTime(0.0001, begin);
    level.gain.exponentialRampToValueAtTime(loudness, begin + 0.015);
    level.gain.exponentialRampToValueAtTime(0.0001, begin + seconds);
    const side = audio.createStereoPanner();
    side.pan.value = pan;
    tone.connect(level).connect(side).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + seconds);
  }
}

/**
 * Read how loud a microphone is. Null until `openSound` had its tap.
 * @param {MediaStreamTrack} track
 * @returns {AnalyserNode|null}
 */
export function analyse(track) {
  if (!audio) return null;
  const analyser = audio.createAnalyser();
  analyser.fftSize = 512;
  audio.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  return analyser;
}
