/** What all ensembles share, on the Pulumi side. Agent and checks import `names` and `check`, which load no Pulumi. */
export { type Access, createAccess, type Rule, readMarkerRule, setupRules } from "./access";
export { type AgentBundle, createAgentConfigMap, digest, readAgentBundle } from "./agent";
export {
  type Ensemble,
  type EnsembleArguments,
  nameLimit,
  nearest,
  type OwnArguments,
  oneOf,
  type Peer,
  reportUnknownKeys,
  resolveEnsemble,
  type ServiceProfile,
} from "./arguments";
export { type CertificatesOptions, createCertificates } from "./certificates";
export type { Check, CheckEnvironment, CheckTarget, Finding, TlsMode, Tunnel } from "./check";
export { EnsembleComponent } from "./component";
export { type Credentials, checksum, createCredentials, createPassword, encoded } from "./credentials";
export { createGateway, type Gateway, type GatewayInputs } from "./gateway";
export { agentImage, gatewayImage, imageReference, images } from "./images";
export * from "./names";
export {
  agentContainer,
  agentJobSpec,
  agentResources,
  agentVolumes,
  certificateMounts,
  certificateVolumes,
  containerSecurityContext,
  podSecurityContext,
  secretVolume,
  trustMounts,
  trustVolumes,
} from "./pod";
export { createPreflight } from "./preflight";
export { parseQuantity } from "./quantity";
export { handOverHook, type ServerInputs, serverStatefulSet, setupDeadlineSeconds, setupJob } from "./servers";
export {
  clientService,
  disruptionBudget,
  jobMetadata,
  metadata,
  networkPolicy,
  type PolicyPorts,
  type Port,
  peersService,
} from "./services";
export { agentPorts, memberSettings, settingsOf } from "./settings";
