/** WebSocket messages about speech, a part of messages.js. */

// --- Sent by the page ----------------------------------------------------------------------------

/**
 * The words of a heard question were wrong: ask it anew in its place.
 * @typedef {Object} CorrectTranscript
 * @property {"correct_transcript"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * The page's own voice has read an answer up to `end`.
 * @typedef {Object} SpeechProgress
 * @property {"speech_progress"} type
 * @property {string} id
 * @property {number} end
 */

/**
 * The button of push-to-talk is pressed or released.
 * @typedef {Object} PushToTalk
 * @property {"push_to_talk"} type
 * @property {boolean} down
 */

/** @typedef {CorrectTranscript|SpeechProgress|PushToTalk} VoiceMessage */

// --- Sent by the server --------------------------------------------------------------------------

/**
 * The words of a spoken question as far as they were understood; the question has this id.
 * @typedef {Object} Transcript
 * @property {"transcript"} type
 * @property {string} id
 * @property {string} text all words so far; empty when nothing was understood
 * @property {boolean} final nothing follows, and the question is asked unless the text is empty
 * @property {"stop"|"again"|"describe"|"describe_off"|"watch"|"hold"|"release"|"guide"|"guide_off"|"shorter"|"longer"|
 *   "camera_off"} [order] with an empty text: the spoken words are this order
 * @property {string} [condition] what to watch for
 * @property {"unclear"|"replaced"} [lost] with an empty text: nothing was understood, or the next question took its place
 */

/**
 * The state of a spoken answer, and the piece of it that is heard.
 * @typedef {Object} SpeakingState
 * @property {"speaking"} type
 * @property {string} id
 * @property {"speaking"|"lowered"|"paused"|"stopped"|"done"} state
 * @property {string} text of the piece
 * @property {number} start its first character in the answer
 * @property {number} end the one after its last
 */

/**
 * A piece of an answer that the page reads with its browser's own voice.
 * @typedef {Object} Say
 * @property {"say"} type
 * @property {string} id
 * @property {string} text
 * @property {number} start
 * @property {number} end
 */

/**
 * The state of the microphone at the server.
 * @typedef {Object} Listening
 * @property {"listening"} type
 * @property {"off"|"waiting"|"speech"|"silence"|"recognising"} state
 */

/**
 * A hint for reading a text over several pictures, or its end.
 * @typedef {Object} ReadingState
 * @property {"reading"} type
 * @property {string} id of the question
 * @property {import("./messages.js").AimHint["hint"]} [hint]
 * @property {boolean} ended nothing new has come: the text is read
 */

/** @typedef {Transcript|SpeakingState|Say|Listening|ReadingState} VoiceReport */

export {};
