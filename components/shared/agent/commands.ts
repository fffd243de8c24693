/**
 * What must run in the cluster for every service:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do
 *   member       the init container of each member: decides whether and how its server starts
 *   sidecar      beside each server that cannot say its own role: observes and acts, and keeps the hosts file of the pod
 *   roll         a Job after the StatefulSet, and a CronJob: replaces members whose pods are not what it wants
 *   setup        a Job after the members are ready: users and marker
 *   certificates a Job and a CronJob: issue and renew
 */
import type { EnsembleSettings, PreflightSettings, SetupSettings } from "../core/settings";
import { certificatesCommand } from "./certificates";
import { preflight, type ServiceGuard, setupCommand } from "./guard";
import { beginHosts, keepHosts } from "./hosts";
import { inClusterApi, type KubernetesApi } from "./kubernetes";
import { type Commands, type Pod, readPod, readSettings } from "./main";
import { rollCommand } from "./roll";
import { memberCommand } from "./volume";

interface Service<Setup extends SetupSettings> extends ServiceGuard {
  /** Where a member notes that its volume is its own. */
  volume: string;
  start: (settings: EnsembleSettings, pod: Pod, api: KubernetesApi) => Promise<void>;
  /** Safe to be killed at any point and to be run again at any time. */
  setup: (settings: Setup, namespace: string, api: KubernetesApi) => Promise<void>;
  sidecar?: () => Promise<void>;
}

export function commonCommands<Setup extends SetupSettings>(service: Service<Setup>): Commands {
  const { sidecar } = service;
  return {
    preflight: () => preflight(readSettings<PreflightSettings>(), readPod().namespace, inClusterApi(), service),
    member: async () => {
      if (sidecar !== undefined) await beginHosts(readSettings(), readPod());
      await memberCommand(service.volume, service.start);
    },
    ...(sidecar === undefined
      ? {}
      : {
          sidecar: () => {
            void keepHosts(readSettings(), readPod());
            return sidecar();
          },
        }),
    roll: () => rollCommand(service.examine),
    setup: () => setupCommand(service.setup),
    certificates: certificatesCommand,
  };
}
