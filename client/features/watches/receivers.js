import { button, made, say, show } from "../../core/page/dom.js";
import { list, onLanguage, text } from "../../core/words/text.js";

/** @typedef {import("../../core/page.js").Receivers} Group */

/** The programs to which a person may let alerts go: a switch for each, and the light while one gets them. */
export class Receivers {
  /** In the list of watches */
  element = made("details", { id: "receivers" });
  /** Above it, while alerts go somewhere */
  light = made("div", { id: "receivers-light", className: "band" });

  /** By their feature @type {Map<string, Group>} */
  #groups;
  // The person ended it without a connection; tell the server when it is back.
  #ending = false;
  #summary = made("summary");
  #about = made("p", { className: "fine" });
  #rows = made("div");
  #words = made("span");
  #end = button(() => this.#endAll());

  /** @param {Map<string, Group>} groups */
  constructor(groups) {
    this.#groups = groups;
    this.element.append(this.#summary, this.#about, this.#rows);
    this.light.setAttribute("role", "status");
    const dot = made("i");
    dot.setAttribute("aria-hidden", "true");
    this.light.append(dot, this.#words, this.#end);
    onLanguage(() => this.#render());
    this.#render();
  }

  /** The programs, or those that get alerts, have changed. */
  changed() {
    this.#render();
    if (this.#ending) this.#endAll();
  }

  /** Drop a pending end: another session began. */
  forget() {
    this.#ending = false;
    this.#render();
  }

  #endAll() {
    const ended = [...this.#groups.values()].filter((one) => namesOn(one).length > 0).map((one) => one.choose([]));
    this.#ending = ended.includes(false);
  }

  /** @param {Group} group @param {string[]} names */
  #choose(group, names) {
    if (group.choose(names)) return;
    const others = [...this.#groups.values()].filter((one) => one !== group);
    this.#ending = names.length === 0 && others.every((one) => namesOn(one).length === 0);
    // The server says what holds then.
    this.#render();
  }

  #render() {
    const groups = [...this.#groups];
    const on = groups.filter(([, group]) => namesOn(group).length > 0).map(([, group]) => group);
    say(this.#summary, text("watch.tell_programs"));
    say(this.#about, text("watch.tell_about"));
    show(this.element, groups.some(([, { programs }]) => programs.length > 0));
    show(this.light, on.length > 0);
    const notes = on.flatMap(({ note }) => (note ? [text(note)] : []));
    const words = [text("watch.alerts_go", { names: list(on.flatMap(namesOn)) }), ...notes];
    if (on.length > 0) say(this.#words, words.join(" "));
    say(this.#end, text("page.end"));
    this.#rows.replaceChildren(
      ...groups.flatMap(([feature, group]) => [
        ...group.programs.map((one) => this.#row(feature, group, one)),
        ...(group.about ? [made("p", { className: "fine" }, text(group.about))] : []),
      ]),
    );
  }

  /** @param {string} feature @param {Group} group @param {Group["programs"][number]} program */
  #row(feature, group, { name, host, on }) {
    const own = `${feature} ${name}`;
    const kept = this.#rows.querySelector(`input[name="${CSS.escape(own)}"]`);
    const input = kept instanceof HTMLInputElement ? kept : made("input", { type: "checkbox", name: own });
    const parts = [input, `${name} `, made("small", {}, host)];
    const row = kept?.parentElement ?? made("label", { className: "check", translate: false }, ...parts);
    input.checked = on;
    input.onchange = () => {
      const others = namesOn(group).filter((one) => one !== name);
      this.#choose(group, input.checked ? [...others, name] : others);
    };
    return row;
  }
}

/** @param {Group} group @returns {string[]} names of those that get alerts */
function namesOn({ programs }) {
  return programs.filter((one) => one.on).map(({ name }) => name);
}
