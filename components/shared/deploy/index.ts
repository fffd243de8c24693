/** What all components share of what runs in `pulumi up`. */

export type { CheckTarget, TlsMode } from "../core/check";
export * from "../core/names";
export { parseQuantity } from "../core/quantity";
export { agentPorts, memberSettings, settingsOf, setupSettings, setupUsers } from "../core/settings";
export { createAccess, type Rule } from "./access";
export {
  type Ensemble,
  type EnsembleArguments,
  ensembleSchema,
  ensembleShape,
  nameLimit,
  type Peer,
  resolveEnsemble,
  type ServiceProfile,
  tlsOrNot,
  withDefaults,
} from "./arguments";
export { type AgentBundle, digest, readAgentBundle } from "./bundle";
export { createCertificates } from "./certificates";
export { claimNames } from "./claims";
export { EnsembleComponent, urlOf } from "./component";
export {
  checksum,
  createApplicationSecret,
  createApplications,
  createCredentials,
  createLogins,
  createPassword,
  createSecret,
  type EnsembleUsers,
  encoded,
  listed,
} from "./credentials";
export { configName, createConfig, createMembers, createPermissions, createSetup } from "./ensemble";
export { createGateway } from "./gateway";
export { createGuard } from "./guard";
export { agentImage, imageReference, images } from "./images";
export {
  handOverHook,
  type Pace,
  type ServerInputs,
  serverStatefulSet,
  setupDeadlineSeconds,
  setupJob,
} from "./members";
export { memoryLimit } from "./memory";
export { cronJob, jobMetadata, metadata } from "./network";
export {
  type AgentJob,
  adminLogin,
  agentContainer,
  agentJobSpec,
  agentVolumes,
  certificateMounts,
  certificateVolumes,
  containerProfile,
  type LoginMounts,
  type PlainVolume,
  podIdentity,
  podSecurityContext,
  secretVolume,
  trustMounts,
  trustVolumes,
} from "./pod";
export { childOptions } from "./protection";
export { type KubernetesProviderArguments, kubernetesProvider } from "./provider";
export {
  type AddProblem,
  advice,
  nearest,
  ofList,
  parsed,
  pathText,
  type Sound,
  says,
  sentence,
  shapeOf,
  shown,
  text,
  together,
  unwrapped,
  valueAt,
  wholeNumber,
  without,
} from "./schema";
