/** Whoever runs the server opens the page with this behind its address. It stays there: it is no secret and opens nothing. */
const FRAGMENT = "#operator";

/** Whether the page was opened for the operator: visitors see nothing of the engine panel. */
export function cameAsOperator() {
  return location.hash === FRAGMENT;
}
