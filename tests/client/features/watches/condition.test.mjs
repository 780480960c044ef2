/** "Tell me when", typed: its condition in each of the page's languages, and questions that begin or end alike. */
import assert from "node:assert/strict";
import test from "node:test";

import { conditionIn } from "../../../../client/features/watches/condition.js";

const ORDERS = [
  ["Tell me when the kettle boils.", "the kettle boils"],
  ["Tell me if it rains", "it rains"],
  ["Sag mir Bescheid, wenn das Wasser kocht.", "das Wasser kocht"],
  ["Préviens-moi quand l'eau bout.", "l'eau bout"],
  ["Avísame cuando hierva el agua", "hierva el agua"],
  ["Avvisami quando bolle", "bolle"],
  ["Avise-me quando ferver", "ferver"],
  ["Waarschuw me als het kookt", "het kookt"],
  ["Powiedz mi, kiedy się zagotuje", "się zagotuje"],
  ["Скажи мне, когда закипит", "закипит"],
  ["Скажи мені, коли закипить", "закипить"],
  ["أخبرني عندما يغلي الماء", "يغلي الماء"],
  ["Su kaynayınca bana haber ver!", "Su kaynayınca"],
  ["जब पानी उबले तो मुझे बताना", "पानी उबले"],
  ["告诉我当水开了。", "水开了"],
  ["水开的时候告诉我", "水开"],
  ["如果有人来，请告诉我。", "有人来"],
  ["お湯が沸いたら教えてください。", "お湯が沸いたら"],
  ["물이 끓으면 알려 줘", "물이 끓으면"],
];
const NOW = ["Tell me if this is safe to eat", "Tell me if this old milk is still good", "Dis-moi si c'est rouge", "Dime si esto es rojo", "Dimmi se questo è rosso", "Diga-me se isto é vermelho", "أخبرني إذا كان هذا أحمر"];
const QUESTIONS = [...NOW, "Tell me what this is", "Was siehst du?", "告诉我这是什么", "现在几点了，告诉我", "这是什么颜色？告诉我", "これは何か教えて", "이게 뭔지 알려 줘", "Bu ne, söyle", "अगर यह लाल है", "Tell me when", ""];

test("each language has its words", () => {
  for (const [typed, condition] of ORDERS) assert.equal(conditionIn(` ${typed} `), condition, typed);
});

test("a question is none", () => {
  for (const typed of QUESTIONS) assert.equal(conditionIn(typed), "", typed);
});

test("a long text takes no long time", () => {
  for (const piece of ["告诉我", "当", "Su ", "ら", "जब "]) assert.equal(conditionIn(piece.repeat(4000)).length >= 0, true);
});
