/** What the drills share with the checks. */
export { loadCluster, statusOf } from "./cluster";
export { openEnvironment } from "./environment";
export { CannotRun, exitCodes, messageOf } from "./failure";
export { runMain, selected, selectionFlags, selectionUsage } from "./flags";
export { createRedaction, redactDeep } from "./redaction";
export { table } from "./table";
export { chooseCluster, readOutputs, type StackOutputs, selectTargets } from "./targets";
export { until, within } from "./wait";
