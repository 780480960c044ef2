import { EngineDesk } from "./engine/desk.js";
import { FetchDesk } from "./engine/fetching.js";
import { FetchView } from "./engine/fetchview.js";
import { EngineView } from "./engine/view.js";

/**
 * In the operator's panel: models, run here or elsewhere.
 * @param {import("../../core/operator/panel.js").PanelApi} panel
 */
export function register(panel) {
  const engine = new EngineDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const fetch = new FetchDesk({
    ask: panel.ask,
    onChange: (facts) => fetchView.render(facts),
    onHere: () => void engine.refresh(true),
  });
  const fetchView = new FetchView({
    onFetch: (model) => void fetch.start(model),
    onPause: () => void fetch.pause(),
  });
  const view = new EngineView({
    onModel: (model) => fetchView.choose(model),
    onChoice: (choice) => engine.choose(choice),
    onStart: (choice) => void engine.start(choice),
    onStop: () => void engine.stop(),
  });
  panel.onJoin((joined) => engine.joined(joined));
  panel.take(["engine", "log"], (message) => engine.receive(message));
  panel.add(engine);
  panel.add(fetch);
}
