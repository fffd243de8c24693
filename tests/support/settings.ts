/** What agents of an etcd with three members are told. */
import type { EnsembleSettings, PreflightSettings } from "../../components/shared/core/settings";

export const ensembleSettings: EnsembleSettings = {
  service: "etcd",
  name: "etcd",
  members: 3,
  tls: "required",
  applications: [],
  deletion: "keep",
};

/** Of the preflight, which is allowed nothing but a change that needs no stop. */
export const etcdPreflight: PreflightSettings = {
  ...ensembleSettings,
  agent: "etcd-agent-1",
  plannedStop: false,
  version: "3.6.8",
  passwords: { rotation: 0 },
  storage: { size: "8Gi" },
  pod: { userId: 1000 },
};
