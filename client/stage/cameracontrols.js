import { text } from "../words/text.js";

/**
 * Connect what is pressed on the picture with the camera: exchange, torch, zoom, focus.
 * @param {import("./stageview.js").StageView} stage
 * @param {import("../live/camera.js").Camera} camera
 * @param {{exchange: () => void, announce: (text: string) => void}} hooks
 */
export function connectCamera(stage, camera, { exchange, announce }) {
  stage.switchCamera.addEventListener("click", exchange);
  stage.torch.addEventListener("click", () => {
    camera.setTorch(!camera.torch).catch(() => announce(text("stage.torch_failed")));
  });
  stage.zoom.addEventListener("input", () => {
    stage.showZoom();
    // The camera may refuse a value; then the picture stays as it is.
    camera.setZoom(Number(stage.zoom.value)).catch(() => {});
  });
  stage.video.addEventListener("click", (event) => {
    const at = camera.canFocus ? stage.pointIn(event) : null;
    if (!at) return;
    stage.ringAt(event);
    camera.focusAt(at.x, at.y).catch(() => {}); // a camera that says it can and then cannot
  });
}
