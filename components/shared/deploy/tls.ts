/** The certificates of a server and the trust bundle, for a container that needs both; nothing without TLS. Pure. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Ensemble } from "./arguments";
import { certificateMounts, certificateVolumes, trustMounts, trustVolumes } from "./pod";

export function tlsVolumes(ensemble: Ensemble): core.v1.Volume[] {
  return [...certificateVolumes(ensemble), ...trustVolumes(ensemble)];
}

export function tlsMounts(
  ensemble: Ensemble,
  paths: { serverTls: string; peerTls?: string; trust: string },
): core.v1.VolumeMount[] {
  return [...certificateMounts(ensemble, paths), ...trustMounts(ensemble, paths)];
}
