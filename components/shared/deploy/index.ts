/** What all components share of what runs in `pulumi up`. */

export type { CheckTarget, TlsMode } from "../core/check";
export * from "../core/names";
export { parseQuantity } from "../core/quantity";
export { agentPorts, memberSettings, settingsOf } from "../core/settings";
export { createAccess, type Rule, readMarkerRule, setupRules } from "./access";
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
export { type AgentBundle, createAgentConfigMap, digest, readAgentBundle } from "./bundle";
export { createCertificates } from "./certificates";
export { EnsembleComponent } from "./component";
export { type Credentials, checksum, createCredentials, createPassword, encoded } from "./credentials";
export { createGateway } from "./gateway";
export { createPreflight } from "./guard";
export { agentImage, imageReference, images } from "./images";
export { handOverHook, type ServerInputs, serverStatefulSet, setupDeadlineSeconds, setupJob } from "./members";
export {
  clientService,
  disruptionBudget,
  jobMetadata,
  metadata,
  networkPolicy,
  peersService,
} from "./network";
export {
  agentContainer,
  agentJobSpec,
  agentVolumes,
  certificateMounts,
  certificateVolumes,
  containerSecurityContext,
  podSecurityContext,
  secretVolume,
  trustMounts,
  trustVolumes,
} from "./pod";
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
