/** The page: its parts, in the order in which they start. */

import { Chat } from "./core/chat.js";
import { DialogsEntry } from "./core/dialogs.js";
import { Page } from "./core/page.js";
import { byId, show } from "./core/page/dom.js";
import { FeatureParts, onceLater } from "./core/page/part.js";
import { Language } from "./core/page/language.js";
import { cameAsOperator, takePairingCode, wasLive } from "./core/page/resume.js";
import { SettingsEntry } from "./core/settings.js";
import { startStage } from "./core/stage.js";
import { language, onLanguage } from "./core/words/text.js";
import { EARLY, FEATURES, HERE, OPERATOR_PARTS, filesOf, isOn, LAUNCHES } from "./features.js";

const DOCTOR_AHEAD = 2000;

byId("partial", HTMLElement).remove(); // the page is complete

// Before the first rendering, which stores the current state.
const resuming = wasLive();
const page = new Page();
const { stage, visit } = page;

// Parts loaded with the page
const words = new Language({
  onChosen: (language) => visit.description.prefer({ language }),
  onMissing: (why) => page.announce(why),
});
page.dialogs = new DialogsEntry(
  visit,
  (missed, again) => page.missing.open(missed, again),
  (open) => page.emit("choosing", open),
);
const chat = new Chat(page);
startStage(page);
const settings = new SettingsEntry(
  visit,
  (again) => page.missing.open("page.missing_settings", again),
  words,
);
page.when("facts", (facts) => settings.render(facts));

// Parts loaded when opened
const doctor = page.part(import.meta.url, "./core/doctor/panel.js", {
  load: async () =>
    (await import("./core/doctor/panel.js")).createDoctor(visit, () => [
      ...visit.session.secrets,
      ...(operator.here?.secrets ?? []),
    ]),
  missed: "page.missing_doctor",
  sheets: ["./core/doctor/doctor.css"],
  elements: "./core/doctor/panel.html",
});
const details = page.part(import.meta.url, "./core/facts/panel.js", {
  load: async () => new (await import("./core/facts/panel.js")).FactsPanel(),
  missed: "page.missing_facts",
});
const operatorParts = new FeatureParts(OPERATOR_PARTS, (name) => filesOf(name, "operator"), isOn);
const operator = page.part(import.meta.url, "./core/operator/panel.js", {
  load: async () =>
    new (await import("./core/operator/panel.js")).OperatorPanel(
      visit,
      (types, take) => page.take(types, take),
      showOperator,
      operatorParts,
    ),
  missed: "page.missing_operator",
  sheets: ["./core/operator/operator.css"],
  elements: "./core/operator/panel.html",
});

/** @type {NodeListOf<HTMLElement>} */
const checks = document.querySelectorAll("button[data-doctor]");
for (const one of checks) one.addEventListener("click", () => void doctor.open(one));
// A server that is down could not deliver them any more.
const fetchAhead = onceLater(DOCTOR_AHEAD, () => {
  void doctor.ahead();
  void details.ahead();
  void import("./core/extras.js").then(({ addExtras }) => addExtras(page), () => {});
});
page.when("facts", ({ camera, socket }) => {
  if (socket === "open" && ["on", "resting", "elsewhere"].includes(camera)) fetchAhead();
});

const showDetails = () => stage.detailed && details.here?.render(visit.facts);
stage.onDetails = () => {
  page.emit("details", undefined);
  void details.open(stage.state).then(showDetails);
};
page.when("facts", showDetails);

const manage = byId("operator-open", HTMLButtonElement);
const showOperator = () => show(manage, cameAsOperator() || Boolean(operator.here?.known));
manage.addEventListener("click", () => void operator.open(manage));
page.when("facts", ({ socket }) => {
  showOperator();
  operator.here?.connected(socket === "open");
});

// Only the features that are on at the server
const features = new FeatureParts(FEATURES, (name) => filesOf(name, "index"), isOn);
page.when("facts", ({ ready }) => features.load(ready, page));

/** Load what may be wanted now. @param {keyof typeof EARLY} moment */
async function early(moment) {
  const { ready } = visit.facts;
  const wanted = EARLY[moment]().filter((name) => (ready ? isOn(ready, name) : HERE.has(name)));
  await Promise.all(wanted.map((name) => features.ahead(name, page)));
}
chat.composer.reads = () => early("typing");
for (const one of [stage.other, byId("cameras-open", HTMLButtonElement)]) {
  one.addEventListener("click", () => {
    void early("choosing");
    void page.dialogs.showCameras(one);
  });
}
void early("loaded");

/** Redeem a one-time code in the address; open the panel at the operator's address. */
function arrive() {
  const code = takePairingCode();
  if (code) void visit.pair(code);
  showOperator();
  if (cameAsOperator()) void operator.open(manage);
  else if (location.hash) void import("./core/launch.js").then(({ launch }) => launch(page, LAUNCHES));
}
window.addEventListener("hashchange", arrive);

onLanguage(() => {
  // No question sets the language of a description.
  const shown = language() === "en" ? "" : language();
  if (shown !== (visit.facts.preferred.page_language ?? "")) {
    visit.description.prefer({ page_language: shown });
  }
  page.emit("facts", visit.facts);
  chat.translate();
  page.sheet.grow(stage.app.classList.contains("tall"));
});
if (words.wish) visit.description.prefer({ language: words.wish });
arrive();
// Pressed before this module was loaded: see boot.js.
if (document.documentElement.dataset.pressed) stage.start.click();
else if ((await resuming) && !visit.facts.active) await visit.start();
