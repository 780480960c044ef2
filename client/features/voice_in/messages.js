/** WebSocket messages about spoken questions. */

/**
 * The words of a heard question were wrong: ask it anew in its place.
 * @typedef {Object} CorrectTranscript
 * @property {"correct_transcript"} type
 * @property {string} id
 * @property {string} text
 */

/**
 * The button of push-to-talk is pressed or released.
 * @typedef {Object} PushToTalk
 * @property {"push_to_talk"} type
 * @property {boolean} down
 */

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
 * The state of the microphone at the server.
 * @typedef {Object} Listening
 * @property {"listening"} type
 * @property {"off"|"waiting"|"speech"|"silence"|"recognising"} state
 */

export {};
