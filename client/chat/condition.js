// "Tell me when", in the languages that most people type here
const ASKS = [
  /^(?:please[, ]+)?(?:tell|let|alert|notify|warn|ring|ping)(?: (?:me|us))(?: know)?(?: here)?,? (?:when(?:ever)?|if|once|as soon as)\s+(?=\S)/i,
  /^(?:bitte )?(?:sag|sage|gib|melde|warn|warne)(?: (?:mir|dich|mich))(?: bitte)?(?: bescheid)?,? (?:wenn|falls|sobald)\s+(?=\S)/i,
  /^(?:dis-moi|préviens-moi|avertis-moi|prévenez-moi|dites-moi),? (?:quand|si|dès que|lorsque)\s+(?=\S)/i,
  /^(?:avísame|dime|avisa|avíseme),? (?:cuando|si|en cuanto)\s+(?=\S)/i,
  /^(?:dimmi|avvisami|avvertimi),? (?:quando|se|appena)\s+(?=\S)/i,
  /^(?:me avise|avise-me|avisa-me|diga-me|me diga),? (?:quando|se|assim que)\s+(?=\S)/i,
  /^(?:скажи|сообщи|предупреди)(?: мне)?,? (?:когда|если)\s+(?=\S)/i,
  /^(?:当|如果)?(?:请)?(?:告诉|通知|提醒)我,?，?(?:当|如果)?\s*(?=\S)/,
];

/** The condition in "Tell me when ..."; "" for another text. @param {string} text */
export function conditionIn(text) {
  const trimmed = text.trim();
  const found = ASKS.map((asks) => asks.exec(trimmed)).find((match) => match);
  return found ? trimmed.slice(found[0].length).replace(/[.!]+$/, "") : "";
}
