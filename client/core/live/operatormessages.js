/** Messages to operators only: types that `messages.js` names. Times and rates as there. */

/**
 * @typedef {Object} LoadingProgress
 * @property {string} phase
 * @property {number} [percent]
 * @property {number} [done_bytes]
 * @property {number} [total_bytes]
 */

/**
 * Memory freed by the previous model, in bytes.
 * @typedef {Object} ReleasedMemory
 * @property {number} [memory_bytes] main memory
 * @property {number} [left_bytes] still held by its processes
 * @property {number} [gpu_bytes] of the GPUs' memory
 */

/**
 * The engine that answers visitors now.
 * @typedef {Object} Answering
 * @property {string} engine vllm, builtin, local
 * @property {string} model
 * @property {string} server the kind of model server; "" for an engine in this server
 * @property {string} where its host and port; "" for an engine in this server
 */

/**
 * State of the engine that the operator manages; sent to operators only.
 * @typedef {Object} EngineReport
 * @property {"engine"} type
 * @property {"idle"|"loading"|"ready"|"stopping"|"failed"} state
 * @property {string} [model]
 * @property {string} [model_type]
 * @property {string} [mode]
 * @property {LoadingProgress} [progress]
 * @property {number} [memory_bytes] main memory that it uses
 * @property {number} [gpu_bytes] GPU memory that it uses
 * @property {ReleasedMemory} [released] by the previous model
 * @property {string} [command] the command that runs
 * @property {string} [error] the failure and the remedy
 * @property {boolean} answers it answers visitors
 * @property {Answering} [answering] the engine that answers visitors; absent for none
 * @property {string} [why] the reason why no better engine answers, and the remedy
 */

/**
 * Lines of an engine's output; sent to operators only.
 * @typedef {Object} LogLines
 * @property {"log"} type
 * @property {string[]} lines oldest first
 * @property {number} dropped lines before these that were dropped because the buffer was full
 */

export {};
