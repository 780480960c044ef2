/** Detects the language of a short text, to choose the voice that reads it. Uses no DOM. */

/** Scripts of one or a few languages. @type {[RegExp, string][]} the first match counts */
const SCRIPTS = [
  [/[\p{sc=Hiragana}\p{sc=Katakana}]/gu, "ja"],
  [/\p{sc=Hangul}/gu, "ko"],
  [/\p{sc=Han}/gu, "zh"],
  [/\p{sc=Cyrillic}/gu, "ru"],
  [/\p{sc=Arabic}/gu, "ar"],
  [/\p{sc=Hebrew}/gu, "he"],
  [/\p{sc=Greek}/gu, "el"],
  [/\p{sc=Thai}/gu, "th"],
  [/\p{sc=Devanagari}/gu, "hi"],
];

/** Letters that distinguish languages with the same script. @type {Record<string, [RegExp, string]>} */
const LETTERS = { ru: [/[іїєґ]/iu, "uk"], ar: [/[پچژگ]/u, "fa"] };

/** Common short words of languages in Latin letters. @type {Record<string, Set<string>>} */
const WORDS = Object.fromEntries(
  Object.entries({
    en: "the a an is are and of this that with it to on you see what how which there not in from at",
    de: "der die das und ist sind ein eine nicht mit auf ich sehe was wie es im den dem zu von hier steht kostet wo",
    fr: "le la les est et une un des dans ce cette qui avec je sur pas il vois que quoi combien du au",
    es: "el los las es y una un que en con por del esta este se hay veo cuánto qué dónde para",
    it: "il lo gli è e una che con per del sono si nel questo questa vedo quanto cosa di non",
    pt: "o os as é uma um que com não do da em para isto este esta vejo quanto qual há",
    nl: "de het een en van op met dat niet ik zie wat zijn hoe er te dit deze staat hoeveel",
    pl: "i w na jest to nie z się że co do ile widzę jak przy",
    sv: "och är en ett på med det som inte jag ser vad hur den av",
    tr: "bir ve bu ne var için ile değil çok nedir kaç",
  }).map(([language, words]) => [language, new Set(words.split(" "))]),
);

// Least share of the letters for a script to decide.
const SHARE = 0.3;

/** @param {string} text @returns {string} BCP 47, such as "de"; "" when unknown */
export function languageOf(text) {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  if (letters === 0) return "";
  for (const [script, language] of SCRIPTS) {
    if ((text.match(script)?.length ?? 0) < SHARE * letters) continue;
    const special = LETTERS[language];
    return special?.[0].test(text) ? special[1] : language;
  }
  const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const found = Object.entries(WORDS)
    .map(([language, known]) => ({ language, count: words.filter((word) => known.has(word)).length }))
    .sort((one, other) => other.count - one.count);
  return found[0].count > found[1].count ? found[0].language : "";
}
