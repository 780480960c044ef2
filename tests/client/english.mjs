// The English words that the page does not begin with.
import { readFileSync } from "node:fs";
import { learn } from "../../client/core/words/text.js";

learn(JSON.parse(readFileSync(new URL("../../client/languages/en.json", import.meta.url), "utf8")));
