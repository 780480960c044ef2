import { made, say, show } from "../page/dom.js";
import { partsOf } from "../page/picture.js";
import { ago, duration, lookedAt, span } from "../page/routes.js";
import { cameraName, engineName, progress } from "../page/words.js";
import { clock, isolated, joined, language, number, plural, text } from "../words/text.js";

// A frame that was not older than this (ms) when the model got it was of just now.
const FRESH = 2000;
// Up to this age (ms) an answer is "just now"; for so many of them its age is shown, then its time of day.
const MINUTE = 60_000;
const MOST_MINUTES = 60;
/** @type {Record<"fetching"|"loading", string>} */
const MEANWHILE = { fetching: "answer.meanwhile_fetching", loading: "answer.meanwhile_loading" };

/** @type {Record<import("../live/messages.d.ts").SecondLook["result"], string>} */
const TWICE = {
  agrees: "answer.twice_agrees",
  differs: "answer.twice_differs",
  unsure: "answer.twice_unsure",
  unseen: "answer.twice_unseen",
  late: "answer.twice_late",
  failed: "answer.twice_failed",
};

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("../live/messages.d.ts").EarlierFrame} EarlierFrame */
/** @typedef {import("../page/routes.js").Route} Route */

/** Help for ways to look whose names are short @type {Partial<Record<Route, string>>} */
const HINTS = { twice: "answer.hint_twice", where: "answer.hint_where", read: "answer.hint_read" };

/**
 * Show what an answer is based on: its pictures, the ways to look, and the line under it.
 * @param {HTMLElement} article @param {Turn} turn @param {[Route, string][]} ways all that there are now, with their
 *   names
 * @param {(route: Route) => void} choose asks again
 */
export function fillLooked(article, turn, ways, choose) {
  const [shot, frames, group, proof] = [".shot", ".frames", ".ways", ".evidence"].map(
    (name) => /** @type {HTMLElement} */ (must(article.querySelector(name))),
  );
  if (turn.response && shot.childElementCount === 1) shot.append(...spots(turn.response));
  fillFrames(frames, turn);
  fillWays(group, turn, ways, choose);
  if (turn.response) fillEvidence(proof, turn.response);
}

/**
 * Show the pictures of the past under an answer: places for all while it comes, then those that it names, or all.
 * @param {HTMLElement} list @param {Turn} turn
 */
function fillFrames(list, turn) {
  const frames = turn.response ? shown(turn.response.frames ?? []) : turn.frames;
  // Asked for by a tap, and not possible
  const missed = turn.wish === "past" && turn.response !== null && turn.response.route !== "past";
  const others = turn.response?.others ?? [];
  show(list, frames.length > 0 || missed || others.length > 0);
  const ids = [...frames, ...others].map((frame) => frame.id);
  const key = `${language()} ${turn.response ? "done" : "open"} ${missed} ${ids.join()}`;
  if (list.dataset.frames === key) return;
  list.dataset.frames = key;
  const asked = turn.frame?.captured_at ?? 0;
  list.replaceChildren(...frames.map((frame) => item(frame, asked)));
  for (const { camera = "", camera_name = "", thumbnail } of others) {
    const name = cameraName(camera, camera_name);
    list.append(picture(thumbnail, text("page.picture_of_camera", { name }), name));
  }
  if (missed) list.append(made("li", { className: "missed" }, text("answer.about_now")));
}

/**
 * The form in which the engine got the pictures of the past; "" without any.
 * @param {import("../live/messages.d.ts").Response} response
 */
export function framesSent({ frames = [], frames_sent: sent }) {
  if (frames.length === 0 || !sent) return "";
  const count = frames.length;
  if (sent === "video") return text("answer.as_video", { count });
  return sent === "refused" ? text("answer.video_refused", { count }) : text("answer.as_pictures", { count });
}

/**
 * The part that a question points at, as the engine got it; "" without one.
 * @param {import("../live/messages.d.ts").Response} response
 */
function partSent({ frame, closer }) {
  const sent = closer ?? frame;
  if (!frame?.part || !sent?.crop) return "";
  const size = isolated(`${sent.width}×${sent.height}`);
  return closer ? text("answer.part_beside", { size }) : text("answer.part_alone", { size });
}

/** Describe the result of the second look. @param {import("../live/messages.d.ts").SecondLook} look */
function secondLook({ result, text: said = "", agreed, compared }) {
  const rate = compared > 0 ? [text("answer.twice_rate", { agreed, compared })] : [];
  return joined([text(TWICE[result], { text: said }), ...rate]);
}

/** @param {EarlierFrame[]} frames */
function shown(frames) {
  const cited = frames.filter((frame) => frame.cited);
  return (cited.length > 0 ? cited : frames).filter((frame) => frame.picture);
}

/** @param {EarlierFrame} frame @param {number} asked capture time of the picture of now */
function item({ number, captured_at, picture: image }, asked) {
  const words = joined([clock(captured_at), ago(asked - captured_at)]);
  return picture(image, text("answer.picture_at", { number, time: words }), `[${number}] ${words}`);
}

/** @param {string} source @param {string} alt @param {string} words under it */
function picture(source = "", alt, words) {
  const image = made("img", { alt });
  // Only data URLs: the page loads no picture from an address.
  if (source.startsWith("data:image/jpeg;base64,")) image.src = source;
  const caption = made("span", {}, words);
  caption.setAttribute("aria-hidden", "true");
  return made("li", {}, image, caption);
}

/**
 * Show the other ways to look, each a button that asks again.
 * @param {HTMLElement} group @param {Turn} turn @param {[Route, string][]} ways all that there are now, with their
 *   names
 * @param {(route: Route) => void} choose
 */
function fillWays(group, turn, ways, choose) {
  const route = turn.response?.route;
  show(/** @type {HTMLElement} */ (group.closest("details")), route !== undefined);
  const key = `${language()} ${route} ${ways.map(([way]) => way).join()}`;
  if (route === undefined || group.dataset.ways === key) return;
  group.dataset.ways = key;
  const buttons = ways.map(([way, name]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(way === route));
    say(button, name);
    if (way in HINTS) button.title = text(HINTS[way] ?? "");
    button.addEventListener("click", () => choose(way));
    return button;
  });
  group.replaceChildren(...buttons);
}

/**
 * Frames around what the question asked for, and the part that it points at, on the answer's picture.
 * @param {import("../live/messages.d.ts").Response} response
 */
function spots({ boxes = [], frame }) {
  if (!frame) return [];
  const { source_width: width, source_height: height, crop = [0, 0, width, height], part } = frame;
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(2)}%`;
  const across = (/** @type {number} */ x) => (x * width - crop[0]) / (crop[2] - crop[0]);
  const down = (/** @type {number} */ y) => (y * height - crop[1]) / (crop[3] - crop[1]);
  const pointed = part && !frame.crop ? [{ box: part, name: "part" }] : [];
  const found = partsOf(boxes, frame).map(({ box }) => ({ box, name: "" }));
  return [...pointed, ...found].map(({ box: [x1, y1, x2, y2], name }) => {
    const spot = document.createElement("i");
    spot.className = name;
    spot.style.left = percent(across(x1));
    spot.style.top = percent(down(y1));
    spot.style.width = percent(across(x2) - across(x1));
    spot.style.height = percent(down(y2) - down(y1));
    return spot;
  });
}

/** A model's name without the folders before it. @param {string} model */
function nameOf(model) {
  return model.split("/").findLast(Boolean) ?? model;
}

/**
 * Who answered: also in whose place, with how far that is by now.
 * @param {Turn} turn
 * @param {import("../live/messages.d.ts").Response} response
 * @param {Turn["meanwhile"]} coming
 */
function engines({ meanwhile, news }, response, coming) {
  if (news) return [text("stage.model_now", { model: response.model })];
  if (!meanwhile) return [response.engine === "builtin" ? engineName("builtin") : nameOf(response.model)];
  const { model } = meanwhile;
  const { step } = coming?.model === model ? coming : meanwhile;
  return [text(MEANWHILE[step], { model }), ...(coming?.model === model ? progress(coming) : [])];
}

/**
 * The line under an answer.
 * @param {Turn} turn @param {import("../live/messages.d.ts").Response} response @param {Turn["meanwhile"]} coming
 */
function evidence(turn, response, coming) {
  const { frame, timings } = response;
  const parts = engines(turn, response, coming);
  const minutes = Math.floor((Date.now() - turn.at) / MINUTE);
  const past =
    minutes <= MOST_MINUTES
      ? text("page.ago", { time: text("page.minutes", { number: number(minutes) }) })
      : clock(turn.at);
  const when = minutes < 1 ? text("answer.just_now") : past;
  const named = [...(response.others ?? []), frame].flatMap((one) =>
    one?.camera_name ? cameraName(one.camera, one.camera_name) : [],
  );
  if (named.length > 0) parts.push(joined(named));
  // Other ways to look are in the details.
  const looked = response.route === "past" ? lookedAt(response) : "";
  // Whole seconds: milliseconds are in the details.
  const age = span(Math.max(1000, frame?.age_ms ?? 0));
  const fresh = frame !== undefined && frame.age_ms < FRESH;
  if (frame?.held) parts.push(text("answer.held_age", { age }));
  else if (frame?.word) parts.push(text("answer.at_word", { word: frame.word, age }));
  else if (fresh && looked) parts.push(looked, when);
  else if (fresh) parts.push(when);
  else if (frame && looked) parts.push(text("answer.looked_age", { looked, age }));
  else if (frame) parts.push(text("answer.frame_age", { age }));
  if (minutes >= 1 && !parts.includes(when)) parts.push(when);
  parts.push(text("page.seconds", { number: number(Math.max(0.1, timings.total_ms / 1000), 1) }));
  return parts.join(" · ");
}

/**
 * Show the line under an answer, which ages.
 * @param {HTMLElement} article
 * @param {Turn} turn
 * @param {Turn["meanwhile"]} coming the model on its way
 */
export function fillAge(article, turn, coming) {
  if (turn.response) say(must(article.querySelector(".evidence .line")), evidence(turn, turn.response, coming));
}

/** @param {number} count */
const visualTokens = (count) => plural("answer.visual_tokens", count);

/**
 * Show what an answer is based on.
 * @param {HTMLElement} proof
 * @param {import("../live/messages.d.ts").Response} response
 */
function fillEvidence(proof, response) {
  show(proof, true);
  const { timings, frame, usage } = response;
  must(proof.querySelector(".times")).replaceChildren(...timeRows(timings));
  const { prompt_tokens: read, cached_tokens: cached, completion_tokens: written } = usage;
  const facts = [[text("page.engine"), `${engineName(response.engine)}, ${response.model}`]];
  if (frame) {
    const visual = frame.visual_tokens > 0 ? [visualTokens(frame.visual_tokens)] : [];
    facts.push(
      [text("answer.camera_frame"), isolated(`${frame.source_width}×${frame.source_height}`)],
      [text("answer.engine_saw"), joined([`${frame.width}×${frame.height}`, ...visual])],
      [text("answer.captured"), captured(response, frame)],
    );
    const pointed = partSent(response);
    if (pointed) facts.push([text("answer.part"), pointed]);
    const [sent, seen] = [framesSent(response), frame.visual_tokens];
    if (sent) facts.push([text("answer.earlier_frames"), sent]);
    if (response.second_look) facts.push([text("answer.twice"), secondLook(response.second_look)]);
    if (response.boxes_by) facts.push([text("answer.boxes_by"), engineName("builtin")]);
    const saved = frame.unchanged_since ? Math.min(seen, cached ?? seen) : 0;
    if (saved > 0) facts.push([text("answer.not_computed"), visualTokens(saved)]);
  }
  const tokens = [
    read === undefined
      ? ""
      : cached
        ? text("answer.read_cached", { read, cached })
        : text("answer.read_tokens", { read }),
    written === undefined ? "" : text("answer.written_tokens", { written }),
  ].filter(Boolean);
  if (tokens.length > 0) facts.push([text("answer.tokens"), joined(tokens)]);
  must(proof.querySelector(".about")).replaceChildren(...facts.flatMap(([name, text]) => row(name, text)));
}

/**
 * When the frame was captured, how the answer looked at it, and since when it is the same.
 * @param {import("../live/messages.d.ts").Response} response
 * @param {import("../live/messages.d.ts").FrameInfo} frame
 */
function captured(response, { captured_at: at, age_ms: age, unchanged_since: since }) {
  const found = [text("answer.looked_age", { looked: clock(at), age: duration(Math.max(0, age)) })];
  const looked = lookedAt(response);
  if (looked) found.push(looked);
  if (since) found.push(text("answer.unchanged_since", { time: clock(since) }));
  return joined(found);
}

/** @param {import("../live/messages.d.ts").Timings} timings */
function timeRows(timings) {
  const total = Math.max(timings.total_ms, 0.001);
  /** @type {[string, number|undefined][]} */
  const steps = [
    [text("answer.wait_frame"), timings.wait_frame_ms],
    [text("answer.prepare"), timings.prepare_ms],
    [text("answer.queue"), timings.queue_ms],
    [text("answer.first_word"), timings.first_token_ms],
    [text("answer.total"), timings.total_ms],
  ];
  return steps.flatMap(([name, ms]) => {
    if (ms === undefined) return [];
    const cells = row(name, duration(ms));
    const bar = document.createElement("i");
    bar.style.width = `${Math.min(100, (ms / total) * 100)}%`;
    cells[1].append(bar);
    return cells;
  });
}

/** @param {string} name @param {string} text */
function row(name, text) {
  return [made("dt", {}, name), made("dd", {}, text)];
}

/** @template T @param {T|null} found @returns {T} */
function must(found) {
  if (found === null) throw new Error("The template of turns is not complete.");
  return found;
}
