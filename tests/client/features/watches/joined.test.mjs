/** Facts side by side: each keeps its number beside its unit where words run from right to left. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, use } from "../../../../client/core/words/text.js";

test("facts are joined by the language's comma, and isolated from right to left", () => {
  assert.equal(joined(["1 picture", "5 MB"]), "1 picture, 5 MB");
  use("ar", {});
  assert.equal(joined(["صورة واحدة", "5 MB"]), "\u200f\u2068صورة واحدة\u2069، \u20685 MB\u2069");
  assert.equal(joined(["5 MB"]), "\u200f\u20685 MB\u2069");
  use("ja", {});
  assert.equal(joined(["1枚", "5 MB"]), "1枚、5 MB");
  use("en", {});
});
