/** What the drills share with the checks. */
export { loadCluster, reachCluster, statusOf } from "./cluster";
export { openEnvironment } from "./environment";
export { CannotRun, exitCodes, messageOf } from "./failure";
export { createRedaction, redactDeep } from "./redaction";
export { table } from "./table";
export { chooseCluster, readOutputs, type StackOutputs, selectTargets } from "./targets";
export { until, within } from "./wait";
