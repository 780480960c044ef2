/** Marks the part of an answer that is heard now. Browsers without the highlight API go without. */
export class SpokenMark {
  #key = "";
  #start = 0;
  #end = 0;

  /** @param {string} key of the turn @param {number} start @param {number} end 0: no mark */
  mark(key, start, end) {
    [this.#key, this.#start, this.#end] = [key, start, end];
    this.draw();
  }

  /** Mark it again, because the text was drawn anew. */
  draw() {
    if (!("highlights" in CSS)) return;
    const text = this.#end > 0 ? document.getElementById(this.#key)?.querySelector(".text")?.firstChild : null;
    if (!text) return void CSS.highlights.delete("spoken");
    const range = new Range();
    const length = text.textContent?.length ?? 0;
    range.setStart(text, Math.min(this.#start, length));
    range.setEnd(text, Math.min(this.#end, length));
    CSS.highlights.set("spoken", new Highlight(range));
  }
}
