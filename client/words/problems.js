/** The server's errors in the page's words. Uses no DOM. */

import { key, known, text } from "./text.js";

/** In place of a sentence of the server that has no translation, by the error's code. @type {Record<string, string>} */
const PROBLEMS = {
  bad_request: key("The server did not understand this. Load the page again."),
  too_long: key("This is too long. Make it shorter."),
  unauthorized: key("The server does not accept this page's access. Start the camera again."),
  forbidden: key("The server does not allow this."),
  not_found: key("The server does not know this any more. Load the page again."),
  conflict: key("This does not fit with what is going on now. Try again in a moment."),
  wrong_model: key("The loaded model cannot do this, but another one can."),
  too_large: key("This is too large for the server."),
  unusable_offer: key("The server cannot use this browser's connection. Try another browser."),
  rate_limited: key("Too many requests. Wait a moment, then try again."),
  no_camera: key("The server has no picture of the camera yet. Ask again in a moment."),
  camera_lost: key("One of the cameras gives no picture."),
  camera_stalled: key("No new picture arrives from the camera. Check the network, then ask again."),
  camera_frozen: key("The camera sends the same picture again and again. Stop it and start it again."),
  picture_black: key("The picture is black. Uncover the camera, or switch on a light."),
  no_text: key("There is no text in the picture."),
  frame_withheld: key("A privacy filter withheld this picture."),
  engine_unavailable: key("The model is not available right now. Ask again later, or tell whoever runs this server."),
  engine_loading: key("The model is being loaded. Ask again in a moment."),
  engine_timeout: key("The model took too long to answer. Ask again in a moment."),
  too_many_cameras: key("Ask about one camera: the model cannot look at so many."),
  engine_refused: key("The model cannot answer this question. Tell whoever runs this server."),
  engine_failed: key("The model could not finish this answer. Ask again."),
  speech_unavailable: key("Speech is not available right now. Type your question, and read the answer."),
  speech_timeout: key("Speech took too long this time. Say it again, or type it."),
  speech_refused: key("Speech does not work with this text or sound. Type your question, and read the answer."),
  speech_failed: key("Speech did not work this time. Say it again, or type it."),
  not_confirmed: key("Pictures would go to another machine. Agree to that first."),
  elsewhere: key("The session moved to another part of the server. Try again."),
  busy: key("The server is busy: all places are taken. Try again in a moment."),
  ports_exhausted: key("The server has no free connection. Try again in a moment."),
  handover_refused: key("A new session began. It does not remember the earlier chat."),
  draining: key("The server is about to stop. Try again in a moment."),
  internal: key("Something went wrong on the server. Try again, or tell whoever runs it."),
};

/**
 * An error's words: the server's own where they are English or have a translation, else the page's for its code.
 * @param {string} code @param {string} message the server's English
 */
export function problem(code, message) {
  if (known(message) || !Object.hasOwn(PROBLEMS, code)) return text(message);
  return text(PROBLEMS[code]);
}

/** The server's sentence if it can be shown in the page's language, else other words. @param {string|undefined} sentence @param {string} [else_] */
export function fromServer(sentence, else_ = "") {
  return sentence && known(sentence) ? text(sentence) : else_;
}
