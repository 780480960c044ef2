/** Marks the part of an answer that is heard now. Browsers without the highlight API go without. */
export class SpokenMark {
  #key = "";
  #start = 0;
  #end = 0;

  /** Finds a part of a text that is shown without its marks. @type {((text: Element, start: number, end: number) => Range|null)|null} */
  range = null;

  /** @param {string} key of the turn @param {number} start @param {number} end 0: no mark */
  mark(key, start, end) {
    [this.#key, this.#start, this.#end] = [key, start, end];
    this.draw();
  }

  /** Mark it again, because the text was drawn anew. */
  draw() {
    if (!("highlights" in CSS)) return;
    const shown = this.#end > 0 ? document.getElementById(this.#key)?.querySelector(".text") : null;
    const range = shown ? (this.range?.(shown, this.#start, this.#end) ?? plainRange(shown, this.#start, this.#end)) : null;
    if (!range) return void CSS.highlights.delete("spoken");
    CSS.highlights.set("spoken", new Highlight(range));
  }
}

/** @param {Element} shown @param {number} start @param {number} end @returns {Range|null} */
function plainRange(shown, start, end) {
  const text = shown.firstChild;
  if (!(text instanceof Text)) return null;
  const range = new Range();
  range.setStart(text, Math.min(start, text.length));
  range.setEnd(text, Math.min(end, text.length));
  return range;
}
