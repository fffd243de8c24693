/** What all components share of what runs in `pulumi up`. */

export type { CheckTarget, TlsMode } from "../core/check";
export * from "../core/names";
export { parseQuantity } from "../core/quantity";
export { agentPorts, memberSettings, settingsOf, setupSettings, setupUsers } from "../core/settings";
export { allow, createAccess, createAccessElsewhere, holdLeases, type Rule, seeBackups } from "./access";
export {
  type Alert,
  connectionsAlert,
  ensembleAlerts,
  gatewayAlerts,
  memberAlerts,
  orNone,
  type Scope,
} from "./alerts";
export * from "./arguments";
export { type BackupInputs, backupsArgument, copyLeases, createBackups } from "./backup";
export { type AgentBundle, digest, readAgentBundle } from "./bundle";
export { createCertificates } from "./certificates";
export { claimNames } from "./claims";
export { EnsembleComponent, urlOf } from "./component";
export * from "./credentials";
export { createOverview } from "./dashboards";
export { configName, createConfig, createMembers, createPermissions, createSetup } from "./ensemble";
export { createGateway } from "./gateway";
export { createGuard } from "./guard";
export * from "./images";
export { cronJob, jobMetadata } from "./jobs";
export {
  handOverHook,
  type Pace,
  serverStatefulSet,
  setupDeadlineSeconds,
  setupJob,
} from "./members";
export * from "./memory";
export { createMonitoring, monitoringArgument } from "./monitoring";
export { apiServerPorts, clientPolicy, metadata, podIdentityEgress, tcp } from "./network";
export * from "./pod";
export { type KubernetesProviderArguments, kubernetesProvider } from "./provider";
export * from "./schema";
export { podArgument, podTemplate } from "./template";
