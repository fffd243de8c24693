/** What the drills share with the checks. */
export { apiMessage, loadCluster, reachCluster, statusOf } from "./cluster";
export { type OpenEnvironment, openEnvironment } from "./environment";
export { CannotRun, exitCodes, messageOf } from "./failure";
export { createRedaction, type Redaction, redactDeep } from "./redaction";
export { checkOf } from "./registry";
export { type Report, runChecks } from "./run";
export { table } from "./table";
export { chooseCluster, readOutputs, type StackOutputs, selectTargets } from "./targets";
export type { TunnelManager } from "./tunnel";
export { until, within } from "./wait";
