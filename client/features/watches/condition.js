// "Tell me when", in the page's languages: as server/models/command_words.toml has it for speech
const BEGINS = [
  /^(?:please[, ]+)?(?:tell|let|alert|notify|warn|ring|ping)(?: (?:me|us))(?: know)?(?: here)?,? (?:when(?:ever)?|if|once|as soon as)\s+(?=\S)/i,
  /^(?:bitte )?(?:sag|sage|gib|melde|warn|warne)(?: (?:mir|dich|mich))(?: bitte)?(?: bescheid)?,? (?:wenn|falls|sobald)\s+(?=\S)/i,
  /^(?:dis-moi|préviens-moi|avertis-moi|prévenez-moi|dites-moi),? (?:quand|si|dès que|lorsque)\s+(?=\S)/i,
  /^(?:avísame|dime|avisa|avíseme),? (?:cuando|si|en cuanto)\s+(?=\S)/i,
  /^(?:dimmi|avvisami|avvertimi),? (?:quando|se|appena)\s+(?=\S)/i,
  /^(?:me avise|avise-me|avisa-me|diga-me|me diga),? (?:quando|se|assim que)\s+(?=\S)/i,
  /^(?:zeg|waarschuw|meld)(?: het)?(?: me| mij)?,? (?:wanneer|als|zodra)\s+(?=\S)/i,
  /^(?:powiedz|daj znać|ostrzeż)(?: mi| mnie)?,? (?:kiedy|gdy|jeśli|jak)\s+(?=\S)/i,
  /^(?:скажи|сообщи|предупреди)(?: мне)?,? (?:когда|если)\s+(?=\S)/i,
  /^(?:скажи|повідом|попередь)(?: мені| мене)?,? (?:коли|якщо|щойно)\s+(?=\S)/i,
  /^(?:أخبرني|اخبرني|نبهني|نبّهني|أعلمني) (?:عندما|إذا|حين|متى)\s+(?=\S)/,
  // Without a word for "when" it is a question: "tell me what this is".
  /^(?:请)?(?:告诉|告訴|通知|提醒)我[,，]?(?:当|當|如果|一旦|要是)\s*(?=\S)/,
];

// "Tell me if this is ..." asks about now.
const ASKS = [
  /^(?:please[, ]+)?tell (?:me|us) if (?:(?:this|that|these|those)(?: \S+){0,2}|it|they)(?:'s|’s| is| are| looks?| seems?)(?=\W)/i,
  /^(?:dis|dites)-moi si (?:c['’]est|(?:ceci|cela|ça|(?:ce|cet|cette|ces) \S+) (?:est|sont))(?=\s)/i,
  /^dime si (?:(?:est[eoa]s?|es[eoa]s?)(?: \S+){0,2} )?(?:es|está|son|están)(?=\s)/i,
  /^dimmi se (?:quest[oaie](?: \S+){0,2} )?(?:è|sono)(?=\s)/i,
  /^(?:me diga|diga-me) se (?:(?:ist[oa]|iss[oa]|est[ea]s?|ess[ea]s?)(?: \S+){0,2} )?(?:é|está|são|estão)(?=\s)/i,
  /^(?:أخبرني|اخبرني) إذا (?:كان |كانت )?(?:هذا|هذه)(?=\s)/i,
];

// "Tell me when" where the condition comes first
const ENDS = [
  /^(\S.{0,300}?(?:[ıiuü]nca|[ıiuü]nce|d[ıiuü]ğ[ıiuü]nda|d[ıiuü]ğ[ıiuü]nde|t[ıiuü]ğ[ıiuü]nda|t[ıiuü]ğ[ıiuü]nde|rs[ae]|olursa))[ ,]+(?:bana )?(?:haber ver|söyle|uyar|bildir)(?:ir misin)?[ .!]*$/i,
  /^(?:जब|अगर|यदि) (\S.{0,300}?),? (?:तब|तो) (?:मुझे )?(?:बताना|बताओ|बताइए|बता देना|सूचित करो)[ .!।]*$/,
  /^(\S.{0,300}?(?:たら|だら|とき|時))(?:に|は)?[、, ]*(?:教えて|知らせて|言って)(?:ください|下さい|ね)?[ .!。！]*$/,
  /^(\S.{0,300}?(?:면|때))[ ,]*(?:나에게 |나한테 |저에게 )?(?:알려|말해) ?(?:줘|줘요|주세요|줄래)[ .!]*$/,
  /^(?:当|當|如果|一旦|要是|等)(\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就|[,，])*(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?[ .!。！]*$/,
  /^(\S.{0,300}?)(?:的时候|的時候|时|時|后|後|就)[,，]?(?:请|請)?(?:告诉|告訴|通知|提醒)我(?:一声|一聲)?[ .!。！]*$/,
];

/** The condition in "Tell me when ..."; "" for another text. @param {string} text */
export function conditionIn(text) {
  const trimmed = text.trim();
  if (ASKS.some((ask) => ask.test(trimmed))) return "";
  for (const begin of BEGINS) {
    const found = begin.exec(trimmed);
    if (found) return trimmed.slice(found[0].length).replace(/[ .!。！]+$/, "");
  }
  for (const end of ENDS) {
    const found = end.exec(trimmed);
    if (found) return found[1];
  }
  return "";
}
