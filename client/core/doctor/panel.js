/** The connection doctor with its checks, dialog and report. Loaded when needed, not with the page. */

import { examine, verdict } from "./doctor.js";
import { DoctorView } from "./doctorview.js";
import { report } from "./report.js";

/** @param {import("../live/visit.js").Visit} visit @param {() => string[]} secrets that no report may contain */
export function createDoctor(visit, secrets) {
  return new DoctorView({
    examine: (onResult, signal) => examine(visit, onResult, signal),
    verdict,
    report: (results, times) => report(results, times, secrets()),
  });
}
