import { MAKES, MakingDesk } from "./making.js";
import { MakingView } from "./makingview.js";

/**
 * In the operator's panel: the form that makes videos and sound.
 * @param {import("../../core/operator/panel.js").PanelApi} panel
 */
export function register(panel) {
  const desk = new MakingDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const view = new MakingView({
    onStart: (wishes) => void desk.start(wishes),
    onRefuse: (problem) => desk.refuse(problem),
    onCancel: () => void desk.cancel(),
    sessionToken: panel.sessionToken,
  });
  panel.take(["engine"], (message) => {
    desk.watch(message.state === "ready" && MAKES.includes(message.model_type ?? ""));
  });
}
