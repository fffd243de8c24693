/** What the drills share with the checks. */
export { messageOf } from "../components/shared/core/errors";
export { patient, waitFor, within } from "../components/shared/core/wait";
export { loadCluster, statusOf } from "./cluster";
export { openEnvironment } from "./environment";
export { CannotRun, exitCodes } from "./failure";
export { runMain, selected, selectionFlags, selectionUsage, toStderr, toStdout } from "./flags";
export { createRedaction, redactDeep } from "./redaction";
export { xml } from "./report";
export { table } from "./table";
export { chooseCluster, readOutputs, type StackOutputs, selectTargets } from "./targets";
export { openTunnel, portForward } from "./tunnel";
