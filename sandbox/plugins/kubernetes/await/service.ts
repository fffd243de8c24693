import { at, isMap } from "../../server/values";
import { type KubernetesObject, list, map, nameOf, text } from "../object";
import { done, type Progress, type Related, waiting } from "./progress";

/** Headless Services, names of other hosts and Services without pods have nobody to wait for. */
export function needsEndpoints(service: KubernetesObject): boolean {
  return (
    text(service, "spec", "type") !== "ExternalName" &&
    text(service, "spec", "clusterIP") !== "None" &&
    Object.keys(map(service, "spec", "selector")).length > 0
  );
}

export function serviceEndpoints(service: KubernetesObject): Related | undefined {
  if (!needsEndpoints(service)) return undefined;
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    labelSelector: `kubernetes.io/service-name=${nameOf(service)}`,
  };
}

export function serviceStatus(service: KubernetesObject, slices: KubernetesObject[]): Progress {
  if (needsEndpoints(service)) {
    const ready = slices
      .flatMap((slice) => list(slice, "endpoints"))
      // A condition that is not written counts as ready.
      .filter((endpoint) => isMap(endpoint) && at(endpoint, ["conditions", "ready"]) !== false);
    if (ready.length === 0) return waiting("no pod behind the Service is ready");
  }
  const balanced = text(service, "spec", "type") === "LoadBalancer";
  if (balanced && list(service, "status", "loadBalancer", "ingress").length === 0) {
    return waiting("the load balancer has no address yet");
  }
  return done();
}
